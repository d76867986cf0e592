"""The report of `experiment=uncertainty`: one interval for each metric, over images, training sets and seeds."""

import math

import pandas as pd

from kesikaran.analysis import uncertainty
from kesikaran.analysis.wording import in_words
from kesikaran.config.metric_names import METRICS
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import columns, sweep_figures
from kesikaran.tracking import artifacts
from kesikaran.tracking.open_run import Run


def log_uncertainty(run: Run, jobs: pd.DataFrame, verdict: str, confidence: float) -> None:
    """Log and print `uncertainty.estimate` as uncertainty.csv, uncertainty.png and the metrics `uncertainty/*`.

    Args:
        run: the parent of the sweep.
        jobs: the table of `tracking.queries.sweep_jobs`, for which `uncertainty.applies`. verdict: the quoted metric.
    """
    if lack := uncertainty.lacking(jobs):
        print(f"\nThe whole uncertainty is not estimated: {lack}.")
        return
    models = {}
    for run_id, half, seed in jobs[["run_id", f"params.{uncertainty.HALF}", f"params.{uncertainty.SEED}"]].to_numpy():
        rows = artifacts.predictions(run_id)
        test = rows[rows["split"] == "test"].sort_values("object_id")
        models[int(half), int(seed)] = Predictions.from_table(test)
    table = uncertainty.estimate(models, confidence)
    run.text(table.to_csv(), "uncertainty.csv")
    run.metrics(
        {
            f"uncertainty/{name}{end}": float(row[column])
            for name, row in table.to_dict("index").items()
            for column, end in _ENDS.items()
            if not math.isnan(row[column])
        }
    )
    run.figure(sweep_figures.uncertainty_shares(table, confidence), "uncertainty.png")
    shown = pd.DataFrame({"metric": _intervals(table)}, index=table.index)
    for source, words in uncertainty.WORDS.items():
        shown[words] = table[source].map("{:.0%}".format, na_action="ignore")
    images, whole = len(models[0, min(seed for _, seed in models)].labels), max(half for half, _ in models)
    seeds = len({seed for _, seed in models})
    print(
        "\nThe metrics of a model that is trained anew, on another training set of this size, with another seed, in "
        f"the\npopulation: by {images:,} test images, {whole // 2} cuts of the training set in halves, {seeds} seeds.\n"
        "In percent: the shares of the variance.\n"
    )
    print(columns.fitted(shown.rename_axis(None)))
    print(f"\nTo quote:  {quoted(table, verdict, confidence)}")


_ENDS = {"value": "", "low": "_low", "high": "_high", **{source: f"_share_{source}" for source in uncertainty.SOURCES}}


def _intervals(table: pd.DataFrame) -> list[str]:
    return [in_words(Interval(*map(float, row))) for row in table[["value", "low", "high"]].to_numpy()]


def quoted(table: pd.DataFrame, verdict: str, confidence: float) -> str:
    """The sentence that a text can quote, on the metric of the verdict. table: of `uncertainty.estimate`."""
    name = verdict if verdict in table.index else str(table.index[0])
    row = table.to_dict("index")[name]
    words = METRICS[name].words
    interval = in_words(Interval(*(float(row[column]) for column in ("value", "low", "high"))))
    shares = [
        f"{uncertainty.WORDS[source]} {f'{row[source]:.0%}' if row[source] else 'not told from 0'}"
        for source in uncertainty.SOURCES
    ]
    of_variance = "" if math.isnan(row["images"]) else f"; of the variance: {', '.join(shares)}"
    over = "of a model trained anew, over test images, training sets and seeds"
    return f"{words[0].upper()}{words[1:]} {interval} ({confidence:.0%}, {over}{of_variance})."
