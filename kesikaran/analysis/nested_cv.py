"""Nested cross-validation: settings are chosen inside each fold, and the choice is scored outside.

The inner resampling is the one validation split of each fold, by which sweeps choose too.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kesikaran.analysis import cross_validation, sweep_summary
from kesikaran.config.metric_names import ACROSS_SETTINGS, METRICS


def choices(jobs: pd.DataFrame) -> pd.DataFrame | None:
    """The setting that each fold chooses: the one with the best validation metric of that fold, the first of equals.

    Args:
        jobs: finished jobs of every setting on every fold: columns `run_id`, `setting`, `params.*` and `metrics.*`.

    Returns:
        A row for each fold: fold, setting, run_id, `validation/OBJECTIVE`, and `test/METRIC` of the chosen job for the
        metrics `ACROSS_SETTINGS` that are defined. None where a fold has no validation metric.
    """
    objective = sweep_summary.objective(jobs)
    fold = jobs["params.split.fold"].astype(int).rename("fold")
    goodness = (1 if objective.higher_is_better else -1) * sweep_summary.objective_values(jobs, objective.name)
    if goodness.groupby(fold).count().min() == 0:
        return None
    chosen = jobs.assign(fold=fold).loc[goodness.groupby(fold).idxmax()]
    metrics = [f"validation/{objective.name}", *(f"test/{name}" for name in ACROSS_SETTINGS)]
    columns = ["fold", "setting", "run_id", *(f"metrics.{name}" for name in metrics if f"metrics.{name}" in jobs)]
    return chosen[columns].rename(columns=lambda c: c.removeprefix("metrics.")).reset_index(drop=True)


def pool(chosen: pd.DataFrame, settings: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The out-of-fold predictions of the chosen settings, sorted by object id, with the column setting.

    Args:
        chosen: of `choices`. settings: name -> its table of `cross_validation.pool`.
    """
    parts = []
    for fold, setting in zip(chosen["fold"], chosen["setting"], strict=True):
        rows = settings[setting]
        parts.append(rows[rows["fold"] == fold].assign(setting=setting))
    return pd.concat(parts).sort_values("object_id", ignore_index=True)


def in_hindsight(jobs: pd.DataFrame, metric: str) -> str:
    """The one setting with the best mean over the folds of a test metric, which is optimistic for being chosen by it.

    Args:
        jobs: as in `choices`. metric: that of the verdict.
    """
    means = jobs.groupby("setting", sort=False)[f"metrics.test/{metric}"].mean()
    return str(means.idxmax() if METRICS[metric].higher_is_better else means.idxmin())


def describe(pooled: pd.DataFrame, confidence: float, calibration_bins: int) -> dict[str, float]:
    """`cross_validation.describe` as `nested/...`. A metric that ranks is the mean of the folds, with the interval of
    `cross_validation.values` where that has one, because the folds may have chosen models of different settings."""
    found = cross_validation.describe(pooled, confidence, calibration_bins)
    result = {name.replace("oof/", "nested/"): value for name, value in found.items()}
    means = cross_validation.values(pooled, confidence)
    for name in (name for name, metric in METRICS.items() if metric.ranks):
        for end in ("", "_low", "_high"):
            result.pop(f"nested/{name}{end}", None)
        if name in means:
            mean = means[name]
            result |= {f"nested/{name}": mean.value, f"nested/{name}_low": mean.low, f"nested/{name}_high": mean.high}
    return {name: value for name, value in result.items() if not np.isnan(value)}
