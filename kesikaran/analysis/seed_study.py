"""How far metrics move with the seed, beside how far they move with the images."""

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
    """How far test metrics move with the seed, beside how far they would with other test images.

    Args:
        jobs: finished ones that differ in their seed only.

    Returns:
        A row a metric that every job has: mean; std, the standard deviation over the seeds (n - 1), and its interval
        std_low, std_high (of normal metrics: chi-squared); standard_error, that of the images, which is the mean width
        of the jobs' intervals over twice the normal quantile; and larger: seeds or images where the interval of std
        leaves standard_error out, else neither.
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
        least, most = (std * math.sqrt(freedom / tail) for tail in tails)
        larger = "images" if error > most else "seeds" if error < least else "neither"
        spread = {"std": std, "std_low": least, "std_high": most}
        rows[name] = {"mean": float(np.mean(values)), **spread, "standard_error": error, "larger": larger}
    return pd.DataFrame(rows).T.rename_axis("metric")


def seed_sentences(spread: pd.DataFrame, seeds: int) -> list[str]:
    """Which of the two spreads is the larger, metric by metric."""
    lines = []
    said = {
        "images": "The images are the larger doubt (their standard error against the standard deviation of the seeds):",
        "seeds": f"The seeds are the larger doubt, and one run says too little: average over several, or compare over "
        f"seeds. By {seeds} of them:",
        "neither": f"Which is larger {seeds} seeds do not tell:",
    }
    for which, words in said.items():
        rows = spread[spread["larger"] == which]
        each = [
            f"{METRICS[str(name)].words} {row['standard_error']:.4f} against {row['std']:.4f}"
            for name, row in rows.iterrows()
        ]
        lines += [f"{words} {', '.join(each)}."] if each else []
    return lines
