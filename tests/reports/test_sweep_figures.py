"""Figures of a sweep, read off their parts."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from kesikaran.metrics.intervals import Interval
from kesikaran.reports import sweep_figures
from kesikaran.reports.sweep_figures import Trials


def trials(lower_is_better: bool = False, **settings: list[str]) -> Trials:
    """Four jobs, the third with the highest metric."""
    value = np.array([0.5, 0.6, 0.9, 0.8])
    best = np.arange(4) == (0 if lower_is_better else 2)
    alike = np.arange(4) == (1 if lower_is_better else 3)
    return Trials(settings, "metric", lower_is_better, value, value - 0.1, value + 0.05, best, alike)


def test_the_setting_with_the_largest_effect_comes_first() -> None:
    figure = sweep_figures.sweep(trials(small=["1", "2", "1", "2"], large=["a", "a", "b", "b"]))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["large: moves the mean by 0.300", "small: moves the mean by 0.000"]
    first, second = figure.axes
    means = {axes: next(line for line in axes.get_lines() if line.get_marker() == "_") for axes in figure.axes}
    assert list(np.asarray(means[first].get_ydata(), float)) == pytest.approx([0.55, 0.85])
    assert means[first].get_linestyle() == "None", "words are in no order that a line could show"
    assert means[second].get_linestyle() == "-"
    assert first.get_ylabel() == "metric (higher is better)"


def test_a_job_is_drawn_with_its_interval_and_its_kind() -> None:
    figure = sweep_figures.sweep(trials(a=["1", "2", "3", "4"]))
    (axes,) = figure.axes
    bars = {bar.get_label(): bar for bar in axes.containers}
    assert set(bars) == {
        "the best",
        "not distinguishable from it on the test images",
        "distinguishable, or not compared",
    }
    best: Any = bars["the best"]
    ((x, y),) = best[0].get_xydata()
    assert (x, y) == (pytest.approx(2 / 3), 0.9)
    (ends,) = best[2][0].get_segments()
    assert ends[:, 1] == pytest.approx([0.8, 0.95])
    others: Any = bars["distinguishable, or not compared"]
    assert list(others[0].get_ydata()) == [0.5, 0.6]


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_the_best_is_at_the_top_of_parallel_coordinates(lower_is_better: bool) -> None:
    figure = sweep_figures.parallel_coordinates(trials(lower_is_better, a=["1", "2", "3", "4"], b=["x", "x", "y", "y"]))
    (axes,) = figure.axes
    drawn = {line.get_linewidth(): np.asarray(line.get_ydata(), float) for line in axes.get_lines()}
    jobs = {width: heights for width, heights in drawn.items() if len(heights) == 3}  # an axis has two ends
    assert jobs[2.5][-1] == pytest.approx(1), "the best"
    assert jobs[1.2][-1] == pytest.approx(0.75), "the one that is not distinguishable from it"
    ends = [text.get_text() for text in axes.texts if text.xy[0] == 2]  # type: ignore[attr-defined]
    assert ends == ["0.500", "0.600", "0.700", "0.800", "0.900"][:: -1 if lower_is_better else 1]


def test_jobs_that_share_a_value_lie_side_by_side() -> None:
    found = sweep_figures._offsets(["a", "b", "a", "a"], np.array([0.3, 0.5, 0.1, 0.2]), 0.3)
    assert found == pytest.approx([0.1, 0, -0.1, 0])


def test_a_long_value_keeps_its_end() -> None:
    assert sweep_figures._short("/data/modules/efficientnet", 12) == "…fficientnet"
    assert sweep_figures._short("efficientnet", 12) == "efficientnet"


def test_what_really_differs_is_filled() -> None:
    """Of settings of a cross-validation, the first is the one that the others are held against."""
    values = {
        name: {"accuracy": Interval(value, value - 0.1, value + 0.1)}
        for name, value in (("none", 0.7), ("tuned", 0.9), ("focal", 0.71))
    }
    figure = sweep_figures.settings(values, {"accuracy": {"tuned"}})
    (axes,) = figure.axes
    dots: list[Any] = [bar[0] for bar in axes.containers]
    assert [float(dot.get_xdata()[0]) for dot in dots] == [0.7, 0.9, 0.71]
    faces = [to_hex(dot.get_markerfacecolor()) for dot in dots]
    assert faces == ["#000000", sweep_figures._BEST, "#ffffff"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "tuned", "focal"]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (["1e-4", "1e-2", "1e-3", "2e-3"], [0, 1, 0.5, 0.5 + np.log10(2) / 2]),
        (["1", "2", "5"], [0, 0.25, 1]),
        (["0", "1e-4", "1e-2"], [0, 0.5, 1]),
        (["b", "a", "b", "c"], [0, 0.5, 0, 1]),
        (["3"], [0.5]),
    ],
    ids=["by decades", "linear", "a zero among decades", "words", "one"],
)
def test_where_a_value_lies_on_its_axis(values: list[str], places: list[float]) -> None:
    assert sweep_figures._scale(values).positions == pytest.approx(places)
