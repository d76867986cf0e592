"""Repeated random splits of the same images: the mean of each setting over the splits, its spread, and which settings
differ by more than chance."""

import itertools
import math

import numpy as np
import pandas as pd
from scipy.stats import t

from kesikaran.analysis import sweep_summary
from kesikaran.config.metric_names import METRICS

SEED = sweep_summary.SPLIT_SEED


def spread(jobs: pd.DataFrame, names: pd.Series, confidence: float) -> pd.DataFrame:
    """The test metrics of each setting over the splits.

    The images of one split are among those of another, so the metrics of two splits are correlated, and the interval of
    their mean takes the variance of Nadeau and Bengio (2003): (1 / J + n_test / n_train) times that of the J splits.

    Args:
        jobs: finished jobs. names: the setting of each job, without its split.

    Returns:
        A row for each setting and metric that all its jobs have: setting, metric, splits (their number), mean, low and
        high (of the mean), std (n - 1), least, most.
    """
    rows = []
    for setting, group in jobs.groupby(names, sort=False):
        for name in METRICS:
            column = f"metrics.test/{name}"
            if column not in group or group[column].isna().any():
                continue
            values = group[column].to_numpy(float)
            ends = {"least": values.min(), "most": values.max()}
            mean = _mean(values, group, confidence)
            rows.append({"setting": setting, "metric": name, "splits": len(values), **mean, **ends})
    return pd.DataFrame(rows)


def differences(jobs: pd.DataFrame, names: pd.Series, metric: str, confidence: float) -> pd.DataFrame:
    """The difference of each two settings in a test metric, on the splits that both have.

    It is the corrected resampled t-test of Nadeau and Bengio (2003): a test that took the splits for independent would
    find a difference, at 5 %, in more than a fifth of the cases where there is none (simulated in its test).

    Returns:
        A row for each pair: a, b, splits, mean (of b - a), low, high, std, p_value.
    """
    settings = [group.set_index(f"params.{SEED}") for _, group in jobs.groupby(names, sort=False)]
    rows = []
    for (a, first), (b, second) in itertools.combinations(zip(names.unique(), settings, strict=True), 2):
        common = first.index.intersection(second.index)
        if len(common) < 2:
            continue
        column = f"metrics.test/{metric}"
        found = (second.loc[common, column] - first.loc[common, column]).to_numpy(float)
        mean = _mean(found, first.loc[common], confidence)
        error = mean["std"] * _factor(first.loc[common])
        p_value = float(2 * t.sf(abs(mean["mean"]) / error, len(common) - 1)) if error else math.nan
        rows.append({"a": a, "b": b, "splits": len(common), **mean, "p_value": p_value})
    return pd.DataFrame(rows)


def _mean(values: np.ndarray, jobs: pd.DataFrame, confidence: float) -> dict[str, float]:
    mean, std = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan
    half_width = float(t.ppf((1 + confidence) / 2, max(len(values) - 1, 1))) * std * _factor(jobs)
    return {"mean": mean, "low": mean - half_width, "high": mean + half_width, "std": std}


def _factor(jobs: pd.DataFrame) -> float:
    """The standard error of a mean over the splits, over their standard deviation."""
    tested, trained = (float(jobs[f"metrics.{side}/n"].mean()) for side in ("test", "train"))
    return math.sqrt(1 / len(jobs) + tested / trained)
