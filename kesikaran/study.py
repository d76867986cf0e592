"""What the jobs of a sweep say together: the best of them and those as good, the spread of seeds, in plain sentences.

Jobs are tables as `records.sweep_jobs` gives them.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm

from kesikaran.comparison import level, p_in_words

FOLD = "split.fold"
_SHOWN = ("log_loss", "roc_auc", "accuracy")
WORDS = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1": "F1", "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC", "log_loss": "log loss", "brier": "Brier score", "calibration_error": "calibration error",
}  # fmt: skip


def swept(jobs: pd.DataFrame) -> list[str]:
    """The names of what differs between the jobs, of what the sweep varies."""
    names = [c for c in jobs.columns if c.startswith("overrides.")]
    return [c.removeprefix("overrides.") for c in names if jobs[c].nunique(dropna=False) > 1]


def summary(jobs: pd.DataFrame) -> pd.DataFrame:
    """A row a job: what differed between the jobs, the validation metrics, the test metrics with their limits."""
    names = [f"{s}/{m}{end}" for s in ("validation", "test") for m in _SHOWN for end in ("", "_low", "_high")]
    overrides = [f"overrides.{name}" for name in swept(jobs)]
    columns = ["run_id", "status", *overrides, *(f"metrics.{n}" for n in names if f"metrics.{n}" in jobs.columns)]
    return jobs[columns].rename(columns=lambda c: c.removeprefix("overrides.").removeprefix("metrics."))


def splits(jobs: pd.DataFrame) -> int:
    """On how many different splits the jobs were scored that have the same `split.fold`: the folds of a
    cross-validation differ and are meant to. A job that ended before it had a split does not count."""
    if f"params.{FOLD}" not in jobs:  # no job, or none that came as far as its params
        return 0
    return int(jobs.groupby(f"params.{FOLD}")["split_fingerprint"].nunique().max())


def over_folds(jobs: pd.DataFrame) -> bool:
    """Whether the jobs differ in their fold, so that they are no rivals."""
    return f"params.{FOLD}" in jobs and jobs[f"params.{FOLD}"].nunique() > 1


@dataclass(frozen=True)
class Best:
    """The job with the best validation metric.

    row: its index among the jobs. metric: log_loss or roc_auc, the sweep's objective. rivals: the indices of the other
    finished jobs on the same split.
    """

    row: int
    metric: str
    rivals: list[int]


def best(jobs: pd.DataFrame) -> Best | None:
    """By `fit.monitor` of the jobs, on validation; the first where several are equal. None where no job finished, or
    where the jobs are folds."""
    finished = jobs[jobs["status"] == "FINISHED"]
    if finished.empty or over_folds(jobs):
        return None
    metric = "roc_auc" if (finished["params.fit.monitor"] == "auc").all() else "log_loss"
    values = finished[f"metrics.validation/{metric}"] if f"metrics.validation/{metric}" in jobs else pd.Series()
    values = values.dropna()
    if values.empty:
        return None
    numbers = values.to_numpy(float)
    row = int(values.index[int(numbers.argmin() if metric == "log_loss" else numbers.argmax())])
    same = finished[finished["split_fingerprint"] == finished.loc[row, "split_fingerprint"]]
    return Best(row, metric, [int(i) for i in same.index if i != row])


def against_best(found: Best, p_values: pd.Series, confidence: float) -> pd.Series:
    """A word a job for the closing table: best, ~ where the difference is within noise, else the p-value.

    Args:
        p_values: of every job against the best, Holm's; NaN where it was not compared ("-").
    """

    def word(row: int) -> str:
        p_value = float(p_values[row])
        if math.isnan(p_value):
            return "best" if row == found.row else "-"
        return p_in_words(p_value) if p_value <= level(confidence) else "~"

    return pd.Series({row: word(int(row)) for row in p_values.index}, dtype=str)


def best_sentence(jobs: pd.DataFrame, found: Best, p_values: pd.Series, images: int, confidence: float) -> str:
    """What the comparison with the best came to, on `images` test images."""
    compared = p_values.loc[found.rivals].dropna()
    alike = int((compared > level(confidence)).sum())
    finished = int((jobs["status"] == "FINISHED").sum())
    run_id = str(jobs.loc[found.row, "run_id"])
    name = f"{WORDS[found.metric]} ({setting(jobs, found.row)}, run {run_id[:8]})"
    if not len(compared):
        return f"The best of {finished} by validation {name} was not compared: no other job has its test images."
    said = (
        f"is not distinguishable from {alike} other{'' if alike == 1 else 's'}" if alike else "differs from every other"
    )
    return (
        f"The best of {finished} by validation {name} {said} on the {images:,} test images: {WORDS[found.metric]}, "
        f"image by image, Holm over {len(compared)} comparisons at {level(confidence):.0%}."
    )


def setting(jobs: pd.DataFrame, row: int, without: tuple[str, ...] = ()) -> str:
    """What a job has of what the sweep varies: `optimizer.lr=0.01 head.l2=0`."""
    given = jobs.loc[row].to_dict()
    return " ".join(f"{name}={given[f'overrides.{name}']}" for name in swept(jobs) if name not in without)


# ---- seeds


def of_seeds(jobs: pd.DataFrame) -> bool:
    """Whether the finished jobs differ in their seed only, on one split."""
    finished = jobs[jobs["status"] == "FINISHED"]
    return len(finished) > 1 and swept(jobs) == ["seed"] and finished["split_fingerprint"].nunique() == 1


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
    for name in WORDS:
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
            f"{WORDS[str(name)]} {row['standard_error']:.4f} against {row['std']:.4f}" for name, row in rows.iterrows()
        ]
        lines += [f"{words} {', '.join(each)}."] if each else []
    return lines


# ---- settings of a cross-validation


def conclusion(pairs: pd.DataFrame, images: int, confidence: float) -> list[str]:
    """What differs from the first setting, in words.

    Args:
        pairs: as `crossval.compare` gives them.
    """
    first = pairs["a"].iloc[0]
    held = pairs[pairs["a"] == first]
    least = level(confidence)
    lines = [
        f"Against {first}, on {images:,} images out of fold, image by image, "
        f"Holm over {held['p_value'].count()} comparisons at {least:.0%}:"
    ]
    for metric, rows in held.groupby("metric", sort=False):
        real = rows[rows["p_holm_first"] <= least]
        noise = rows.loc[rows["p_holm_first"] > least, "b"]
        undefined = rows.loc[rows["p_holm_first"].isna(), "b"]
        each = [
            f"{row['b']} {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]" for _, row in real.iterrows()
        ]
        lines.append(f"  {WORDS[str(metric)]}")
        found = {"real": each, "within noise": list(noise), "undefined": list(undefined)}
        lines += [f"    {word}: {', '.join(names)}" for word, names in found.items() if names]
    lines.append(
        "Intervals and p-values hold for these trained models on other images of the kind. What another seed or "
        "another training set would change is not in them, and the folds share training images. ROC AUC is "
        "the mean of the folds' areas."
    )
    return lines
