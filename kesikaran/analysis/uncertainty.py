"""The whole uncertainty of a metric: test images, training sets and seeds in one interval.

The interval is for a model that is trained anew: on another training set of the same size, with another seed. With the
probability `confidence` it holds the metric of that model in the population of the images. It is a prediction interval.
The expected metric of such models, and the metric of the model at hand, vary less: it holds them at least as often.
scripts/simulate_uncertainty.py prints how often it does.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm, t

from kesikaran.analysis import sweep_summary
from kesikaran.config.metric_names import METRICS, OF_SEEDS, Kind
from kesikaran.metrics import influence, intervals
from kesikaran.metrics.influence import Influence, Units
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions

HALF, SEED = "fit.half", "seed"

SOURCES = ("images", "training", "seeds")
"""What a metric varies with, in the order of the columns of `estimate`."""

WORDS = dict(zip(SOURCES, ("test images", "training sets", "seeds"), strict=True))
"""`SOURCES` in a sentence."""

_NAMES = tuple(name for name in OF_SEEDS if METRICS[name].kind is not Kind.calibration)


def applies(jobs: pd.DataFrame) -> bool:
    """Whether the jobs of a sweep differ in half and seed only, on one split."""
    varied = set(sweep_summary.swept(jobs)) == {HALF, SEED}
    return varied and jobs["split_fingerprint"].nunique() == 1


def lacking(jobs: pd.DataFrame) -> str | None:
    """What the jobs lack for an estimate, in words. None where they lack nothing."""
    finished = jobs[jobs["status"] == "FINISHED"]
    cells = list(zip(finished[f"params.{HALF}"].astype(int), finished[f"params.{SEED}"].astype(int), strict=True))
    halves, seeds = ({cell[axis] for cell in cells} for axis in (0, 1))
    most = max(halves, default=0)
    if most % 2 or most < 4 or halves != set(range(most + 1)):
        return f"{HALF} needs every number from 0 to an even one, 4 or more"
    if len(seeds) < 2:
        return "it needs two seeds or more"
    if len(set(cells)) < len(jobs) or len(jobs) != len(halves) * len(seeds):
        return "not every half was trained once with every seed"
    return None


def estimate(models: Mapping[tuple[int, int], Predictions], confidence: float) -> pd.DataFrame:
    """The metrics of a model that is trained anew.

    The value is the mean over the seeds of the models of the whole training set. Its distance from the metric of the
    new model has the variance

        images + 2 training + (1 + 1 / seeds) seed

    because the training set at hand is one draw and that of the new model is another. `_training` and `_seed` estimate
    the two. The interval of the images is that of the models of the whole training set. The limits are combined as Zou
    and Donner (2008) do it, on the scale of the logit, or of the logarithm for a loss, and widened to Student's t. The
    degrees of freedom are Satterthwaite's (1946).

    Args:
        models: (half, seed) -> predictions of the same test images. Half 0 is the whole training set, 2 k - 1 and 2 k
            are the halves of the k-th cut of it. There are at least two cuts and two seeds, and no pair is missing.

    Returns:
        A row for each metric that is defined for all models, with the columns value, low, high, and the shares of
        `SOURCES` in the variance, which sum to 1 (NaN where nothing varies). A share is 0 where the source cannot be
        told from what the images do.
    """
    halves, seeds = (sorted({key[axis] for key in models}) for axis in (0, 1))
    parts = {key: influence.of(predictions, _NAMES) for key, predictions in models.items()}
    units = influence.sampling_units(models[0, seeds[0]])
    rows = {}
    for name in _NAMES:
        if any(name not in part or math.isnan(part[name].value) for part in parts.values()):
            continue
        whole = _Values.of([parts[0, seed][name] for seed in seeds])
        cut = [_Values.of([parts[half, seed][name] for seed in seeds]).mean() for half in halves if half]
        found = [intervals.interval(name, parts[0, seed][name], models[0, seed], units, confidence) for seed in seeds]
        training, seed = _training(_Values.of(cut[::2]), _Values.of(cut[1::2]), units), _seed(whole, units)
        rows[name] = _combined(name, found, _averaged(whole, units), [training, seed], confidence)
    return pd.DataFrame(rows).T.rename_axis("metric")


@dataclass(frozen=True)
class _Values:
    """A metric of some models, float64 [model], its influences, float64 [model, n], and their cells, int [n]."""

    value: np.ndarray
    each: np.ndarray
    cell: np.ndarray

    @classmethod
    def of(cls, parts: list[Influence]) -> "_Values":
        cell = np.max([part.cell for part in parts], axis=0)
        return cls(np.array([part.value for part in parts]), np.array([part.each for part in parts]), cell)

    def mean(self) -> Influence:
        return Influence(float(self.value.mean()), self.each.mean(axis=0), self.cell)

    def variances(self, units: Units) -> list[float]:
        """The variance of each model's metric, or difference of metrics, that other images would cause."""
        return [influence.variance(Influence(math.nan, one, self.cell), units)[0] for one in self.each]

    def mean_square(self, units: Units, freedom: int) -> tuple[float, float]:
        """(the sum of squares over `freedom`, the same without what the images add to it).

        Two models differ on these images more than in the population. How much more is known from the influences.
        """
        square = float(np.sum(self.value**2)) / freedom
        return square, square - sum(self.variances(units)) / freedom

    def centred(self) -> "_Values":
        return _Values(self.value - self.value.mean(), self.each - self.each.mean(axis=0), self.cell)


