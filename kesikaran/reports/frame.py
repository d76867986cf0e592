"""Pictures of which many are drawn: what is equal in all of them is drawn once, and each adds its own parts to it."""

import io
from collections.abc import Callable

from matplotlib import image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_LEVEL = 3  # of zlib: a third of the time of the default, for a file that is a tenth larger


class Frame:
    """The axes of pictures of one kind, with their labels, ticks and limits. Drawing them takes longer than drawing
    what stands in them."""

    def __init__(self, figure: Figure, axes: Axes):
        """axes: of the figure, with fixed limits and no data; without a title where each picture has its own."""
        self._canvas, self._axes, self._title = FigureCanvasAgg(figure), axes, axes.get_title()
        for spine in axes.spines.values():
            spine.set_visible(False)  # the spines lie above the data, so each picture draws them
        self._canvas.draw()
        self._drawn = self._canvas.copy_from_bbox(figure.bbox)
        for spine in axes.spines.values():
            spine.set_visible(True)

    def png(self, draw: Callable[[Axes], None]) -> bytes:
        """A picture as the bytes of a PNG file.

        Args:
            draw: adds the images, lines, texts, the title and the legend of one picture to the axes.
        """
        axes = self._axes
        draw(axes)
        legend = axes.get_legend()
        own = [*axes.images, *axes.lines, *axes.texts, *([legend] if legend else [])]
        above = [*axes.spines.values(), *([] if self._title else [axes.title])]
        self._canvas.restore_region(self._drawn)
        renderer = self._canvas.get_renderer()
        for artist in sorted([*own, *above], key=lambda one: one.get_zorder()):
            artist.draw(renderer)
        for artist in own:
            artist.remove()
        axes.set_title(self._title)
        axes.set_prop_cycle(None)  # the next picture's first line has the first colour
        sink = io.BytesIO()
        pixels, dpi = self._canvas.buffer_rgba(), self._canvas.figure.dpi
        image.imsave(sink, pixels, format="png", dpi=dpi, pil_kwargs={"compress_level": _LEVEL})
        return sink.getvalue()
