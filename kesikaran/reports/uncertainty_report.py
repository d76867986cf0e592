"""The report of `experiment=uncertainty`: one interval for each metric, over images, training sets and seeds."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kesikaran.analysis import uncertainty
from kesikaran.analysis.wording import in_words
from kesikaran.config.metric_names import METRICS, PRIMARY, Kind
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions
from kesikaran.tracking import artifacts
from kesikaran.tracking.runs import Run

_COLOURS = ("#1f77b4", "#ff7f0e", "#9a9a9a")  # of images, training sets, seeds
_WORDS = {"images": "test images", "training": "training sets", "seeds": "seeds"}


def log_uncertainty(run: Run, jobs: pd.DataFrame, confidence: float) -> None:
    """Log and print `uncertainty.estimate` as uncertainty.csv, uncertainty.png and the metrics `uncertainty/*`.

    Args:
        run: the parent of the sweep.
        jobs: the table of `tracking.queries.sweep_jobs`, for which `uncertainty.applies`.
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
    run.figure(figure(table, confidence), "uncertainty.png")
    shown = pd.DataFrame({"metric": _intervals(table)}, index=table.index)
    for source, words in _WORDS.items():
        shown[words] = table[source].map("{:.0%}".format, na_action="ignore")
    images, whole = len(models[0, min(seed for _, seed in models)].labels), max(half for half, _ in models)
    seeds = len({seed for _, seed in models})
    print(
        "\nThe metrics of a model that is trained anew, on another training set of this size, with another seed, in "
        f"the\npopulation: by {images:,} test images, {whole // 2} cuts of the training set in halves, {seeds} seeds.\n"
        "In percent: the shares of the variance.\n"
    )
    print(shown.rename_axis(None).to_string(na_rep="-"))
    print(f"\nTo quote:  {quoted(table, confidence)}")


_ENDS = {"value": "", "low": "_low", "high": "_high", **{source: f"_share_{source}" for source in uncertainty.SOURCES}}


def _intervals(table: pd.DataFrame) -> list[str]:
    return [in_words(Interval(*map(float, row))) for row in table[["value", "low", "high"]].to_numpy()]


def quoted(table: pd.DataFrame, confidence: float) -> str:
    """The sentence that a text can quote, on the primary metric. table: of `uncertainty.estimate`."""
    name = PRIMARY if PRIMARY in table.index else str(table.index[0])
    row = table.to_dict("index")[name]
    words = METRICS[name].words
    interval = in_words(Interval(*(float(row[column]) for column in ("value", "low", "high"))))
    shares = [f"{_WORDS[source]} {row[source]:.0%}" for source in uncertainty.SOURCES]
    of_variance = "" if math.isnan(row["images"]) else f"; of the variance: {', '.join(shares)}"
    over = "of a model trained anew, over test images, training sets and seeds"
    return f"{words[0].upper()}{words[1:]} {interval} ({confidence:.0%}, {over}{of_variance})."


def figure(table: pd.DataFrame, confidence: float) -> Figure:
    """The interval of each metric, and beside it the shares of images, training sets and seeds in its variance.

    Args:
        table: of `uncertainty.estimate`.
    """
    place = np.arange(len(table))
    result = Figure(figsize=(9.0, 1.3 + 0.42 * len(table)), dpi=100, layout="constrained")
    left, right = result.subplots(1, 2, sharey=True)
    ends = [table["value"] - table["low"], table["high"] - table["value"]]
    left.errorbar(table["value"], place, xerr=ends, fmt="o", color="black", markersize=5, elinewidth=1.4, capsize=3)
    left.set_yticks(place, [METRICS[str(name)].words for name in table.index])
    left.set_ylim(len(table) - 0.5, -0.5)
    left.set_title(f"a model trained anew, {confidence:.0%} intervals", fontsize=10)
    left.grid(axis="x", alpha=0.3)
    if all(METRICS[str(name)].kind is not Kind.loss or table.loc[name, "high"] <= 1 for name in table.index):
        left.set_xlim(0, 1)
    begin = np.zeros(len(table))
    for source, colour in zip(uncertainty.SOURCES, _COLOURS, strict=True):
        width = 100 * table[source].fillna(0).to_numpy(float)
        right.barh(place, width, left=begin, color=colour, height=0.6, label=_WORDS[source])
        for row in np.flatnonzero(width >= 8):
            centre = begin[row] + width[row] / 2
            right.annotate(f"{width[row]:.0f}", (centre, row), ha="center", va="center", fontsize=8, color="white")
        begin += width
    right.set(xlim=(0, 100), xlabel="% of the variance")
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False)
    return result
