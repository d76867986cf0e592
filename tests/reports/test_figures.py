"""Figures of predictions, read off their parts, and their pictures."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from kesikaran.metrics import curves
from kesikaran.metrics.binary import Confusion
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import figures

BOTH = Predictions.from_logits(np.array([0, 1, 0, 1, 1]), np.array([-1.0, 1.0, 0.5, 0.2, 2.0]))
ONES = Predictions.from_logits(np.ones(3, int), np.array([1.0, -1.0, 0.5]))
ZEROS = Predictions.from_logits(np.zeros(3, int), np.array([1.0, -1.0, 0.5]))


def test_a_cell_of_the_confusion_matrix_has_its_count_and_its_share_of_the_row() -> None:
    axes = Figure().add_subplot()
    figures.draw_confusion_matrix(axes, Confusion(tn=3, fp=1, fn=0, tp=1234), "test")
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "3\n75.0%", (1, 0): "1\n25.0%", (0, 1): "0\n0.0%", (1, 1): "1,234\n100.0%"}
    assert axes.get_title() == "test, n = 1,238"


def test_a_label_without_an_image_is_no_division_by_zero() -> None:
    axes = Figure().add_subplot()
    figures.draw_confusion_matrix(axes, Confusion(tn=3, fp=1, fn=0, tp=0), "test")
    assert {text.get_position(): text.get_text() for text in axes.texts}[1, 1] == "0\n0.0%"


def test_a_split_without_a_curve_is_left_out() -> None:
    given = {"train": BOTH, "validation": ONES, "test": ZEROS}

    def labels(draw: Any) -> list[str]:
        axes: Any = Figure().add_subplot()
        draw(axes, given)
        return [text.get_text() for text in axes.get_legend().get_texts()]

    assert labels(figures.draw_roc_curves) == ["train, AUC 0.833, n = 5"]
    assert labels(figures.draw_precision_recall_curves) == [
        "train, AP 0.917, n = 5",
        "validation, AP 1.000, n = 3",
    ]


def matrix(axes: Axes) -> None:
    axes.set_xticks([0, 1], ["0", "1"])
    axes.set_yticks([0, 1], ["0", "1"])
    axes.set(xlabel="predicted", ylabel="true")


def roc(axes: Axes) -> None:
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)", title="ROC", aspect="equal")


def precision_recall(axes: Axes) -> None:
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall", xlim=(0, 1.02), ylim=(0, 1.02))


SPLITS = {"train": BOTH, "test": Predictions.from_logits(np.array([0, 1, 1, 0]), np.array([0.3, -1.0, 2.0, -2.0]))}
PICTURES = [
    pytest.param((3.0, 3.2), "confusion_matrix", matrix, [(Confusion(3, 1, 0, 1234), "test", "seed=1")], id="matrix"),
    pytest.param((3.2, 3.2), "roc_curves", roc, [(SPLITS,)], id="ROC"),
    pytest.param((3.2, 3.2), "precision_recall_curves", precision_recall, [(SPLITS,)], id="precision and recall"),
]


@pytest.mark.parametrize(("size", "name", "dress", "given"), PICTURES)
def test_a_picture_is_what_matplotlib_draws_whatever_was_drawn_before(
    size: tuple[float, float], name: str, dress: Any, given: list[Any]
) -> None:
    """Its frame is drawn once and its own parts are drawn over it: pixel by pixel the same."""
    other = {"confusion_matrix": (Confusion(900, 9, 9, 1), "validation", "another")}.get(name, ({"validation": BOTH},))
    figure = Figure(figsize=size, dpi=100)
    square = (0.18, 0.145, 0.7, 0.656) if name == "confusion_matrix" else (0.18, 0.155, 0.765, 0.765)
    axes = figure.add_axes(square)
    getattr(figures, f"draw_{name}")(axes, *given[0])
    dress(axes)
    sink = io.BytesIO()
    figure.savefig(sink, format="png")
    expected = Image.open(sink)
    for _ in range(2):
        getattr(figures, name)(*other)
        picture = Image.open(io.BytesIO(getattr(figures, name)(*given[0])))
        assert (picture.mode, picture.info["dpi"]) == (expected.mode, expected.info["dpi"])
        assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_an_svg_takes_the_colour_of_its_page_and_is_the_same_each_time() -> None:
    drawn = [figures.svg(figures.reliability_diagram({"A": curves.reliability(BOTH, 2, 0.95)})) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith("<svg")
    assert "currentColor" in drawn[0]
    assert figures._INK not in drawn[0]
