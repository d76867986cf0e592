"""The ranking of the jobs of a sweep: which is the best by validation, and what it is worth against the others.

The closing of a sweep and `kesikaran compare sweep:ID` both come from `compare`.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from kesikaran.analysis import run_predictions, seed_study, selection, sweep_summary, verdict
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.analysis.selection import MARK
from kesikaran.analysis.sweep_summary import Best
from kesikaran.analysis.wording import significance_level
from kesikaran.config.metric_names import SELECTION_LOSS
from kesikaran.config.schema import EvaluationConfig
from kesikaran.core.errors import InputError, printable
from kesikaran.metrics import intervals, paired
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.paired import Difference
from kesikaran.metrics.predictions import Predictions


@dataclass(frozen=True)
class Candidate:
    """A job of a sweep.

    validation: the metric by which the best is chosen. primary: the metric of the verdict. against_best: job - best in
    it; None for the best itself, and where none is the best. p_adjusted: its p-value after Holm's correction over the
    other jobs; NaN where against_best is None or no test is possible. loss_against_best, loss_p_adjusted: the same of
    the log loss, None and NaN where the verdict is a loss itself.
    """

    run_id: str
    name: str
    validation: float
    primary: Interval
    against_best: Difference | None = None
    p_adjusted: float = math.nan
    loss_against_best: Difference | None = None
    loss_p_adjusted: float = math.nan


@dataclass(frozen=True)
class SweepComparison:
    """The jobs of a sweep on the same images.

    candidates: the jobs with the images of the best, the best by validation first. names_best: False where the jobs
    differ in their seed only. not_distinguishable: the run ids of the jobs whose p-value against the best is above the
    level. untested: those whose p-value is NaN, because no test is possible. p_adjusted: [k][k], of every pair of
    candidates after Holm's correction over all pairs, NaN on the diagonal and where no test is possible; empty until
    `with_every_pair`. conclusion: the verdict in words. beside: further sentences, which are no verdict.
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
    names_best: bool
    not_distinguishable: list[str]
    untested: list[str]
    p_adjusted: list[list[float]]
    conclusion: str
    beside: list[str]
    remarks: list[str]

    @property
    def validation_words(self) -> str:
        """The validation metric as the table of a sweep calls it."""
        return "log loss" if self.validation_metric == SELECTION_LOSS.name else self.validation_metric


@dataclass(frozen=True)
class Contest:
    """The jobs that are compared, the best first: their runs, their validation metrics, and their predictions on the
    same images."""

    runs: list[RunPredictions]
    validation: list[float]
    predictions: list[Predictions]


def compare(sweep_id: str, jobs: pd.DataFrame, read: Callable[[str], pd.DataFrame], split: str) -> SweepComparison:
    """Compare the finished jobs of a sweep with the best of them, with the settings of the best.

    Args:
        jobs: the table of `tracking.queries.sweep_jobs`. read: run id -> its predictions.

    Raises:
        InputError: no job is the best (`sweep_summary.best`), the predictions of a job cannot be compared, or two jobs
            keep different images together.
    """
    best = sweep_summary.best(jobs)
    if best is None:
        raise InputError(f"sweep {sweep_id}: none of its jobs is the best: none finished, or they are of several "
                         "folds or random splits")  # fmt: skip
    of_seeds = seed_study.of_seeds(jobs)
    contest, left_out = _contest(jobs, best, read, split)
    config = run_predictions.evaluation(contest.runs[0])
    candidates = _candidates(contest, config, named=not of_seeds)
    others, first = candidates[1:], contest.predictions[0]
    level = significance_level(config.confidence)
    groups = run_predictions.group_count(first)
    return SweepComparison(
        sweep_id=sweep_id,
        split=split,
        n=len(first.labels),
        ones=int(first.labels.sum()),
        groups=groups,
        confidence=config.confidence,
        primary_metric=config.verdict,
        validation_metric=best.metric.name,
        candidates=candidates,
        names_best=not of_seeds,
        not_distinguishable=[one.run_id for one in others if one.p_adjusted > level],
        untested=[one.run_id for one in others if not of_seeds and math.isnan(one.p_adjusted)],
        p_adjusted=[],
        conclusion=_conclusion(jobs, best, candidates, config, split, len(first.labels), of_seeds),
        beside=[] if of_seeds else _beside(others, config),
        remarks=_remarks(jobs, best, contest, groups, split, named=not of_seeds) + left_out,
    )


