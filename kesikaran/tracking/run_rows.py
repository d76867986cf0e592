"""The rows of a run, written straight into the tables of a store that is a file.

MLflow makes an object of each row, in 0.1 ms, and a run has a thousand: in a sweep on cached features that is the
largest part of the time. The rows here are those that MLflow's `log_batch` writes (a test compares them). Where the
tables have other columns than they had when this was written, nothing is written here.
"""

import math
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from mlflow.entities import Metric

NOTE_TAG = "mlflow.note.content"
_LONGEST = 4000  # characters of a value; MLflow cuts longer ones at its own limits
_WAIT_SECONDS = 60.0  # for another process that is writing
_COLUMNS = {
    "params": ("key", "value", "run_uuid"),
    "tags": ("key", "value", "run_uuid"),
    "metrics": ("key", "value", "timestamp", "run_uuid", "step", "is_nan"),
    "latest_metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    "logged_model_metrics": (
        "model_id", "metric_name", "metric_timestamp_ms", "metric_step", "metric_value", "experiment_id", "run_id",
        "dataset_uuid", "dataset_name", "dataset_digest",
    ),
}  # fmt: skip
_SET_PARAM = "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)"
_SET_TAG = """
    INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value
"""
_ADD = """
    INSERT OR IGNORE INTO metrics (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?, ?)
"""
_RENEW = """
    INSERT INTO latest_metrics (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE
    SET step = excluded.step, timestamp = excluded.timestamp, value = excluded.value, is_nan = excluded.is_nan
    WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)
"""
_ADD_TO_MODEL = """
    INSERT INTO logged_model_metrics
        (run_id, metric_name, metric_step, metric_timestamp_ms, metric_value, model_id, experiment_id)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""


def write(
    database: Path,
    run_id: str,
    experiment_id: str,
    metrics: Sequence[Metric],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> bool:
    """Write what a run logs in one transaction. False where that is MLflow's to do, and nothing was written: the run is
    deleted, a param was logged before, a value is long, a tag is MLflow's own and not the note, the tables are not
    those that this knows, or SQLite refuses."""
    if any(len(value) > _LONGEST for value in (*params.values(), *tags.values())) or any(
        key.startswith("mlflow.") and key != NOTE_TAG for key in tags
    ):
        return False
    rows = [(run_id, m.key, m.step, m.timestamp, *_stored(m.value)) for m in metrics]
    latest = {key: row for _, key, row in sorted((row[2:5], row[1], row) for row in rows)}
    of_models = [(*row[:5], m.model_id, int(experiment_id)) for row, m in zip(rows, metrics, strict=True) if m.model_id]
    try:
        # Read and write, and do not make: where the file is gone, SQLite would put an empty one in its place.
        place = f"{database.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(place, _WAIT_SECONDS, isolation_level=None, uri=True)) as store:
            if not _knows(store):
                return False
            store.execute("BEGIN IMMEDIATE")
            with store:  # the transaction ends with the block
                active = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
                if store.execute(active, (run_id,)).fetchone() is None:
                    return False
                store.executemany(_SET_PARAM, [(run_id, *one) for one in params.items()])
                store.executemany(_SET_TAG, [(run_id, *one) for one in tags.items()])
                store.executemany(_ADD, rows)
                # MLflow's pages list metrics in the order of their rows, and plot the first.
                store.executemany(_RENEW, [row for _, row in sorted(latest.items())])
                store.executemany(_ADD_TO_MODEL, of_models)
    except sqlite3.Error:
        return False
    return True


def _stored(value: float) -> tuple[float, bool]:
    """(a value as MLflow stores it, whether it is NaN)."""
    if math.isnan(value):
        return 0.0, True
    return min(max(float(value), -sys.float_info.max), sys.float_info.max), False


def _knows(store: sqlite3.Connection) -> bool:
    found = {table: {row[1] for row in store.execute(f"PRAGMA table_info({table})")} for table in _COLUMNS}
    return all(found[table] == set(columns) for table, columns in _COLUMNS.items())
