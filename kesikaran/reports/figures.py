"""Matplotlib figures of metrics and curves.

They are about 300 px wide, because the compare page of MLflow clips figures that are wider than its panes.
"""

import io
import textwrap
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics

from kesikaran.metrics.binary import Confusion
from kesikaran.metrics.curves import Curve, Reliability
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports.frame import Frame

_NAME_WIDTH = 52  # characters of a line of a name
_INK = "#010203"  # a colour that `svg` replaces by the text colour of the page
_STYLES = (
    ("#0072B2", "--", "s"),
    ("#D55E00", "-", "o"),
)  # of the palette of Okabe and Ito, for colour-blind readers too


def confusion_matrix(counts: Confusion, split: str, name: str = "") -> bytes:
    """A PNG file, with the name of the run above it. Rows are true labels; a cell shows its count and its share of the
    row."""
    return _matrix_frame().png(lambda axes: draw_confusion_matrix(axes, counts, split, name))


def roc_curves(by_split: dict[str, Predictions]) -> bytes:
    """A PNG file, with a curve for each split that has both labels."""
    return _roc_frame().png(lambda axes: draw_roc_curves(axes, by_split))


def precision_recall_curves(by_split: dict[str, Predictions]) -> bytes:
    """A PNG file, with a curve for each split that has an image of label 1. Dotted: the precision of chance, the share
    of label 1."""
    return _precision_recall_frame().png(lambda axes: draw_precision_recall_curves(axes, by_split))


def draw_confusion_matrix(axes: Axes, counts: Confusion, split: str, name: str = "") -> None:
    matrix = np.array(counts.matrix())
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.62 else "black"
        text = f"{count:,}\n{share[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=12)
    lines = textwrap.wrap(name, _NAME_WIDTH, max_lines=2, placeholder=" …", break_on_hyphens=False)
    axes.set_title(f"{split}, n = {counts.total:,}", fontsize=11, pad=24 if lines else None)
    if lines:
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "bottom"}
        axes.text(0.5, 1.015, "\n".join(lines), fontsize=7, linespacing=1.0, parse_math=False, **place)


def draw_roc_curves(axes: Axes, by_split: dict[str, Predictions]) -> None:
    for split, predictions in by_split.items():
        if predictions.labels.any() and not predictions.labels.all():
            fpr, tpr, _ = metrics.roc_curve(predictions.labels, predictions.logits)
            axes.plot(fpr, tpr, label=f"{split}, AUC {metrics.auc(fpr, tpr):.3f}, n = {len(predictions.labels):,}")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    axes.legend(fontsize=7)


def draw_precision_recall_curves(axes: Axes, by_split: dict[str, Predictions]) -> None:
    for split, predictions in by_split.items():
        if not predictions.labels.any():
            continue
        precision, recall, _ = metrics.precision_recall_curve(predictions.labels, predictions.logits)
        area = float(-np.diff(recall) @ precision[:-1])  # as sklearn's average_precision_score, from this very curve
        text = f"{split}, AP {area:.3f}, n = {len(predictions.labels):,}"
        (line,) = axes.step(recall, precision, where="post", label=text)
        axes.axhline(float(np.mean(predictions.labels)), color=line.get_color(), linestyle=":", linewidth=1)
    axes.legend(fontsize=7, loc="lower left")


@cache
def _matrix_frame() -> Frame:
    figure = Figure(figsize=(3.0, 3.2), dpi=100)
    axes = figure.add_axes((0.18, 0.145, 0.7, 0.656))  # above it there is room for the name of a run
    axes.set(xlabel="predicted", ylabel="true", xlim=(-0.5, 1.5), ylim=(1.5, -0.5), aspect="equal")
    axes.set_xticks([0, 1], ["0", "1"])
    axes.set_yticks([0, 1], ["0", "1"])
    return Frame(figure, axes)


@cache
def _roc_frame() -> Frame:
    figure, axes = _square(3.2)
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)", title="ROC", aspect="equal")
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    return Frame(figure, axes)


@cache
def _precision_recall_frame() -> Frame:
    figure, axes = _square(3.2)
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall", xlim=(0, 1.02), ylim=(0, 1.02))
    return Frame(figure, axes)


def roc_bands(curves: dict[str, Curve], areas: dict[str, float], _ones: float) -> Figure:
    """The ROC curves of two runs with their bands. areas: the area that the legend names beside each."""
    figure, axes = _square(3.6)
    _bands(axes, curves, {label: f"{label}, AUC {area:.3f}" for label, area in areas.items()}, "default")
    axes.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1)
    return _finished(figure, axes, "false positive rate", "true positive rate (recall)", "lower right")


def precision_recall_bands(curves: dict[str, Curve], areas: dict[str, float], ones: float) -> Figure:
    """Precision against recall, as `roc_bands`. Dotted: the precision of chance, the share `ones` of label 1."""
    figure, axes = _square(3.6)
    _bands(axes, curves, {label: f"{label}, AP {area:.3f}" for label, area in areas.items()}, "steps-pre")
    axes.axhline(ones, color=_INK, linestyle=":", linewidth=1)
    return _finished(figure, axes, "recall", "precision", "lower left")


def reliability_diagram(diagrams: dict[str, Reliability]) -> Figure:
    """The share of label 1 in each bin with its interval, against the predicted probability, for two runs."""
    figure, axes = _square(3.6)
    axes.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1)
    for (label, found), (colour, line, marker) in zip(diagrams.items(), _STYLES, strict=False):
        value, low, high = (np.array([getattr(i, end) for i in found.share]) for end in ("value", "low", "high"))
        axes.errorbar(
            found.probability, value, yerr=[value - low, high - value], color=colour, linestyle=line, marker=marker,
            markersize=4, linewidth=1, capsize=2, label=label,
        )  # fmt: skip
    return _finished(figure, axes, "probability of label 1", "share of label 1", "upper left")


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element without a background, with its text in the colour and the font of the page."""
    sink = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kesikaran"}):
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = sink.getvalue()
    return drawn[drawn.index("<svg") :].replace(_INK, "currentColor")


def _bands(axes: Axes, curves: dict[str, Curve], labels: dict[str, str], drawstyle: str) -> None:
    for (label, curve), (colour, line, _) in zip(curves.items(), _STYLES, strict=False):
        edges = np.concatenate([curve.high, curve.low[::-1]])
        axes.fill(*edges.T, color=colour, alpha=0.18, linewidth=0)
        axes.plot(*curve.points.T, color=colour, linestyle=line, drawstyle=drawstyle, label=labels[label])


def _finished(figure: Figure, axes: Axes, x: str, y: str, legend: Any) -> Figure:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.tick_params(colors=_INK)
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    axes.legend(fontsize=8, loc=legend, frameon=False, labelcolor=_INK)
    return figure


def _square(inches: float) -> tuple[Figure, Axes]:
    # The axis labels are known, so fixed margins fit. A layout engine would draw each figure twice to find the same.
    figure = Figure(figsize=(inches, inches), dpi=100)
    return figure, figure.add_axes((0.18, 0.155, 0.765, 0.765))
