"""Reading the artifacts of a run: its predictions, its texts, its label doubts."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

from kesikaran.core import errors
from kesikaran.core.errors import InputError, printable
from kesikaran.tracking import prediction_table, queries, run_store, store_file

PREDICTIONS = "predictions.parquet"
OOF_PREDICTIONS = "oof_predictions.parquet"  # of a cross-validation's parent run
DOUBTS = "label_doubts.csv"
PREVALENCES = "prevalences.csv"
_TEXT_BYTES = 100_000  # forty times what a configuration has
_DOUBTS_BYTES = 2**28


def predictions(run_id: str, file: str = PREDICTIONS) -> pd.DataFrame:
    """A run's table of predictions; with `OOF_PREDICTIONS`, that of all folds of a cross-validation.

    Returns:
        As `prediction_table.read`.

    Raises:
        InputError: no such run, it has no such file, or the file is no such table.
    """
    with run_store.reading(f"{file} of run {run_id}") as client:
        with _fetched(client, run_id, file, prediction_table.FILE_BYTES) as path:
            if path:
                return prediction_table.read(path, pooled=file == OOF_PREDICTIONS)
        record = queries.get(client, run_id)
    way_out = "train again"
    if record.is_sweep:
        way_out = f"it is a sweep's parent: sweep:{run_id} are its jobs, --split oof its folds where it has any"
    if file == OOF_PREDICTIONS:
        way_out = "the parent run of a cross-validation has: python -m kesikaran.train experiment=cv makes one"
    raise InputError(f"run {run_id} ({printable(record.name)}) has no {file}; {way_out}")


def text(run_id: str, file: str) -> str:
    """The content of a text file among a run's artifacts, of at most `_TEXT_BYTES`.

    Raises:
        InputError: no such run, it has no such file, or the file is too large or not UTF-8.
    """
    reading = run_store.reading(f"{file} of run {run_id}")
    with reading as client, _fetched(client, run_id, file, _TEXT_BYTES) as path:
        if path:
            return path.read_text(encoding="utf-8")
    raise InputError(f"run {run_id} has no {file}; train again")


def prevalences(run_id: str) -> pd.DataFrame | None:
    """A run's table of what becomes of its metrics at other shares of label 1, numbers only; None where it has none."""
    reading = run_store.reading(f"{PREVALENCES} of run {run_id}")
    with reading as client, _fetched(client, run_id, PREVALENCES, _TEXT_BYTES) as path:
        return pd.read_csv(path, dtype=float) if path else None


def label_doubts(run_id: str | None) -> tuple[str, pd.DataFrame]:
    """The table of doubtful labels of a cross-validation.

    Args:
        run_id: its parent run; None: the latest finished one that has the table.

    Returns:
        (run id, the columns object_id (str), label (int), probability and loss (float) of `label_doubts.csv`), the rows
        in the file's order.

    Raises:
        InputError: there is no store yet, no such run, no such table, or the table is damaged.
    """
    remedy = "python -m kesikaran.train experiment=cv makes one"
    with run_store.reading(f"run {run_id}" if run_id else "the latest cross-validation") as client:
        pooled = "attributes.status = 'FINISHED' and metrics.`oof/n` > 0"
        order = "attributes.end_time DESC"
        for run in [queries.get(client, run_id)] if run_id else queries.search(client, pooled, order):
            found = run.run_id
            with _fetched(client, found, DOUBTS, _DOUBTS_BYTES) as path:
                if path:
                    return found, _doubts(path)
    which = f"run {run_id} has no" if run_id else f"no finished run in {run_store.shown_address()} has a"
    raise InputError(f"{which} label_doubts.csv; the parent run of a cross-validation has: {remedy}")


def _doubts(path: Path) -> pd.DataFrame:
    columns = {"object_id": str, "label": int, "probability": float, "loss": float}
    rows = pd.read_csv(path, usecols=list(columns), dtype=columns, keep_default_na=False)
    if not rows["label"].isin([0, 1]).all():
        raise ValueError("its column label holds other values than 0 and 1")
    if not rows["probability"].between(0, 1).all():
        raise ValueError("its column probability holds what is not between 0 and 1")
    if not (np.isfinite(rows["loss"]) & (rows["loss"] >= 0)).all():
        raise ValueError("its column loss holds what is no finite number of 0 or more")
    if not rows["object_id"].str.fullmatch(prediction_table.IMAGE).all():
        raise ValueError("its column object_id holds what is no name of an image, which is a SHA-1")
    return rows


@contextmanager
def _fetched(client: mlflow.MlflowClient, run_id: str, file: str, most_bytes: int) -> Iterator[Path | None]:
    """A run's file, for a block that reads it and raises a ValueError where the file is not what it should be. None
    where the run has no such file.

    Raises:
        InputError: the file is damaged, or the run's files lie where another store is.
    """
    place = store_file.path_of(run_store.place_of_files(client, run_id))
    if place:  # MLflow's listing of a folder would ask the store once more
        found = place / file
        sizes = {file: found.stat().st_size if found.is_file() else 0} if os.path.lexists(found) else {}
    else:
        sizes = {one.path: one.file_size or 0 for one in client.list_artifacts(run_id) if not one.is_dir}
    if file not in sizes:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            if sizes[file] > most_bytes:
                raise ValueError(f"it has {sizes[file]:,} bytes, at most {most_bytes:,} are read")
            path = place / file if place else Path(client.download_artifacts(run_id, file, folder))
            if not path.is_file() or path.stat().st_size > most_bytes:  # a link to a device never ends
                raise ValueError(f"it is no file of at most {most_bytes:,} bytes")
            yield path
        except InputError:
            raise
        except (ValueError, OSError) as error:  # a parser's and a decoder's errors are ValueErrors
            raise InputError(f"{file} of run {run_id} is damaged: {errors.first_line(error)}") from None
