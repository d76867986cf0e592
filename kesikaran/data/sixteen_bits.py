"""Images of 16 bits a sample, of which a backbone gets the upper eight."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFile

from kesikaran.data import png_structure
from kesikaran.data.png_structure import GREY, GREY_ALPHA, RGB, RGB_ALPHA, PngHeader

_FEWEST_LEVELS = 32  # of 256: what still shows a picture
_SAMPLES = 2**20  # counted at a time


def loss(png: PngHeader) -> str:
    """Why the picture is lost in its upper eight bits; empty where it is not.

    It is lost where the upper eight bits keep fewer than 32 levels and the 16 bits have at least twice as many. That
    meets the values 0 to 255 that some libraries write, and those of cameras of 10 and 12 bits. An image of few levels,
    such as a black and white one, loses nothing. An alpha channel does not count.

    Args:
        png: of 16 bits a sample.

    Raises:
        Exception: Pillow cannot decode the file; its decoders raise a dozen types.
    """
    levels = np.flatnonzero(_histogram(png))
    kept = len(np.unique(levels >> 8))
    if kept >= _FEWEST_LEVELS or len(levels) < 2 * kept:
        return ""
    return (
        f"they keep {kept} of {len(levels)} levels, its highest value is {levels[-1]} of 65535; "
        "scale it to 8 bits and save it so"
    )


def _histogram(png: PngHeader) -> np.ndarray:
    """How many samples have each of the 65,536 values, int [65536].

    Pillow reads 16 bits of grey only. So grey is read as the file of 8 bits with twice as many channels that has the
    same bytes, and of colours the upper and the lower bytes are read one after the other.
    """
    if png.colour in (GREY, GREY_ALPHA):
        twice = replace(png, bit_depth=8, colour=GREY_ALPHA if png.colour == GREY else RGB_ALPHA)
        pixels = np.asarray(_opened(png_structure.bare(twice, transparency=False)))
        upper, lower = pixels[..., :1], pixels[..., 1:2]
    else:
        content = png_structure.bare(png, transparency=False)
        upper, image = np.asarray(_opened(content))[..., :3], _opened(content)
        image.tile = [image.tile[0]._replace(args="RGB;16L" if png.colour == RGB else "RGBA;16L")]
        lower = np.asarray(image)[..., :3]
        del content, image
    counts = np.zeros(2**16, np.int64)
    rows = max(1, _SAMPLES // upper[0].size)
    for top in range(0, len(upper), rows):
        samples = upper[top : top + rows].astype(np.uint16) << 8 | lower[top : top + rows]
        counts += np.bincount(samples.ravel(), minlength=2**16)
    return counts


def _opened(content: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(content), formats=("PNG",))
