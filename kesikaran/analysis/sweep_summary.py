"""The summary of a sweep: its table, its best job by validation, and what its jobs differ in."""

import math
from dataclasses import dataclass

import pandas as pd

from kesikaran.config.metric_names import IN_SWEEP_TABLE, SELECTION_LOSS, Metric, objective_of
from kesikaran.config.schema import VERDICT, Monitor
from kesikaran.core.errors import printable

FOLD = "split.fold"
SPLIT_SEED = "split.seed"


def swept(jobs: pd.DataFrame) -> list[str]:
    """The names of the settings that the sweep varies and that differ between the jobs."""
    names = [c for c in jobs.columns if c.startswith("overrides.")]
    return [c.removeprefix("overrides.") for c in names if jobs[c].nunique(dropna=False) > 1]


def summary(jobs: pd.DataFrame) -> pd.DataFrame:
    """A row for each job: the settings that differ, and the validation and test metrics with their limits."""
    tested = dict.fromkeys((*IN_SWEEP_TABLE, verdict(jobs)))
    shown = {"validation": (SELECTION_LOSS.name, *IN_SWEEP_TABLE), "test": (*tested,)}
    names = [f"{side}/{name}{end}" for side, some in shown.items() for name in some for end in ("", "_low", "_high")]
    overrides = [f"overrides.{name}" for name in swept(jobs)]
    metrics = [f"metrics.{name}" for name in names if f"metrics.{name}" in jobs.columns]
    columns = ["run_id", "status", *overrides, *metrics, "reused"]
    return jobs[columns].rename(columns=lambda c: c.removeprefix("overrides.").removeprefix("metrics."))


def progress(jobs: pd.DataFrame, planned: int) -> str:
    """How far a sweep has come, in words: `31 of 80 jobs finished, 1 stopped, 48 never began`."""
    counts = jobs["status"].value_counts()
    words = [f"{counts.get('FINISHED', 0):,} of {planned:,} jobs finished"]
    said = {"KILLED": "stopped", "RUNNING": "at work elsewhere"}
    for status, count in counts.items():
        if status != "FINISHED":
            words.append(f"{count:,} {said.get(str(status), str(status).lower())}")
    if planned > len(jobs):
        words.append(f"{planned - len(jobs):,} never began")
    if reused := int(jobs["reused"].sum()):
        words.append(f"{reused:,} of them reused from before")
    goes_on = planned > len(jobs) or counts.get("KILLED", 0)
    return ", ".join(words) + ("; the same command goes on" if goes_on else "")


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


def over_splits(jobs: pd.DataFrame) -> bool:
    """Whether the jobs are of different random splits. None of them is the best either."""
    return f"params.{SPLIT_SEED}" in jobs and jobs[f"params.{SPLIT_SEED}"].nunique() > 1


@dataclass(frozen=True)
class Best:
    """The job with the best validation metric. row: its index among the jobs. metric: the objective of the sweep."""

    row: int
    metric: Metric


def best(jobs: pd.DataFrame) -> Best | None:
    """The best job by the validation metric of `fit.monitor`, the first where several are equal. None where no job
    finished, or where the jobs are of different folds or random splits."""
    finished = jobs[jobs["status"] == "FINISHED"]
    if finished.empty or over_folds(jobs) or over_splits(jobs):
        return None
    metric = objective(finished)
    values = objective_values(finished, metric.name).dropna()
    if values.empty:
        return None
    numbers = values.to_numpy()
    place = numbers.argmax() if metric.higher_is_better else numbers.argmin()
    return Best(int(values.index[int(place)]), metric)


def objective(finished: pd.DataFrame) -> Metric:
    """The validation metric by which the best of some finished jobs is chosen."""
    monitors = finished["params.fit.monitor"] if "params.fit.monitor" in finished else pd.Series(dtype=object)
    return objective_of(monitors.dropna(), lambda name: bool(objective_values(finished, name).notna().all()))


def objective_values(jobs: pd.DataFrame, metric: str) -> pd.Series:
    """A final validation metric of each job; NaN where a job has none."""
    return jobs.get(f"metrics.validation/{metric}", pd.Series(math.nan, jobs.index)).astype(float)


def compares_treatments(jobs: pd.DataFrame) -> bool:
    """Whether the jobs differ in their treatment of the imbalance, in training or by the overlay `strategy`."""
    params = [name for name in jobs.columns if name.startswith("params.imbalance.")]
    return "strategy" in swept(jobs) or any(jobs[name].nunique() > 1 for name in params)


def treatments_sentence(jobs: pd.DataFrame) -> str:
    """What a sweep over treatments of the imbalance compares."""
    by_auc = set(jobs["params.fit.monitor"].dropna()) == {Monitor.auc.name}
    how = "by ROC AUC, which no prior moves" if by_auc else "by the log loss of logits moved to validation's share"
    what = "epochs are" if over_folds(jobs) or over_splits(jobs) else "epochs and the best job are"
    return (
        "These jobs differ in their treatment of the imbalance, and so in the share of label 1 for which their logits "
        f"stand: {what} chosen {how}, while the test metrics compare each treatment with its own decision as it is."
    )


def setting(jobs: pd.DataFrame, row: int, without: tuple[str, ...] = ()) -> str:
    """The values of a job for the settings that the sweep varies: `optimizer.lr=0.01 head.l2=0`."""
    given = jobs.loc[row].to_dict()
    return printable(" ".join(f"{name}={given[f'overrides.{name}']}" for name in swept(jobs) if name not in without))


def evaluation(jobs: pd.DataFrame) -> tuple[float, int]:
    """(confidence, bins of the calibration error) of the first job that logged its params."""
    confidence, bins = (
        jobs[f"params.evaluation.{name}"].dropna().iloc[0] for name in ("confidence", "calibration_bins")
    )
    return float(confidence), int(bins)


def verdict(jobs: pd.DataFrame) -> str:
    """The metric of the verdict, of the first job that logged one; the default where none did, as older versions."""
    given = jobs.get("params.evaluation.verdict", pd.Series(dtype=str)).dropna()
    return str(given.iloc[0]) if len(given) else VERDICT
