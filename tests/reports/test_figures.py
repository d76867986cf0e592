"""Figures of predictions, read off their parts."""

import numpy as np

from kesikaran.metrics import curves
from kesikaran.metrics.binary import Confusion
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import figures

BOTH = Predictions.from_logits(np.array([0, 1, 0, 1, 1]), np.array([-1.0, 1.0, 0.5, 0.2, 2.0]))
ONES = Predictions.from_logits(np.ones(3, int), np.array([1.0, -1.0, 0.5]))
ZEROS = Predictions.from_logits(np.zeros(3, int), np.array([1.0, -1.0, 0.5]))


def test_a_cell_of_the_confusion_matrix_has_its_count_and_its_share_of_the_row() -> None:
    figure = figures.confusion_matrix(Confusion(tn=3, fp=1, fn=0, tp=1234), "test")
    (axes,) = figure.axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "3\n75.0%", (1, 0): "1\n25.0%", (0, 1): "0\n0.0%", (1, 1): "1,234\n100.0%"}
    assert axes.get_title() == "test, n = 1,238"


def test_a_label_without_an_image_is_no_division_by_zero() -> None:
    (axes,) = figures.confusion_matrix(Confusion(tn=3, fp=1, fn=0, tp=0), "test").axes
    assert {text.get_position(): text.get_text() for text in axes.texts}[1, 1] == "0\n0.0%"


def test_a_split_without_a_curve_is_left_out() -> None:
    given = {"train": BOTH, "validation": ONES, "test": ZEROS}

    def labels(axes: object) -> list[str]:
        return [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[attr-defined]

    assert labels(figures.roc_curves(given).axes[0]) == ["train, AUC 0.833, n = 5"]
    assert labels(figures.precision_recall_curves(given).axes[0]) == [
        "train, AP 0.917, n = 5",
        "validation, AP 1.000, n = 3",
    ]


def test_an_svg_takes_the_colour_of_its_page_and_is_the_same_each_time() -> None:
    drawn = [figures.svg(figures.reliability_diagram({"A": curves.reliability(BOTH, 2, 0.95)})) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith("<svg")
    assert "currentColor" in drawn[0]
    assert figures._INK not in drawn[0]
