"""The confusion matrices of all jobs of a sweep, side by side. MLflow's compare page shows those of two runs."""

import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kesikaran.metrics.binary import Confusion

PAGE = 24  # matrices
_COLUMNS = 6
_CELL = 3  # the side of a matrix with the space around it; the matrix has 2
_INCHES = 1.75  # of that side
_WIDTH = 30  # characters of a line of a title


@dataclass(frozen=True)
class Titled:
    """A matrix and what differs in its job."""

    title: str
    counts: Confusion


def pages(matrices: list[Titled], split: str, order: str) -> Iterator[bytes]:
    """PNG files of at most `PAGE` matrices each.

    Args:
        order: what the matrices are sorted by, in words.
    """
    count = -(-len(matrices) // PAGE)
    for number in range(count):
        shown = matrices[number * PAGE : (number + 1) * PAGE]
        of = f", page {number + 1} of {count}" if count > 1 else ""
        yield _page(shown, f"{split}: rows true, columns predicted; {order}{of}")


def _page(matrices: list[Titled], heading: str) -> bytes:
    """One page. All matrices are one image and its texts, since axes of their own would take a second to draw."""
    columns = min(_COLUMNS, len(matrices))
    rows = -(-len(matrices) // columns)
    shares = np.full((_CELL * rows, _CELL * columns), np.nan)
    width, height = max(_INCHES * columns, 4.5), _INCHES * rows + 0.3
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1 - 0.3 / height))
    for place, one in enumerate(matrices):
        top, left = (_CELL * (place // columns) + 1, _CELL * (place % columns))
        matrix = np.array(one.counts.matrix())
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        shares[top : top + 2, left : left + 2] = share
        for (row, column), number in np.ndenumerate(matrix):
            colour = "white" if share[row, column] > 0.62 else "black"
            text = f"{number:,}\n{share[row, column]:.0%}"
            axes.text(left + column, top + row, text, ha="center", va="center", color=colour, fontsize=8)
        lines = textwrap.wrap(one.title, _WIDTH, max_lines=3, placeholder=" …", break_on_hyphens=False)
        title: dict[str, Any] = {"ha": "left", "va": "bottom", "fontsize": 6.5, "linespacing": 1.0, "parse_math": False}
        axes.text(left - 0.5, top - 0.55, "\n".join(lines), **title)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlim=(-0.75, _CELL * columns - 0.75), ylim=(_CELL * rows - 0.25, -0.25), aspect="equal", anchor="NW")
    axes.axis("off")
    figure.text(0.01, 1 - 0.06 / height, heading, fontsize=8, va="top", parse_math=False)
    sink = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image.imsave(sink, canvas.buffer_rgba(), format="png", pil_kwargs={"compress_level": 3})
    return sink.getvalue()
