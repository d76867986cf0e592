"""The model that a person names: of a run, of a sweep's best job, of the registry, or in a folder."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.core.errors import InputError, printable

if TYPE_CHECKING:
    from kesikaran.publish.predictor import Predictor

NAMES = "a run's id or name, a sweep's (its best job by validation), models:/NAME@ALIAS, or a published folder"
_GRAPH = "saved_model.pb"
_INSIDE = ("", "saved_model", "tf2model")  # of a SavedModel itself, of a published folder, of a model in MLflow


def find(word: str) -> "Predictor":
    """The model of a word; see `NAMES`. TensorFlow is not loaded for it.

    Raises:
        InputError: there is no such run, model or folder; the run did not finish or has no model; the model is of an
            older version, or is damaged.
    """
    from kesikaran.publish import facts
    from kesikaran.publish.predictor import Predictor
    from kesikaran.tracking import model_files, models, queries, registry

    if os.path.isdir(word):
        folder = _saved_model(Path(word))
    elif word.startswith(registry.SCHEME):
        folder = model_files.fetched(registry.resolve(word).place) / models.SAVED_MODEL
    else:
        record = queries.finished(word)
        if record.is_sweep:
            record = queries.finished(best_job(record.run_id, printable(word)))
        folder = model_files.of_run(record) / models.SAVED_MODEL
    return Predictor(folder, facts.read(folder))


def _saved_model(folder: Path) -> Path:
    for name in _INSIDE:
        if (folder / name / _GRAPH).is_file():
            return folder / name
    raise InputError(f"{printable(str(folder))} holds no model: {_GRAPH} is neither in it nor in its saved_model/")


def best_job(sweep_id: str, what: str) -> str:
    """The run id of the job of a sweep that is best by validation.

    Raises:
        InputError: none is the best. The message begins with `what`.
    """
    from kesikaran.analysis import sweep_summary
    from kesikaran.tracking import queries

    jobs = queries.sweep_jobs(sweep_id)
    best = sweep_summary.best(jobs)
    if best is None:
        raise InputError(
            f"{what} is a sweep none of whose jobs is the best, since they are of several folds or random splits; give "
            "the id of a job"
        )
    return str(jobs.loc[best.row, "run_id"])
