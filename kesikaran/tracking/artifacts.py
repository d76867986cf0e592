"""Reading the artifacts of a run: its predictions, its texts, its label doubts."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from kesikaran.core import errors
from kesikaran.core.errors import InputError, printable
from kesikaran.tracking import queries, run_store

PREDICTIONS = "predictions.parquet"
OOF_PREDICTIONS = "oof_predictions.parquet"  # of a cross-validation's parent run


def predictions(run_id: str, file: str = PREDICTIONS) -> pd.DataFrame:
    """A run's table of predictions; with `OOF_PREDICTIONS`, that of all folds of a cross-validation.

    Returns:
        Columns object_id, label (0 or 1), logit (finite), probability, and the file's further columns.

    Raises:
        InputError: no such run, it has no such file, or the file is damaged.
    """
    with run_store.reading(f"{file} of run {run_id}") as client:
        if all(artifact.path != file for artifact in client.list_artifacts(run_id)):
            record = queries.get(client, run_id)
            way_out = f"it is a sweep's parent, its jobs have: sweep:{run_id}" if record.is_sweep else "train again"
            if file == OOF_PREDICTIONS:
                way_out = "the parent run of a cross-validation has: python -m kesikaran.train experiment=cv makes one"
            raise InputError(f"run {run_id} ({printable(record.name)}) has no {file}; {way_out}")
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows = pd.read_parquet(client.download_artifacts(run_id, file, folder))
                sound = rows["label"].isin([0, 1]).all() and np.isfinite(rows["logit"]).all()
                if not sound or rows[["object_id", "probability"]].isna().any(axis=None) or rows.empty:
                    raise ValueError("a column holds what it cannot")
            except (ValueError, TypeError, KeyError, OSError) as error:  # pyarrow's are ValueErrors and OSErrors
                raise InputError(f"{file} of run {run_id} is damaged: {errors.first_line(error)}") from None
    return rows


def text(run_id: str, file: str) -> str:
    """The content of a text file among a run's artifacts.

    Raises:
        InputError: no such run, it has no such file, or the file is not UTF-8.
    """
    with run_store.reading(f"{file} of run {run_id}") as client:
        if all(artifact.path != file for artifact in client.list_artifacts(run_id)):
            raise InputError(f"run {run_id} has no {file}; train again")
        with tempfile.TemporaryDirectory() as folder:
            try:
                return Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{file} of run {run_id} is damaged: {errors.first_line(error)}") from None


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
    columns = {"object_id": str, "label": int, "probability": float, "loss": float}
    with run_store.reading(f"run {run_id}" if run_id else "the latest cross-validation") as client:
        pooled = "attributes.status = 'FINISHED' and metrics.`oof/n` > 0"
        order = "attributes.end_time DESC"
        for run in [queries.get(client, run_id)] if run_id else queries.search(client, pooled, order):
            found = run.run_id
            if any(file.path == "label_doubts.csv" for file in client.list_artifacts(found)):
                with tempfile.TemporaryDirectory() as folder:
                    path = client.download_artifacts(found, "label_doubts.csv", folder)
                    try:
                        return found, pd.read_csv(path, usecols=list(columns), dtype=columns, keep_default_na=False)
                    except ValueError as error:  # a parser's and a decoder's error are ValueErrors
                        raise InputError(
                            f"label_doubts.csv of run {found} is damaged: {errors.first_line(error)}"
                        ) from None
    which = f"run {run_id} has no" if run_id else f"no finished run in {run_store.shown_address()} has a"
    raise InputError(f"{which} label_doubts.csv; the parent run of a cross-validation has: {remedy}")