def _contest(
    jobs: pd.DataFrame, best: Best, read: Callable[[str], pd.DataFrame], split: str
) -> tuple[Contest, list[str]]:
    """(the jobs that have the images of the best, a remark on those that have others)."""
    finished = jobs[jobs["status"] == "FINISHED"]
    values = sweep_summary.objective_values(finished, best.metric.name)
    order = values.index
    if not seed_study.of_seeds(jobs):
        order = values.sort_values(ascending=not best.metric.higher_is_better, kind="stable").index
    rows = [int(row) for row in order]
    runs = [_run(finished.loc[row].to_dict(), read, split) for row in rows]
    kept, others = [0], []
    for number in range(1, len(runs)):
        try:
            run_predictions.need_same_images(runs[0], runs[number], split)
            kept.append(number)
        except InputError as error:
            others.append(str(error))
    several = [runs[number] for number in kept]
    validation = [float(values[rows[number]]) for number in kept]
    remarks = [f"{len(others)} finished jobs are not compared, the first because {others[0]}."] if others else []
    return Contest(several, validation, run_predictions.aligned(several, split)), remarks


def _run(job: Mapping[Hashable, Any], read: Callable[[str], pd.DataFrame], split: str) -> RunPredictions:
    """The predictions of a row of the table of jobs."""
    tags = {key: job[key] for key in run_predictions.FINGERPRINTS if isinstance(job[key], str)}
    given = {name: value for name, value in job.items() if isinstance(value, str)}
    params = {
        str(name).removeprefix("params."): value for name, value in given.items() if str(name).startswith("params.")
    }
    return run_predictions.run_predictions(job["run_id"], job["name"], tags, params, read(job["run_id"]), split)


def _candidates(contest: Contest, config: EvaluationConfig, named: bool) -> list[Candidate]:
    """The jobs of a contest; where `named`, against the first of them."""
    nothing: tuple[list[Difference | None], list[float]] = ([None] * len(contest.runs), [math.nan] * len(contest.runs))
    found = _against_best(contest, config, config.verdict) if named else nothing
    loss = _against_best(contest, config, verdict.LOSS) if named and verdict.has_beside(config.verdict) else nothing
    columns = zip(contest.runs, contest.validation, contest.predictions, *found, *loss, strict=True)
    return [
        Candidate(run.run_id, run.name, validation, _interval(predictions, config), *rest)
        for run, validation, predictions, *rest in columns
    ]


def _interval(predictions: Predictions, config: EvaluationConfig) -> Interval:
    names = (config.verdict,)
    return intervals.intervals(predictions, config.confidence, config.calibration_bins, names)[config.verdict]


def _difference(a: Predictions, b: Predictions, config: EvaluationConfig, metric: str) -> Difference:
    return paired.compare(a, b, config.confidence, config.calibration_bins, (metric,))[metric]


def _against_best(
    contest: Contest, config: EvaluationConfig, metric: str
) -> tuple[list[Difference | None], list[float]]:
    """(job - best in a metric, its p-value after Holm's correction) of each job; None and NaN of the best."""
    first, *others = contest.predictions
    found = [_difference(first, one, config, metric) for one in others]
    return [None, *found], [math.nan, *paired.holm([one.p_value for one in found]).tolist()]


