"""Finished runs with a model of a few bytes, for the tests that register them."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.models import Model

from kesikaran.tracking import artifacts, models, queries, runs
from kesikaran.tracking.queries import Record


def _write(folder: Path) -> None:
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"0")


def finished(
    name: str, rows: pd.DataFrame | None = None, tags: dict[str, str] | None = None,
    params: dict[str, str] | None = None, has_model: bool = True,
) -> Record:  # fmt: skip
    """A run that ended well. rows: its predictions. Its split is that of the test's other runs alone: what is said of a
    split depends on how many runs of the store were scored on it."""
    split = os.environ["PYTEST_CURRENT_TEST"].split()[0]
    with tempfile.TemporaryDirectory() as folder, runs.run("registry", name, params or {}) as run:
        run.tags({"split_fingerprint": split, "data_digest": "d"} | (tags or {}))
        if rows is not None:
            run.parquet(rows, artifacts.PREDICTIONS)
        if has_model:
            Model(flavors={"of a test": {"a": 1}}).save(str(Path(folder) / "MLmodel"))
            (Path(folder) / models.SAVED_MODEL).mkdir()
            run.model(Path(folder), _write)
    return queries.find(run.run_id)


def predictions(wrong: range, count: int = 200) -> pd.DataFrame:
    """Predictions of `count` test images, of which those of these numbers are wrong; and one of training."""
    labels, number = np.arange(count) % 2, np.arange(count)
    logits = np.where(np.isin(number, wrong) == (labels == 1), -1.0, 1.0)
    names = [f"{i:040x}.png" for i in number]
    rows = pd.DataFrame({"object_id": names, "split": "test", "label": labels, "logit": logits})
    other = pd.DataFrame({"object_id": ["f" * 40], "split": "train", "label": [1], "logit": [1.0]})
    rows = pd.concat([rows, other], ignore_index=True)
    return rows.assign(probability=1 / (1 + np.exp(-rows["logit"])))
