"""The spread of metrics over seeds, beside their standard error over images."""

import math

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm

from kesikaran.analysis import sweep_summary
from kesikaran.config.metric_names import METRICS, OF_SEEDS


def of_seeds(jobs: pd.DataFrame) -> bool:
    """Whether the finished jobs differ in their seed only, on one split."""
    finished = jobs[jobs["status"] == "FINISHED"]
    return len(finished) > 1 and sweep_summary.swept(jobs) == ["seed"] and finished["split_fingerprint"].nunique() == 1


def seed_spread(jobs: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The spread of test metrics over the seeds, beside the standard error that other test images would cause.

    Args:
        jobs: finished jobs that differ in their seed only.

    Returns:
        A row for each metric that every job has, with the columns

        - mean,
        - std: the standard deviation over the seeds (n - 1),
        - std_low, std_high: its interval, by chi-squared, which takes the metric for normal,
        - standard_error: that of the images, the mean width of the intervals over twice the normal quantile,
        - larger: seeds or images where standard_error is outside the interval of std, else neither.
    """
    quantile = float(norm.ppf((1 + confidence) / 2))
    freedom = len(jobs) - 1
    tails = chi2.ppf([(1 + confidence) / 2, (1 - confidence) / 2], freedom)
    rows = {}
    for name in OF_SEEDS:
        columns = [f"metrics.test/{name}{end}" for end in ("", "_low", "_high")]
        if not set(columns) <= set(jobs.columns) or jobs[columns].isna().any(axis=None):
            continue
        values, low, high = (jobs[column].to_numpy(float) for column in columns)
        std = float(np.std(values, ddof=1))
        error = float(np.mean(high - low)) / (2 * quantile)
        std_low, std_high = (std * math.sqrt(freedom / tail) for tail in tails)
        larger = "images" if error > std_high else "seeds" if error < std_low else "neither"
        spread = {"std": std, "std_low": std_low, "std_high": std_high}
        rows[name] = {"mean": float(np.mean(values)), **spread, "standard_error": error, "larger": larger}
    return pd.DataFrame(rows).T.rename_axis("metric")


def seed_sentences(spread: pd.DataFrame, seeds: int) -> list[str]:
    """Sentences on which of the two is the larger, metric by metric."""
    lines = []
    beginnings = {
        "images": "The images are the larger doubt (their standard error against the standard deviation of the seeds):",
        "seeds": f"The seeds are the larger doubt, and one run says too little: average over several, or compare over "
        f"seeds. By {seeds} of them:",
        "neither": f"Which is larger {seeds} seeds do not tell:",
    }
    for which, beginning in beginnings.items():
        rows = spread[spread["larger"] == which]
        metrics = [
            f"{METRICS[str(name)].words} {row['standard_error']:.4f} against {row['std']:.4f}"
            for name, row in rows.iterrows()
        ]
        lines += [f"{beginning} {', '.join(metrics)}."] if metrics else []
    return lines