@dataclass(frozen=True)
class _Component:
    """A variance, which is estimated without bias and so may be below 0, and the variance of its estimate."""

    variance: float
    error: float


def _training(first: _Values, second: _Values, units: Units) -> _Component:
    """Twice the variance of a metric over training sets, from the halves of some cuts of one training set.

    The metric of a half is expanded to the second order around the whole training set. Half the difference of the two
    halves has the linear part and, since the training set at hand is not the population, twice the quadratic part. The
    mean of the two halves has the quadratic part alone. So the variance over training sets is that of the first less
    that of the second. The difference alone (Nadeau and Bengio 2003, the conservative Z) is up to twice too large where
    a model is near the best that it can be, and a bootstrap three times. Each half has the noise of the seeds, which
    the difference of the two variances is free of. By the expansion it is at least half of the first.
    """
    cell = np.maximum(first.cell, second.cell)
    apart = _Values((first.value - second.value) / 2, (first.each - second.each) / 2, cell)
    middle = _Values((first.value + second.value) / 2, (first.each + second.each) / 2, cell).centred()
    cuts = len(first.value)
    square, linear = apart.mean_square(units, cuts)
    other, quadratic = middle.mean_square(units, cuts - 1)
    variance = max(linear - max(quadratic, 0.0), linear / 2)
    return _Component(2 * variance, 4 * (square**2 / cuts + other**2 / (cuts - 1)))


def _seed(whole: _Values, units: Units) -> _Component:
    """The variance of the metric over seeds, for the new model and for the mean of those at hand."""
    seeds = len(whole.value)
    factor = 1 + 1 / seeds
    square, pure = whole.centred().mean_square(units, seeds - 1)
    return _Component(factor * pure, (factor * square) ** 2 / (seeds - 1))


def _averaged(whole: _Values, units: Units) -> float:
    """The standard error from images of the mean of the models, over that of one of them. At most 1."""
    one = float(np.mean(whole.variances(units)))
    return math.sqrt(influence.variance(whole.mean(), units)[0] / one) if one else 1.0


def _combined(
    name: str, found: list[Interval], averaged: float, others: list[_Component], confidence: float
) -> dict[str, float]:
    """A row of `estimate`.

    Args:
        found: the intervals of the images, one for each seed. averaged: of `_averaged`. others: training and seeds.
    """
    value = float(np.mean([one.value for one in found]))
    is_loss = METRICS[name].kind is Kind.loss
    at_limit = value <= 0 or (value >= 1 and not is_loss)  # no model makes an error, or each makes all
    if at_limit or math.isnan(averaged):
        low, high = (float(np.mean([getattr(one, end) for one in found])) for end in ("low", "high"))
        return {"value": value, "low": low, "high": high, **dict.fromkeys(SOURCES, math.nan)}
    scale, back = (np.log, np.exp) if is_loss else (logit, expit)
    slope = 1 / value if is_loss else 1 / (value * (1 - value))
    with np.errstate(divide="ignore"):
        limits = scale([[one.low, one.value, one.high] for one in found])
    below, above = (averaged * np.diff(limits).mean(axis=0)).tolist()
    quantile = float(norm.ppf((1 + confidence) / 2))
    images = ((below + above) / 2 / quantile / slope) ** 2
    rest = max(0.0, sum(other.variance for other in others))  # together: alone each would be cut off at 0 more often
    above_0 = [max(0.0, other.variance) for other in others]
    variances = [images, *(rest * part / sum(above_0) if rest else 0.0 for part in above_0)]
    total, error = images + rest, sum(other.error for other in others)
    freedom = max(total**2 / error, 1.0) if error else math.inf
    wider = float(t.ppf((1 + confidence) / 2, freedom)) / quantile
    reach = quantile * slope * math.sqrt(rest)
    low, high = (
        float(back(scale(value) + wider * side)) for side in (-math.hypot(below, reach), math.hypot(above, reach))
    )
    shares = [part / total if total else math.nan for part in variances]
    limit = {"low": low, "high": min(high, METRICS[name].most)}
    return {"value": value, **limit, **dict(zip(SOURCES, shares, strict=True))}
