"""The report of a nested cross-validation, which every sweep of several settings over all folds has."""

from collections.abc import Mapping

import pandas as pd

from kesikaran.analysis import cross_validation, nested_cv, sweep_summary
from kesikaran.analysis.wording import in_words
from kesikaran.config.metric_names import ACROSS_SETTINGS, METRICS
from kesikaran.config.schema import VERDICT
from kesikaran.reports import columns
from kesikaran.tracking.open_run import Run


def log_nested(
    run: Run,
    jobs: pd.DataFrame,
    settings: Mapping[str, pd.DataFrame],
    verdict: str,
    confidence: float,
    calibration_bins: int,
) -> None:
    """Log and print what choosing a setting by validation, fold by fold, gives on the test images of the fold.

    The parent run gets nested_cv.csv, nested_predictions.parquet and the metrics `nested/*`.

    Args:
        run: the parent of the sweep.
        jobs: the table of `tracking.queries.sweep_jobs`, all FINISHED, with the column setting.
        settings: setting -> its table of `cross_validation.pool`.
        verdict: the metric by which the best in hindsight is found; the accuracy where it is not one of
            `ACROSS_SETTINGS`.
    """
    chosen = nested_cv.choices(jobs)
    if chosen is None:
        print("\nNo nested estimate: a fold has no validation metric to choose a setting by.")
        return
    pooled = nested_cv.pool(chosen, settings)
    run.text(chosen.to_csv(index=False), "nested_cv.csv")
    run.parquet(pooled, "nested_predictions.parquet")
    run.metrics(nested_cv.describe(pooled, confidence, calibration_bins))
    metric = METRICS[verdict if verdict in ACROSS_SETTINGS else VERDICT]
    hindsight = nested_cv.in_hindsight(jobs, metric.name)
    nested, naive = (cross_validation.values(rows, confidence) for rows in (pooled, settings[hindsight]))
    objective = sweep_summary.objective(jobs)
    shown = pd.DataFrame(
        {
            "chosen in each fold": {name: in_words(found) for name, found in nested.items()},
            f"best in hindsight: {hindsight}": {name: in_words(found) for name, found in naive.items()},
        }
    )
    print(f"\nTuned inside, reported outside: each fold takes the setting with its best validation {objective.words}\n")
    print(columns.fitted(shown))
    counts = chosen["setting"].value_counts(sort=True)
    folds = len(chosen)
    print(f"\nChosen: {', '.join(f'{setting} in {count} of {folds} folds' for setting, count in counts.items())}.")
    gain = naive[metric.name].value - nested[metric.name].value
    print(
        "Quote the first column. The second was picked by the test images that score it, and may owe them its lead of\n"
        f"{gain:+.4f} in {metric.words}; who tunes on new data has to find that setting by validation first."
    )