def _conclusion(
    jobs: pd.DataFrame,
    best: Best,
    candidates: list[Candidate],
    config: EvaluationConfig,
    split: str,
    images: int,
    of_seeds: bool,
) -> str:
    finished = int((jobs["status"] == "FINISHED").sum())
    if finished == 1:
        return verdict.of_one(len(jobs))
    if of_seeds:
        return verdict.of_seeds(finished)
    first = candidates[0]
    title = (
        f"the best of {finished} by validation {best.metric.words} ({printable(first.name)}, run {first.run_id[:8]})"
    )
    others = [(one.name, one.against_best, one.p_adjusted) for one in candidates if one.against_best]
    if not others:
        return f"{title[0].upper()}{title[1:]} was not compared: no other job has its {split} images."
    return verdict.of_best(title, others, config.verdict, split, images, config.confidence)


def _beside(others: list[Candidate], config: EvaluationConfig) -> list[str]:
    found = [(o.name, o.p_adjusted, o.loss_against_best, o.loss_p_adjusted) for o in others if o.loss_against_best]
    return verdict.beside_best(found, config.verdict, config.confidence)


def _remarks(
    jobs: pd.DataFrame, best: Best, contest: Contest, groups: int | None, split: str, named: bool
) -> list[str]:
    others, unfinished = len(contest.runs) - 1, int((jobs["status"] != "FINISHED").sum())
    choice = (
        f"{MARK} Chosen on validation: the best was named by its {best.metric.words}, whose value flatters. The "
        f"p-values on these images are corrected for {others} comparison{'' if others == 1 else 's'} (Holm)."
    )
    return [
        *([choice] if named and others else []),
        "P-values allow for the images, not for what another training seed would change.",
        *([f"Left out, as not finished: {unfinished} of {len(jobs)} jobs."] if unfinished else []),
        *run_predictions.evaluation_remarks(contest.runs),
        *run_predictions.image_remarks(contest.runs, groups, split),
    ]


def with_every_pair(
    found: SweepComparison,
    jobs: pd.DataFrame,
    read: Callable[[str], pd.DataFrame],
    step: Callable[[], object],
) -> SweepComparison:
    """`found` with the p-values of all pairs of its candidates.

    Args:
        jobs, read: as in `compare`. step: called after each pair, which takes 10 to 100 ms.
    """
    by_id = {job["run_id"]: job for job in jobs.to_dict("records")}
    runs = [_run(by_id[one.run_id], read, found.split) for one in found.candidates]
    config, predictions = run_predictions.evaluation(runs[0]), run_predictions.aligned(runs, found.split)
    p_values = {}
    for i, j in itertools.combinations(range(len(runs)), 2):
        p_values[i, j] = _difference(predictions[i], predictions[j], config, found.primary_metric).p_value
        step()
    matrix = np.full((len(runs), len(runs)), math.nan)
    for (i, j), p_value in zip(p_values, paired.holm(list(p_values.values())), strict=True):
        matrix[i, j] = matrix[j, i] = p_value
    return dataclasses.replace(found, p_adjusted=matrix.tolist())


def optimism(jobs: pd.DataFrame, best: Best, read: Callable[[str], pd.DataFrame]) -> str | None:
    """By how much being the best flatters the validation metric of the best job, in words; None where no other job has
    its validation images.

    Args:
        jobs, read: as in `compare`.
    """
    contest, _ = _contest(jobs, best, read, "validation")
    if len(contest.runs) < 2:
        return None
    shifts = jobs.set_index("run_id")["selection_shift"]
    several = contest.predictions
    if best.metric == SELECTION_LOSS:
        columns = [run.rows["logit"].to_numpy(np.float64) + shifts[run.run_id] for run in contest.runs]
        several = [dataclasses.replace(one, logits=z) for one, z in zip(several, columns, strict=True)]
    metric = "log_loss" if best.metric == SELECTION_LOSS else best.metric.name
    confidence = run_predictions.evaluation(contest.runs[0]).confidence
    found = selection.corrected(several, metric, confidence)
    return selection.sentence(found, len(several), best.metric.words)
