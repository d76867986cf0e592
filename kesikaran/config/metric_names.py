"""The catalogue of metrics: their names, their kinds, and which of them each table, test and setting uses.

A new metric is one entry here and one function in `metrics.influence`. Scores, intervals, comparisons, tables, pages
and the values that `gate.metric` allows follow from this catalogue.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from kesikaran.config.schema import Monitor


class Kind(Enum):
    """The kind of a metric, which decides how its interval is computed."""

    proportion = auto()  # a share of images, such as the share that is decided rightly
    weighted = auto()  # a share of the weight of images
    harmonic = auto()  # 2J / (1 + J) of a share of images J
    area = auto()  # between 0 and 1, but not a share of images
    average_precision = auto()  # an area that is a mean over the images of label 1 alone
    loss = auto()  # the mean of a loss of each image, 0 or more
    calibration = auto()  # computed from bins of images: a single image has no influence of its own


class PairedTest(Enum):
    """The test that compares two classifiers in a metric on the same images. The value is its name on pages."""

    mcnemar = "McNemar exact"
    delong = "DeLong"
    score = "score"
    influence_t = "influence t"
    intervals = "interval inversion"


@dataclass(frozen=True)
class Metric:
    """One metric.

    name: its name in MLflow behind the split, as in `test/NAME`. words: its name in a sentence. most: its largest
    possible value; the smallest is 0. ranks: whether it compares the logits of different images; then the logits of
    different models must not be pooled for it. needs_weights: it is defined only for images with weights,
    see `data.weight`.
    """

    name: str
    words: str
    kind: Kind
    test: PairedTest
    higher_is_better: bool = True
    most: float = 1.0
    ranks: bool = False
    needs_weights: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", Kind.proportion, PairedTest.mcnemar),
        Metric("weighted_accuracy", "weighted accuracy", Kind.weighted, PairedTest.influence_t, needs_weights=True),
        Metric("balanced_accuracy", "balanced accuracy", Kind.area, PairedTest.influence_t),
        Metric("precision", "precision", Kind.proportion, PairedTest.score),
        Metric("recall", "recall", Kind.proportion, PairedTest.mcnemar),
        Metric("specificity", "specificity", Kind.proportion, PairedTest.mcnemar),
        Metric("f1", "F1", Kind.harmonic, PairedTest.influence_t),
        Metric("roc_auc", "ROC AUC", Kind.area, PairedTest.delong, ranks=True),
        Metric("pr_auc", "PR AUC", Kind.average_precision, PairedTest.influence_t, ranks=True),
        Metric("log_loss", "log loss", Kind.loss, PairedTest.influence_t, higher_is_better=False, most=math.inf),
        Metric("brier", "Brier score", Kind.loss, PairedTest.influence_t, higher_is_better=False),
        Metric("calibration_error", "calibration error", Kind.calibration, PairedTest.intervals, False),
    )
}
"""All metrics by name, in the order in which tables show them."""

GATED = tuple(name for name, metric in METRICS.items() if metric.higher_is_better)
"""The metrics that `gate.metric` may name. `gate.min` is a lower bound, so a higher value must be better."""

IN_SWEEP_TABLE = ("log_loss", "roc_auc", "accuracy", "weighted_accuracy")
"""The metrics of each job in the table of a sweep, where the jobs have them."""

ACROSS_SETTINGS = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss")
"""The metrics in which the settings of one cross-validation are compared."""

OF_DECISIONS = ("accuracy", "balanced_accuracy")
"""In what another decision on the logits of a run is compared with the decision of the run."""

OVER_FOLDS = tuple(name for name in METRICS if name not in ("specificity", "calibration_error"))
"""The metrics whose spread over the folds a cross-validation reports."""

OF_SEEDS = tuple(name for name in METRICS if name not in ("precision", "recall", "specificity"))
"""The metrics whose spread over seeds is reported. Precision and recall are parts of F1, recall and specificity of
balanced accuracy."""

# Not one of METRICS: it is of validation alone, and of the logits, whatever the decision makes of them.
SELECTION_LOSS = Metric(
    "selection_log_loss", "prior-corrected log loss", Kind.loss, PairedTest.influence_t, False, math.inf
)
"""The log loss of a run's logits on validation, moved to the share of label 1 there (`imbalance.prior_shift`)."""

OBJECTIVE = {Monitor.loss: SELECTION_LOSS, Monitor.auc: METRICS["roc_auc"]}
"""`fit.monitor` -> the validation metric that picks a run's epoch and a sweep's best job."""


def objective_of(params: Iterable[str], logged: Callable[[str], bool]) -> Metric:
    """The metric by which the best of several runs is chosen.

    Args:
        params: the param `fit.monitor` of each run. logged: whether every run has a final validation metric of a name.

    Returns:
        The metric of their common `fit.monitor`, that of `loss` where they differ or have none. Where a run has no such
        metric, as those of older versions, the log loss, which every run has.
    """
    monitors = {Monitor[name] for name in params if name in Monitor.__members__}
    found = OBJECTIVE[monitors.pop() if len(monitors) == 1 else Monitor.loss]
    return found if logged(found.name) else METRICS["log_loss"]
