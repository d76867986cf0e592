"""The catalogue of metrics: the one place that knows their names, and what each needs to be treated rightly.

A new metric is one entry here and one function in `metrics.influence`. Scores, intervals, comparisons, tables, pages
and the choices of the configuration take the metric from here.
"""

import math
from dataclasses import dataclass
from enum import Enum, auto

from kesikaran.config.schema import Monitor


class Kind(Enum):
    """What a metric is, which decides its interval."""

    proportion = auto()  # a share of images that are right or wrong
    area = auto()  # between 0 and 1, and no share of images
    average_precision = auto()  # an area that is a mean over the images of label 1 alone
    loss = auto()  # the mean of what each image costs, 0 or more
    calibration = auto()  # made of bins of images, without influences of single images


class PairedTest(Enum):
    """How two classifiers are compared in a metric on the same images. The value is the name that a person reads."""

    mcnemar = "McNemar exact"
    delong = "DeLong"
    influence_t = "influence t"
    intervals = "interval inversion"


@dataclass(frozen=True)
class Metric:
    """name: in MLflow, as `test/NAME`. words: in a sentence. higher_is_better: the direction. most: the largest value
    that there can be. ranks: it compares the logits of different images, so that logits of different models must not
    be pooled for it."""

    name: str
    words: str
    kind: Kind
    test: PairedTest
    higher_is_better: bool = True
    most: float = 1.0
    ranks: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", Kind.proportion, PairedTest.mcnemar),
        Metric("balanced_accuracy", "balanced accuracy", Kind.area, PairedTest.influence_t),
        Metric("precision", "precision", Kind.proportion, PairedTest.influence_t),
        Metric("recall", "recall", Kind.proportion, PairedTest.mcnemar),
        Metric("specificity", "specificity", Kind.proportion, PairedTest.mcnemar),
        Metric("f1", "F1", Kind.area, PairedTest.influence_t),
        Metric("roc_auc", "ROC AUC", Kind.area, PairedTest.delong, ranks=True),
        Metric("pr_auc", "PR AUC", Kind.average_precision, PairedTest.influence_t, ranks=True),
        Metric("log_loss", "log loss", Kind.loss, PairedTest.influence_t, higher_is_better=False, most=math.inf),
        Metric("brier", "Brier score", Kind.loss, PairedTest.influence_t, higher_is_better=False),
        Metric("calibration_error", "calibration error", Kind.calibration, PairedTest.intervals, False),
    )
}
"""All metrics by name, in the order in which tables show them."""

GATED = tuple(name for name, metric in METRICS.items() if metric.higher_is_better)
"""What `gate.metric` may name: `gate.min` is the least that is let through."""

# Settled before anyone looks, so that one test is made and not eleven: its test is exact, and the images that decide it
# are the ones that can be looked at.
PRIMARY = "accuracy"
"""The metric that says which of two runs is better."""

IN_SWEEP_TABLE = ("log_loss", "roc_auc", "accuracy")
"""What the table of a sweep shows of each job."""

ACROSS_SETTINGS = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss")
"""In what the settings of one cross-validation are compared."""

OF_DECISIONS = ("accuracy", "balanced_accuracy")
"""In what another decision on the logits of a run is compared with the decision of the run."""

OVER_FOLDS = tuple(name for name in METRICS if name not in ("specificity", "calibration_error"))
"""Of what a cross-validation tells the spread over its folds."""

OF_SEEDS = tuple(name for name in METRICS if name not in ("precision", "recall", "specificity"))
"""What is said of the spread over seeds: the other three are halves of what is there."""

OBJECTIVE = {Monitor.loss: "log_loss", Monitor.auc: "roc_auc"}
"""`fit.monitor` -> the validation metric that picks the epoch and the best job of a sweep."""


def objective_of(params: list[str]) -> str:
    """The metric by which the best of several runs is chosen, from their params `fit.monitor`: that of all of them
    where they agree, else the log loss, which every run has."""
    monitors = {Monitor[name] for name in params if name in Monitor.__members__}
    return OBJECTIVE[monitors.pop() if len(monitors) == 1 else Monitor.loss]
