"""Matplotlib figures of a sweep."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kesikaran.analysis import uncertainty
from kesikaran.config.metric_names import METRICS, Kind
from kesikaran.metrics.intervals import Interval

_ALIKE, _WORSE, _BEST = "#1f77b4", "#b0b0b0", "#d62728"
_SHARES = ("#1f77b4", "#ff7f0e", "#9a9a9a")  # of images, training sets, seeds
_DECADE = 10.0  # a setting whose values span this factor is drawn by its logarithm
_TICKS = 8  # the most values of a setting that all have a tick


@dataclass(frozen=True)
class Trials:
    """The jobs of a sweep, each array [jobs].

    settings: name -> the values as they were given. metric: the name of the metric by which the best is chosen. value,
    low, high: that metric with its interval. best, alike: bool, which job is the best, and which jobs are not
    distinguishable from it.
    """

    settings: dict[str, list[str]]
    metric: str
    lower_is_better: bool
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray
    alike: np.ndarray


@dataclass(frozen=True)
class _Scale:
    """The axis of a setting. ordered: its values are numbers. positions: of the jobs, [jobs] in 0 to 1. ticks, labels:
    the positions of the ticks and their labels."""

    ordered: bool
    positions: np.ndarray
    ticks: list[float]
    labels: list[str]


def _scale(values: list[str]) -> _Scale:
    """The axis of `values`. Numbers lie by their size, or by their logarithm where they span a decade. Words are evenly
    spaced, and so are numbers that span a decade and hold a 0."""
    distinct, ordered = list(dict.fromkeys(values)), True
    try:
        number = {value: float(value) for value in distinct}
        distinct.sort(key=number.__getitem__)
        sizes = np.abs([n for n in number.values() if n])
        wide = len(sizes) > 1 and sizes.max() / sizes.min() >= _DECADE
        if wide and min(number.values()) > 0:
            number = {value: float(np.log10(n)) for value, n in number.items()}
        elif wide:
            number = {value: float(rank) for rank, value in enumerate(distinct)}
    except ValueError:
        ordered = False
        number = {value: float(rank) for rank, value in enumerate(distinct)}
    least, most = min(number.values()), max(number.values())
    place = {value: (n - least) / (most - least) if most > least else 0.5 for value, n in number.items()}
    step = max(1, -(-len(distinct) // _TICKS))
    shown = distinct[::step]
    return _Scale(ordered, np.array([place[v] for v in values]), [place[v] for v in shown], [_short(v) for v in shown])


def _short(text: str, length: int = 18) -> str:
    """The end of a long value, which is the file name of a path."""
    return text if len(text) <= length else "…" + text[1 - length :]


def sweep(trials: Trials) -> Figure:
    """The metric against each setting, with a panel for each setting and the largest effect first.

    A dot is a job with its interval. A dash is the mean of the jobs that share a value. The title of a panel has the
    difference between its highest and its lowest mean.
    """
    scales = {name: _scale(values) for name, values in trials.settings.items()}
    means = {name: _means(trials.settings[name], trials.value) for name in scales}
    effect = {name: max(mean.values()) - min(mean.values()) for name, mean in means.items()}
    names = sorted(scales, key=effect.__getitem__, reverse=True)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(max(4.6, 3.6 * columns), 3.3 * rows + 0.5), dpi=100, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        scale, values = scales[name], trials.settings[name]
        x = scale.positions + _offsets(values, trials.value, 0.5 / max(1, len(set(values)) - 1))
        _dots(axes, x, trials)
        if len(names) > 1:
            place = dict(zip(values, scale.positions, strict=True))
            line = sorted((place[value], mean) for value, mean in means[name].items())
            style = {"linestyle": "-" if scale.ordered else "", "marker": "_", "markersize": 18, "zorder": 4}
            axes.plot(*zip(*line, strict=True), color="black", linewidth=1.2, **style)
            axes.set_title(f"{name}: moves the mean by {effect[name]:.3f}", fontsize=10)
        tilted = sum(map(len, scale.labels)) > 30
        axes.set_xticks(scale.ticks, scale.labels, rotation=30 if tilted else 0, ha="right" if tilted else "center")
        axes.set(xlabel=name, xlim=(-0.22, 1.22))
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", alpha=0.3)
    if trials.value.min() > 0 and trials.value.max() > 4 * trials.value.min():
        grid[0][0].set_yscale("log")
    for row in grid:
        row[0].set_ylabel(f"{trials.metric} ({'lower' if trials.lower_is_better else 'higher'} is better)", fontsize=9)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if columns > 1 else 1, fontsize=8, frameon=False)
    return figure


def _means(values: list[str], metric: np.ndarray) -> dict[str, float]:
    """The mean metric at each value of a setting."""
    given = np.array(values)
    return {value: float(metric[given == value].mean()) for value in dict.fromkeys(values)}


def _offsets(values: list[str], metric: np.ndarray, room: float) -> np.ndarray:
    """Offsets that put jobs with the same value side by side within `room`, in the order of their metric."""
    given, result = np.array(values), np.zeros(len(values))
    for value in set(values):
        rows = np.flatnonzero(given == value)
        rows = rows[np.argsort(metric[rows], kind="stable")]
        result[rows] = (np.arange(len(rows)) - (len(rows) - 1) / 2) / max(1, len(rows)) * min(room, 0.35)
    return result


def _dots(axes: Axes, x: np.ndarray, trials: Trials) -> None:
    kinds = {
        "the best": (trials.best, _BEST, "*", 11),
        "not distinguishable from it on the test images": (trials.alike, _ALIKE, "o", 5),
        "distinguishable, or not compared": (~trials.best & ~trials.alike, _WORSE, "o", 5),
    }
    for label, (rows, colour, marker, size) in kinds.items():
        if rows.any():
            y = trials.value[rows]
            ends = np.vstack([y - trials.low[rows], trials.high[rows] - y])
            axes.errorbar(
                x[rows], y, ends, fmt=marker, color=colour, markersize=size, elinewidth=0.8, label=label, zorder=3
            )


def parallel_coordinates(trials: Trials) -> Figure:
    """A line for each job through its settings to its metric, coloured by whether it is the best, not distinguishable
    from the best, or another job."""
    better = np.sort(trials.value)[:: -1 if trials.lower_is_better else 1]
    rank = np.searchsorted(np.sort(trials.value), trials.value)
    aside = (rank - (len(rank) - 1) / 2) / len(rank) * 0.08  # keeps lines of jobs that share a value apart
    scales = [_scale(values) for values in trials.settings.values()]
    span = better.max() - better.min() or 1.0
    height = (trials.value - better.min()) / span
    if trials.lower_is_better:
        height = 1 - height
    lines = np.column_stack([*(scale.positions + aside for scale in scales), height])
    count = lines.shape[1]
    figure = Figure(figsize=(max(5.0, 1.7 * count), 3.8), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    kinds = (
        ("distinguishable, or not compared", ~trials.best & ~trials.alike, _WORSE, 0.8),
        ("not distinguishable from the best on the test images", trials.alike, _ALIKE, 1.2),
        ("the best", trials.best, _BEST, 2.5),
    )
    for label, rows, colour, width in kinds:
        for number, line in enumerate(lines[rows]):
            axes.plot(range(count), line, color=colour, linewidth=width, label="" if number else label)
    _setting_axes(axes, scales)
    axes.axvline(count - 1, color="black", linewidth=0.8, zorder=0)
    for tick in np.linspace(0, 1, 5):
        value = better.min() + span * (1 - tick if trials.lower_is_better else tick)
        axes.annotate(f"{value:.3f}", (count - 1, tick), (5, 0), textcoords="offset points", fontsize=8, va="center")
    axes.set_xticks(range(count), [*trials.settings, trials.metric], fontsize=9)
    axes.set(yticks=[], xlim=(-0.5, count - 0.6), ylim=(-0.06, 1.06))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.legend(loc="outside lower center", ncols=3 if count > 3 else 1, fontsize=8, frameon=False)
    return figure


def _setting_axes(axes: Axes, scales: list[_Scale]) -> None:
    """A vertical axis for each setting, with its ticks."""
    for place, scale in enumerate(scales):
        axes.axvline(place, color="black", linewidth=0.8, zorder=0)
        for tick, text in zip(scale.ticks, scale.labels, strict=True):
            axes.annotate(
                text, (place, tick), (-4, 0), textcoords="offset points", fontsize=8, ha="right", va="center",
                bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.8, "linewidth": 0},
            )  # fmt: skip


def settings(values: dict[str, dict[str, Interval]], real: dict[str, set[str]]) -> Figure:
    """The metrics of the settings of a cross-validation with their intervals, in a panel for each metric.

    Args:
        values: setting -> metric -> interval. The first setting is the reference.
        real: metric -> the settings that differ from the first.
    """
    names, metrics_shown = list(values), list(next(iter(values.values())))
    count = len(metrics_shown)
    figure = Figure(figsize=(1.6 + 2.1 * count, 1.2 + 0.32 * len(names)), dpi=100, layout="constrained")
    grid = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, metric in zip(grid, metrics_shown, strict=True):
        axes.axvline(values[names[0]][metric].value, color="grey", linestyle=":", linewidth=1)
        for row, name in enumerate(names):
            found = values[name][metric]
            differs = name in real[metric]
            colour = "black" if row == 0 else _BEST if differs else _ALIKE
            ends = [[found.value - found.low], [found.high - found.value]]
            axes.errorbar(
                found.value, row, xerr=ends, fmt="o", color=colour, markersize=5, elinewidth=1.2,
                markerfacecolor=colour if differs or row == 0 else "white",
            )  # fmt: skip
        axes.set_title(metric, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xmargin(0.12)
    grid[0].set_yticks(range(len(names)), [_short(name, 40) for name in names])
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel(
        f"filled red: differs from {names[0]} (paired by image, Holm), though intervals may overlap; "
        "hollow: within noise",
        fontsize=8,
    )
    return figure


def uncertainty_shares(table: pd.DataFrame, confidence: float) -> Figure:
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
    for source, colour in zip(uncertainty.SOURCES, _SHARES, strict=True):
        width = 100 * table[source].fillna(0).to_numpy(float)
        right.barh(place, width, left=begin, color=colour, height=0.6, label=uncertainty.WORDS[source])
        for row in np.flatnonzero(width >= 8):
            centre = begin[row] + width[row] / 2
            right.annotate(f"{width[row]:.0f}", (centre, row), ha="center", va="center", fontsize=8, color="white")
        begin += width
    right.set(xlim=(0, 100), xlabel="% of the variance")
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False)
    return result
