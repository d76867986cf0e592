"""All jobs of a sweep against each other: which is best, and from how many others it cannot be told."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kesikaran.analysis import run_predictions, wording
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.config.metric_names import METRICS, PRIMARY
from kesikaran.config.schema import EvaluationConfig
from kesikaran.core.errors import printable
from kesikaran.metrics import intervals, paired
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.paired import Difference
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Candidate:
    """A job of a sweep. validation: the metric that picks the best. against_best: job - best in the primary metric, and
    `p_adjusted` its p-value after Holm's correction over the other jobs; None and NaN for the best itself."""

    run_id: str
    name: str
    validation: float
    primary: Interval
    against_best: Difference | None
    p_adjusted: float


@dataclass(frozen=True)
class SweepComparison:
    """All jobs of a sweep on the same images. candidates: the best by validation first. p_adjusted: [k][k], of every
    pair of candidates after Holm's correction over all pairs, NaN on the diagonal."""

    sweep_id: str
    split: str
    n: int
    ones: int
    groups: int | None
    confidence: float
    primary_metric: str
    validation_metric: str
    candidates: list[Candidate]
    not_distinguishable: list[str]
    p_adjusted: list[list[float]]
    conclusion: str
    remarks: list[str]


def compare_all(
    sweep_id: str,
    jobs: Sequence[tuple[RunPredictions, float]],
    metric: str,
    left_out: int,
    split: str,
    step: Callable[[], object],
) -> SweepComparison:
    """All pairs of a sweep's jobs, two or more, with the confidence of the best.

    Args:
        jobs: each with the validation metric `metric`, which names the
            best: picked on these images it would look better than it is.
        left_out: jobs that did not finish.
        step: called after each pair; of k jobs there are k (k - 1) / 2, of 10 to 100 ms each.

    Raises:
        InputError: see `comparison.outcomes`.
    """
    jobs = sorted(jobs, key=lambda job: -job[1] if METRICS[metric].higher_is_better else job[1])
    several = [job for job, _ in jobs]
    config = run_predictions.evaluation(several[0])
    made = run_predictions.aligned(several, split)
    pairs = list(itertools.combinations(range(len(made)), 2))
    how = config.confidence, config.calibration_bins, (PRIMARY,)
    found = []
    for i, j in pairs:
        found.append(paired.compare(made[i], made[j], *how)[PRIMARY])
        step()
    matrix = np.full((len(made), len(made)), math.nan)
    for (i, j), p_value in zip(pairs, paired.holm([one.p_value for one in found]), strict=True):
        matrix[i, j] = matrix[j, i] = p_value
    candidates = _candidates(jobs, made, found[: len(made) - 1], config)  # the pairs with the best come first
    groups = None if made[0].groups is None else len(np.unique(made[0].groups))
    alike = [
        one.run_id for one in candidates[1:] if not one.p_adjusted <= wording.significance_level(config.confidence)
    ]
    remarks = [
        f"The best was named by validation {metric}, not by these images. Its p-values are corrected for "
        f"{len(made) - 1} comparisons (Holm), those of all pairs for {len(pairs)}.",
        "P-values allow for the images, not for what another training seed would change.",
        *([f"{left_out} jobs did not finish and are left out."] if left_out else []),
        *run_predictions.evaluation_remarks(several),
        *run_predictions.image_remarks(several, groups, split),
    ]
    return SweepComparison(
        sweep_id=sweep_id,
        split=split,
        n=len(made[0].labels),
        ones=int(made[0].labels.sum()),
        groups=groups,
        confidence=config.confidence,
        primary_metric=PRIMARY,
        validation_metric=metric,
        candidates=candidates,
        not_distinguishable=alike,
        p_adjusted=matrix.tolist(),
        conclusion=_conclusion(candidates, alike, metric),
        remarks=remarks,
    )


def _candidates(
    jobs: Sequence[tuple[RunPredictions, float]],
    made: list[Predictions],
    others: list[Difference],
    config: EvaluationConfig,
) -> list[Candidate]:
    """others: each job but the first less the first."""
    adjusted = [math.nan, *paired.holm([one.p_value for one in others]).tolist()]
    return [
        Candidate(
            job.run_id,
            job.name,
            validation,
            intervals.intervals(outcome, config.confidence, config.calibration_bins)[PRIMARY],
            difference,
            p_value,
        )
        for (job, validation), outcome, difference, p_value in zip(jobs, made, [None, *others], adjusted, strict=True)
    ]


def _conclusion(candidates: list[Candidate], alike: list[str], metric: str) -> str:
    """The honest line."""
    best, others = candidates[0], candidates[1:]
    named = f"The best of {len(candidates)} by validation {metric}, {printable(best.name)},"
    differences = [one.against_best.difference for one in others if one.against_best and one.run_id not in alike]
    counts = {"worse": sum(d < 0 for d in differences), "better": sum(d > 0 for d in differences)}
    rest = ", ".join(f"{count} {'is' if count == 1 else 'are'} {which}" for which, count in counts.items() if count)
    if not alike:
        return f"{named} is distinguishable in {PRIMARY} from all others: {rest}."
    names = ", ".join(printable(one.name) for one in others if one.run_id in alike)
    count = f"{len(alike)} {'other' if len(alike) == 1 else 'others'}"
    return (
        f"{named} is not distinguishable in {PRIMARY} from {count}: {names}.{f' Of the rest {rest}.' if rest else ''}"
    )
