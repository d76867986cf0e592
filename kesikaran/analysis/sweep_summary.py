"""The summary of a sweep: its table, the best job, and the jobs that are not distinguishable from it."""

import math
from dataclasses import dataclass

import pandas as pd

from kesikaran.analysis.wording import p_in_words, significance_level
from kesikaran.config.metric_names import IN_SWEEP_TABLE, METRICS, objective_of

FOLD = "split.fold"


def swept(jobs: pd.DataFrame) -> list[str]:
    """The names of the settings that the sweep varies and that differ between the jobs."""
    names = [c for c in jobs.columns if c.startswith("overrides.")]
    return [c.removeprefix("overrides.") for c in names if jobs[c].nunique(dropna=False) > 1]


def summary(jobs: pd.DataFrame) -> pd.DataFrame:
    """A row for each job: the settings that differ, and the validation and test metrics with their limits."""
    names = [f"{s}/{m}{end}" for s in ("validation", "test") for m in IN_SWEEP_TABLE for end in ("", "_low", "_high")]
    overrides = [f"overrides.{name}" for name in swept(jobs)]
    columns = ["run_id", "status", *overrides, *(f"metrics.{n}" for n in names if f"metrics.{n}" in jobs.columns)]
    return jobs[columns].rename(columns=lambda c: c.removeprefix("overrides.").removeprefix("metrics."))


def splits(jobs: pd.DataFrame) -> int:
    """The largest number of different splits among jobs with the same `split.fold`.

    The folds of a cross-validation are meant to have different splits. A job that ended before it had a split does not
    count.
    """
    if f"params.{FOLD}" not in jobs:  # no job, or none that came as far as its params
        return 0
    return int(jobs.groupby(f"params.{FOLD}")["split_fingerprint"].nunique().max())


def over_folds(jobs: pd.DataFrame) -> bool:
    """Whether the jobs are of different folds. Their metrics are then on different images, and none is the best."""
    return f"params.{FOLD}" in jobs and jobs[f"params.{FOLD}"].nunique() > 1


@dataclass(frozen=True)
class Best:
    """The job with the best validation metric.

    row: its index among the jobs. metric: the objective of the sweep. rivals: the indices of the other finished jobs on
    the same split.
    """

    row: int
    metric: str
    rivals: list[int]


def best(jobs: pd.DataFrame) -> Best | None:
    """The best job by the validation metric of `fit.monitor`, the first where several are equal. None where no job
    finished, or where the jobs are of different folds."""
    finished = jobs[jobs["status"] == "FINISHED"]
    if finished.empty or over_folds(jobs):
        return None
    metric = objective_of(list(finished["params.fit.monitor"]))
    values = finished[f"metrics.validation/{metric}"] if f"metrics.validation/{metric}" in jobs else pd.Series()
    values = values.dropna()
    if values.empty:
        return None
    numbers = values.to_numpy(float)
    row = int(values.index[int(numbers.argmax() if METRICS[metric].higher_is_better else numbers.argmin())])
    same = finished[finished["split_fingerprint"] == finished.loc[row, "split_fingerprint"]]
    return Best(row, metric, [int(i) for i in same.index if i != row])


def against_best(found: Best, p_values: pd.Series, confidence: float) -> pd.Series:
    """A word for each job in the printed table: best, ~ where the difference is within noise, else the p-value.

    Args:
        p_values: Holm's, of every job against the best; NaN, which is printed as -, where a job was not compared.
    """

    def word(row: int) -> str:
        p_value = float(p_values[row])
        if math.isnan(p_value):
            return "best" if row == found.row else "-"
        return p_in_words(p_value) if p_value <= significance_level(confidence) else "~"

    return pd.Series({row: word(int(row)) for row in p_values.index}, dtype=str)


def best_sentence(jobs: pd.DataFrame, found: Best, p_values: pd.Series, images: int, confidence: float) -> str:
    """One sentence on how many jobs are not distinguishable from the best on `images` test images."""
    compared = p_values.loc[found.rivals].dropna()
    alike = int((compared > significance_level(confidence)).sum())
    finished = int((jobs["status"] == "FINISHED").sum())
    run_id = str(jobs.loc[found.row, "run_id"])
    metric = METRICS[found.metric].words
    name = f"{metric} ({setting(jobs, found.row)}, run {run_id[:8]})"
    if not len(compared):
        return f"The best of {finished} by validation {name} was not compared: no other job has its test images."
    verdict = (
        f"is not distinguishable from {alike} other{'' if alike == 1 else 's'}" if alike else "differs from every other"
    )
    return (
        f"The best of {finished} by validation {name} {verdict} on the {images:,} test images: {metric}, "
        f"image by image, Holm over {len(compared)} comparisons at {significance_level(confidence):.0%}."
    )


def setting(jobs: pd.DataFrame, row: int, without: tuple[str, ...] = ()) -> str:
    """The values of a job for the settings that the sweep varies: `optimizer.lr=0.01 head.l2=0`."""
    given = jobs.loc[row].to_dict()
    return " ".join(f"{name}={given[f'overrides.{name}']}" for name in swept(jobs) if name not in without)
