"""The ranking of the jobs of a sweep: which is the best, and from which others it is not distinguishable."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

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
    """A job of a sweep.

    validation: the metric by which the best is chosen. primary: the primary metric. against_best: job - best in the
    primary metric; None for the best itself. p_adjusted: its p-value after Holm's correction over the other jobs; NaN
    for the best itself, and where no test is possible.
    """

    run_id: str
    name: str
    validation: float
    primary: Interval
    against_best: Difference | None
    p_adjusted: float


@dataclass(frozen=True)
class SweepComparison:
    """All jobs of a sweep on the same images.

    candidates: the k jobs, the best by validation first. not_distinguishable: the run ids of the jobs whose p-value
    against the best is above the level, or is NaN. p_adjusted: [k][k], of every pair of candidates after Holm's
    correction over all pairs, NaN on the diagonal and where no test is possible.
    """

    kind: ClassVar[str] = "sweep"  # in the JSON

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
    """Compare all pairs of two or more jobs, with the confidence of the best.

    Args:
        jobs: each with its validation metric `metric`, by which the best is chosen: chosen on these images it would
            look better than it is.
        left_out: the number of jobs that did not finish. step: called after each pair, which takes 10 to 100 ms.

    Raises:
        InputError: see `run_predictions.aligned`.
    """
    jobs = sorted(jobs, key=lambda job: -job[1] if METRICS[metric].higher_is_better else job[1])
    several = [job for job, _ in jobs]
    config = run_predictions.evaluation(several[0])
    predictions = run_predictions.aligned(several, split)
    differences = _differences(predictions, config, step)
    candidates = _candidates(jobs, predictions, differences, config)
    alike = _not_distinguishable(candidates, config.confidence)
    groups = run_predictions.group_count(predictions[0])
    return SweepComparison(
        sweep_id=sweep_id,
        split=split,
        n=len(predictions[0].labels),
        ones=int(predictions[0].labels.sum()),
        groups=groups,
        confidence=config.confidence,
        primary_metric=PRIMARY,
        validation_metric=metric,
        candidates=candidates,
        not_distinguishable=alike,
        p_adjusted=_p_matrix(differences, len(jobs)),
        conclusion=_conclusion(candidates, alike, metric),
        remarks=_remarks(several, metric, left_out, groups, split),
    )


def _differences(
    predictions: list[Predictions], config: EvaluationConfig, step: Callable[[], object]
) -> dict[tuple[int, int], Difference]:
    """(i, j) -> job j - job i in the primary metric, for i < j."""
    result = {}
    for i, j in itertools.combinations(range(len(predictions)), 2):
        found = paired.compare(
            predictions[i], predictions[j], config.confidence, config.calibration_bins, metrics=(PRIMARY,)
        )
        result[i, j] = found[PRIMARY]
        step()
    return result


def _p_matrix(differences: dict[tuple[int, int], Difference], count: int) -> list[list[float]]:
    """The p-values of all pairs after Holm's correction over all of them, [count][count]."""
    matrix = np.full((count, count), math.nan)
    adjusted = paired.holm([found.p_value for found in differences.values()])
    for (i, j), p_value in zip(differences, adjusted, strict=True):
        matrix[i, j] = matrix[j, i] = p_value
    rows: list[list[float]] = matrix.tolist()
    return rows


def _candidates(
    jobs: Sequence[tuple[RunPredictions, float]],
    predictions: list[Predictions],
    differences: dict[tuple[int, int], Difference],
    config: EvaluationConfig,
) -> list[Candidate]:
    against_best = [found for (i, _), found in differences.items() if i == 0]
    adjusted = [math.nan, *paired.holm([found.p_value for found in against_best]).tolist()]
    result = []
    for number, (job, validation) in enumerate(jobs):
        metrics = intervals.intervals(predictions[number], config.confidence, config.calibration_bins)
        difference = against_best[number - 1] if number else None
        result.append(Candidate(job.run_id, job.name, validation, metrics[PRIMARY], difference, adjusted[number]))
    return result


def _not_distinguishable(candidates: list[Candidate], confidence: float) -> list[str]:
    """The run ids of the jobs that no test tells from the best. A job whose p-value is undefined (NaN), because no test
    is possible, is one of them."""
    level = wording.significance_level(confidence)
    return [each.run_id for each in candidates[1:] if not each.p_adjusted <= level]


def _remarks(
    several: Sequence[RunPredictions], metric: str, left_out: int, groups: int | None, split: str
) -> list[str]:
    count = len(several)
    return [
        f"The best was named by validation {metric}, not by these images. Its p-values are corrected for "
        f"{count - 1} comparisons (Holm), those of all pairs for {count * (count - 1) // 2}.",
        "P-values allow for the images, not for what another training seed would change.",
        *([f"{left_out} jobs did not finish and are left out."] if left_out else []),
        *run_predictions.evaluation_remarks(several),
        *run_predictions.image_remarks(several, groups, split),
    ]


def _conclusion(candidates: list[Candidate], alike: list[str], metric: str) -> str:
    """One sentence: from which jobs the best is not distinguishable, and how many are worse and how many better."""
    best, others = candidates[0], candidates[1:]
    named = f"The best of {len(candidates)} by validation {metric}, {printable(best.name)},"
    differences = [each.against_best.difference for each in others if each.against_best and each.run_id not in alike]
    counts = {"worse": sum(d < 0 for d in differences), "better": sum(d > 0 for d in differences)}
    rest = ", ".join(f"{count} {'is' if count == 1 else 'are'} {which}" for which, count in counts.items() if count)
    if not alike:
        return f"{named} is distinguishable in {PRIMARY} from all others: {rest}."
    names = ", ".join(printable(each.name) for each in others if each.run_id in alike)
    count = f"{len(alike)} {'other' if len(alike) == 1 else 'others'}"
    return (
        f"{named} is not distinguishable in {PRIMARY} from {count}: {names}.{f' Of the rest {rest}.' if rest else ''}"
    )
