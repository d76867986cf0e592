"""Rows of a shared matrix, and which jobs may be trained together."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kesikaran.config.schema import FitConfig, HeadConfig, OptimizerConfig, OptimizerName
from kesikaran.training.losses import Loss
from kesikaran.training.task import FeatureRows, HeadTask, TrainingJob

MATRIX = np.arange(12, dtype=np.float32).reshape(6, 2)
ROWS = FeatureRows(MATRIX, np.array([0, 1, 0, 1, 1, 0]))


def test_rows_of_rows_are_rows_of_the_matrix() -> None:
    assert ROWS.features is MATRIX
    some = ROWS.take(np.array([5, 3, 1, 1]))
    fewer = some.take(np.array([2, 0]))
    assert some.matrix is fewer.matrix is MATRIX
    assert some.labels.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(some.features, MATRIX[[5, 3, 1, 1]])
    assert fewer.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(fewer.features, MATRIX[[1, 5]])


def job(**changes: Any) -> TrainingJob:
    """A job on a head of one layer; changes of its task, of its rows, or of the shape of its kernel."""
    shape = changes.pop("shape", (2, 1))
    rows: dict[str, Any] = {"every": ROWS, "train": np.array([0, 1, 2]), "validation": np.array([3, 4])}
    rows |= {name: changes.pop(name) for name in list(changes) if name in rows}
    weights = [np.zeros(shape), np.zeros(1)]
    task = HeadTask(weights, HeadConfig(), OptimizerConfig(OptimizerName.adam, 0.1), FitConfig(), Loss(), 0, print)
    return TrainingJob(replace(task, **changes), **rows)


def test_jobs_that_differ_in_numbers_alone_are_of_one_group() -> None:
    alike = [
        job(),
        job(seed=7),
        job(loss=Loss(2.0, 0.5, 1.5)),
        job(head=HeadConfig(dropout=0.3, l2=0.1)),
        job(optimizer=OptimizerConfig(OptimizerName.adam, 0.5)),
        job(fit=FitConfig(epochs=3, patience=None, label_smoothing=0.1)),
    ]
    assert len({one.group() for one in alike}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (3, 1)},
        {"optimizer": OptimizerConfig(OptimizerName.sgd, 0.1)},
        {"fit": FitConfig(batch_size=7)},
        {"train": np.array([0, 1, 1])},
        {"validation": np.array([4, 3])},
        {"every": FeatureRows(MATRIX.copy(), ROWS.labels)},
        {"every": FeatureRows(MATRIX, 1 - ROWS.labels)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_jobs_on_other_rows_or_of_another_program_are_not(change: dict[str, Any]) -> None:
    assert job(**change).group() != job().group()
