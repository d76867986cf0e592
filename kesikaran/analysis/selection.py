"""What was chosen on validation, and by how much that flatters: marks, and the optimism of the best of several jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kesikaran.analysis.wording import in_words
from kesikaran.config.metric_names import METRICS
from kesikaran.metrics import influence, intervals
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions

MARK = "*"
"""Stands behind the name of numbers that have chosen something."""

# From here on the best of the runs looks some 1.9 standard errors better than it is, where all are equal (the expected
# largest of 20 independent normal numbers): as much as half the width of its 95 % interval.
MANY_LOOKS = 20

# Of the coupled bootstrap. Less makes its estimate vary more, more makes its choice worse than the true one.
NOISE = 0.7
DRAWS = 4000


def chosen_on_validation(params: Mapping[str, str]) -> list[str]:
    """What a run has chosen by its metrics on validation: epoch, views, temperature, threshold.

    Args:
        params: the settings of the run by their dotted names.
    """
    tuned, averages = params.get("finetune.trains", "none") != "none", params.get("augment.average") == "True"
    choices = {
        "epoch": params.get("fit.patience", "None") != "None" or tuned,
        "views": tuned and averages and params.get("augment.name") in ("flips", "dihedral"),
        "temperature": params.get("decision.temperature") == "True",
        "threshold": params.get("decision.rule") == "tuned",
    }
    return [name for name, is_chosen in choices.items() if is_chosen]


def mark_sentence(chosen: list[str]) -> list[str]:
    """A sentence on the marked numbers; none where nothing was chosen."""
    return [f"{MARK} Chosen on validation: {', '.join(chosen)}; its numbers flatter."] if chosen else []


def looks(count: int) -> list[str]:
    """A sentence on how many finished runs were scored on one test split; none where they are few."""
    if count < MANY_LOOKS:
        return []
    return [
        f"{count:,} finished runs of this store were scored on this very split (tag split_fingerprint): each look that "
        "leads to a choice makes its test images less of a test. For a figure to quote, score the final choice on "
        "images that no run has seen."
    ]


@dataclass(frozen=True)
class Corrected:
    """The metric that named the best of several jobs, and what it is worth.

    best: the number of that job. seen: its metric. optimism: by how much seen flatters, for being the best, in the
    metric's direction. expected: seen without it, with the interval of the best moved alike.
    """

    best: int
    seen: float
    optimism: float
    expected: Interval


def optimism(values: np.ndarray, influences: np.ndarray, units: np.ndarray) -> float:
    """By how much the largest of k metrics of the same images exceeds, on average, what its job is worth.

    Coupled bootstrap (Oliveira, Lei and Tibshirani 2021): from each value plus NOISE times an error e the best is
    chosen, and the same value less e / NOISE judges it. The two errors are independent of each other where e has the
    covariance of the metrics, so the second is no party to the choice. e is normal with that covariance, which the
    influences give. The choice under more noise than there was is a little worse than the true one, which is the price;
    scripts/simulate_selection.py shows how little. A plain bootstrap finds 0.7 of the optimism of equal jobs, because
    its centres, the values, are spread by chance already.

    Nothing depends on a seed of the user: the errors are drawn from a fixed one.

    Args:
        values: float64 [k], higher is better. influences: float64 [k, n], of each image on each value, see
            `metrics.influence`. units: int [n], the sampling unit of each image.

    Returns:
        At least 0.
    """
    sums = np.stack([np.bincount(units, each) for each in influences])
    # The square root of the covariance, which may be singular: some jobs are the same.
    roots, vectors = np.linalg.eigh(sums @ sums.T)
    errors = vectors * np.sqrt(np.clip(roots, 0, None)) @ np.random.default_rng(0).normal(size=(len(values), DRAWS))
    errors -= errors.mean(axis=0)  # what all jobs share chooses none of them, and its mean is 0
    chosen = (values[:, None] + NOISE * errors).argmax(axis=0)
    judged = values[chosen] - errors[chosen, np.arange(DRAWS)] / NOISE
    return max(0.0, float(values.max() - judged.mean()))


def corrected(several: Sequence[Predictions], metric: str, confidence: float) -> Corrected:
    """What the best of several jobs is worth in the metric that chose it.

    Args:
        several: two or more predictions of the same validation images, whose log-odds are those that chose.
        metric: roc_auc or log_loss.
    """
    sign = 1 if METRICS[metric].higher_is_better else -1
    parts = [influence.of(one, (metric,))[metric] for one in several]
    values = np.array([sign * part.value for part in parts])
    units = influence.sampling_units(several[0])
    flattered = optimism(values, sign * np.stack([part.each for part in parts]), units.unit)
    best = int(values.argmax())
    found = intervals.intervals(several[best], confidence, names=(metric,))[metric]
    moved = (
        min(max(end - sign * flattered, 0.0), METRICS[metric].most) for end in (found.value, found.low, found.high)
    )
    return Corrected(best, found.value, flattered, Interval(*moved))


def sentence(found: Corrected, jobs: int, words: str) -> str:
    """The optimism of the best of `jobs` in words. words: the name of the metric that chose it."""
    return (
        f"The best of {jobs} by validation {words} shows {found.seen:.3f}{MARK}; being the best of {jobs} flatters it "
        f"by about {found.optimism:.3f}: expect {in_words(found.expected)}."
    )
