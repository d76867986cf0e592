"""The HTML pages of a comparison: of two runs, and of a sweep."""

import pandas as pd

from kesikaran.analysis.pairwise import Pair
from kesikaran.analysis.ranking import SweepComparison
from kesikaran.analysis.wording import p_in_words, significance_level
from kesikaran.config.metric_names import METRICS
from kesikaran.metrics import curves
from kesikaran.metrics.binary import Confusion
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import document, figures
from kesikaran.reports.thumbnails import Thumbnail


def pair(
    found: Pair, predictions: list[Predictions], changed: dict[str, pd.DataFrame], pictures: dict[str, list[Thumbnail]]
) -> str:
    """The page of two runs, as HTML.

    Args:
        predictions: of A and of B. changed: the tables of `pairwise.changed`. pictures: the thumbnails of the first
            rows of each table.
    """
    percent = f"{100 * found.confidence:g} %"
    return document.render(
        "comparison.html",
        found=found,
        percent=percent,
        metrics=METRICS,
        p_in_words=p_in_words,
        decisions_a=_with_shares(found.a.confusion),
        decisions_b=_with_shares(found.b.confusion),
        figures=_figures(found, predictions, percent),
        images={
            name: (len(rows), list(zip(rows.itertuples(), pictures[name], strict=False)))
            for name, rows in changed.items()
        },
    )


def sweep(found: SweepComparison) -> str:
    """The page of a sweep, as HTML: its jobs, the best by validation first, and the p-values of all pairs."""
    return document.render("sweep.html", found=found, level=significance_level(found.confidence), p_in_words=p_in_words)


def _with_shares(counts: Confusion) -> list[list[tuple[int, float]]]:
    """[true label][predicted label] -> (count of images, their share of the images of the true label)."""
    return [[(count, count / max(sum(row), 1)) for count in row] for row in counts.matrix()]


def _figures(found: Pair, predictions: list[Predictions], percent: str) -> list[tuple[str, str]]:
    """(figure as SVG, what it shows in words) of each figure. ROC and precision against recall need both labels."""
    by_run = dict(zip("AB", predictions, strict=True))
    drawn = []
    for title, curve, draw, metric in (
        ("ROC", curves.roc, figures.roc_bands, "roc_auc"),
        ("Precision and recall", curves.precision_recall, figures.precision_recall_bands, "pr_auc"),
    ):
        lines = {run: line for run, each in by_run.items() if (line := curve(each, found.confidence)) is not None}
        if lines:
            areas = {"A": found.a.metrics[metric].value, "B": found.b.metrics[metric].value}
            text = f"{title} of A and B with pointwise {percent} bands"
            drawn.append((figures.svg(draw(lines, areas, found.ones / found.n)), text))
    bins = {run: curves.reliability(each, found.calibration_bins, found.confidence) for run, each in by_run.items()}
    text = f"Reliability of A and B: bins of equal counts with {percent} intervals; on the dotted line the "
    drawn.append((figures.svg(figures.reliability_diagram(bins)), text + "probabilities are what happens"))
    return drawn
