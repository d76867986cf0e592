"""Scores to matplotlib figures, about 300 px wide: MLflow's compare page clips what is wider than its panes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics

from kesikaran.scores import Confusion, Outcome


def confusion_matrix(counts: Confusion, split: str) -> Figure:
    """Rows are true labels; a cell shows its count and its share of the row."""
    figure, axes = _square(3.0)
    matrix = np.array(counts.matrix())
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.62 else "black"
        text = f"{count:,}\n{share[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=12)
    axes.set_xticks([0, 1], ["0", "1"])
    axes.set_yticks([0, 1], ["0", "1"])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{split}, n = {counts.total:,}", fontsize=11)
    return figure


def roc_curves(by_split: dict[str, Outcome]) -> Figure:
    """A curve for each split that has both classes."""
    figure, axes = _square(3.2)
    for split, outcome in by_split.items():
        if outcome.labels.any() and not outcome.labels.all():
            fpr, tpr, _ = metrics.roc_curve(outcome.labels, outcome.logits)
            axes.plot(fpr, tpr, label=f"{split}, AUC {metrics.auc(fpr, tpr):.3f}, n = {len(outcome.labels):,}")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)", title="ROC", aspect="equal")
    axes.legend(fontsize=7)
    return figure


def precision_recall_curves(by_split: dict[str, Outcome]) -> Figure:
    """A curve for each split that has an image of label 1. Dotted: the precision of chance, the share of label 1."""
    figure, axes = _square(3.2)
    for split, outcome in by_split.items():
        if not outcome.labels.any():
            continue
        precision, recall, _ = metrics.precision_recall_curve(outcome.labels, outcome.logits)
        area = metrics.average_precision_score(outcome.labels, outcome.logits)
        text = f"{split}, AP {area:.3f}, n = {len(outcome.labels):,}"
        (line,) = axes.step(recall, precision, where="post", label=text)
        axes.axhline(float(np.mean(outcome.labels)), color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(fontsize=7, loc="lower left")
    return figure


def _square(inches: float) -> tuple[Figure, Axes]:
    # Their labels are known, so the margins are: a layout engine would draw each of them twice to find the same.
    figure = Figure(figsize=(inches, inches), dpi=100)
    return figure, figure.add_axes((0.18, 0.155, 0.765, 0.765))
