"""What is trained and on which rows, and the result of a training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kesikaran.config.schema import FinetuneConfig, FitConfig, HeadConfig, Monitor, OptimizerConfig
from kesikaran.training.losses import Loss

if TYPE_CHECKING:
    from kesikaran.data.pipeline import Augment, ImageRows
    from kesikaran.models.network import Network
    from kesikaran.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class FeatureRows:
    """A sample: some rows of a feature matrix, and their labels.

    matrix: float32 [m, width], shared with other samples.
    labels: int [n] of 0 and 1.
    rows: the matrix row of each label, int [n]; None where the sample is the whole matrix (n = m).
    """

    matrix: np.ndarray
    labels: np.ndarray
    rows: np.ndarray | None = None

    @property
    def features(self) -> np.ndarray:
        """float32 [n, width]; a copy, unless the sample is the whole matrix."""
        return self.matrix if self.rows is None else self.matrix[self.rows]

    def take(self, chosen: np.ndarray) -> "FeatureRows":
        """The sample of some rows of this one. chosen: their numbers in this sample, int [k]. Copies no features."""
        return FeatureRows(self.matrix, self.labels[chosen], chosen if self.rows is None else self.rows[chosen])


@dataclass(frozen=True)
class HeadTask:
    """A head to be trained, and the settings of its training.

    weights: to start from, of `models.head.first_weights(_, head, _)`.
    seed: of the order of the rows and of the dropout masks.
    on_epoch: called with the number of each epoch (from 0) and its metrics: train/loss (by `loss`, with label
        smoothing, dropout and L2), validation/loss (plain cross-entropy in nats), validation/selection_loss (the same
        of logits + prior_shift), validation/auc (left out where validation has one class only) and learning_rate. A run
        may log no final metric under one of these names: MLflow shows the value of the highest step, so the last
        epoch's value would be taken for that of the chosen epoch.
    prior_shift: what is added to the logits of validation, in nats, before the loss by which the epoch is chosen
        (`imbalance.prior_shift`).
    """

    weights: list[np.ndarray]
    head: HeadConfig
    optimizer: OptimizerConfig
    fit: FitConfig
    loss: Loss
    seed: int
    on_epoch: Callable[[int, dict[str, float]], None]
    prior_shift: float = 0.0


@dataclass(frozen=True)
class TrainingJob:
    """A task and the rows it is trained and validated on.

    every: the rows of all images, of whose matrix the jobs of a sweep share one.
    train, validation: row numbers in `every`, int [n]; a training row may come more than once.
    """

    task: HeadTask
    every: FeatureRows
    train: np.ndarray
    validation: np.ndarray

    def group(self) -> tuple[Any, ...]:
        """A key. `head_trainer.fit` can train the jobs of equal keys together."""
        shapes = tuple(weight.shape for weight in self.task.weights)
        rows = (self.train.tobytes(), self.validation.tobytes(), self.every.labels.tobytes())
        return id(self.every.matrix), *rows, self.task.optimizer.name, self.task.fit.batch_size, shapes


@dataclass(frozen=True)
class FitResult:
    """epoch: the one that was chosen, from 0. epochs: how many were run. weights: of the head after the chosen epoch,
    float32, as `HeadTask` has them."""

    epoch: int
    epochs: int
    weights: list[np.ndarray] = field(compare=False)


@dataclass(frozen=True)
class TuningTask:
    """What is fine-tuned, on which images, and from what.

    network: its variables are set here. start: the weights of the head to begin with. probe: those of the trained
        probe, which is epoch 0. probe_logits: its logits of validation, float32 [n].
    loss: of the training rows. seed: of their order, of dropout and of the augmentation.
    labels: of all images, int [m] of 0 and 1. train, validation: row numbers in `images`, int [n]; a training row may
        come more than once.
    prior_shift: as of `HeadTask`. on_epoch: as of `HeadTask`. probe_epochs: how many epochs the probe took; the next
        number is that of the first epoch here.
    augment: is applied to each training batch. say: prints a sentence.
    """

    network: "Network"
    config: FinetuneConfig
    monitor: Monitor
    loss: Loss
    seed: int
    images: "ImageRows"
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    prior_shift: float
    start: list[np.ndarray]
    probe: list[np.ndarray]
    probe_logits: np.ndarray
    on_epoch: Callable[[int, dict[str, float]], None]
    probe_epochs: int
    checkpoint: "Checkpoint"
    augment: "Augment | None" = None
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Tuned:
    """epoch: the best on validation, 0 for the probe. epochs: how many were made. probe_epochs: as of `TuningTask`, of
    the probe that the training began with. remarks: sentences for the person."""

    epoch: int
    epochs: int
    probe_epochs: int
    remarks: list[str]
