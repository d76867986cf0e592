"""What is trained: the rows, the head, the settings, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kesikaran.config.schema import FitConfig, HeadConfig, OptimizerConfig
from kesikaran.training.losses import Loss


@dataclass(frozen=True)
class FeatureRows:
    """matrix: float32 [m, width]; rows: numbers of the sample's rows in it, int [n] (None: all, as they come);
    labels: int [n] of 0 and 1."""

    matrix: np.ndarray
    labels: np.ndarray
    rows: np.ndarray | None = None

    @property
    def features(self) -> np.ndarray:
        """float32 [n, width]; a copy where rows are chosen."""
        return self.matrix if self.rows is None else self.matrix[self.rows]

    def take(self, chosen: np.ndarray) -> "FeatureRows":
        """The chosen rows, by their numbers, int [k]. Their features are not copied yet."""
        return FeatureRows(self.matrix, self.labels[chosen], chosen if self.rows is None else self.rows[chosen])


@dataclass(frozen=True)
class HeadTask:
    """A head to be trained, and how.

    model: of `model.build_head(_, head, _)`; training starts from its weights and leaves the chosen ones in it.
    seed: of the order of the rows and of the dropout masks.
    on_epoch: called with the epoch (from 0) and its metrics: train/loss (as trained: by `loss`, with label
        smoothing, dropout and L2), validation/loss (plain, nats), validation/auc (where validation has both classes),
        learning_rate. None is also a final metric's name: MLflow shows the highest step, so the last epoch would
        hide the number of the restored weights.
    """

    model: Any
    head: HeadConfig
    optimizer: OptimizerConfig
    fit: FitConfig
    loss: Loss
    seed: int
    on_epoch: Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainingJob:
    """A task and its data: rows of a matrix that several share."""

    task: HeadTask
    every: FeatureRows
    train: np.ndarray  # row numbers, int [n]; a row may come twice
    validation: np.ndarray

    def group(self) -> tuple[Any, ...]:
        """Equal for trainings that `fit` takes together."""
        shapes = tuple(tuple(weight.shape) for weight in self.task.model.weights)
        rows = (self.train.tobytes(), self.validation.tobytes(), self.every.labels.tobytes())
        return id(self.every.matrix), *rows, self.task.optimizer.name, self.task.fit.batch_size, shapes


@dataclass(frozen=True)
class FitResult:
    """The head holds the weights of `epoch` (from 0); `epochs` were run."""

    epoch: int
    epochs: int
