"""One image file of unknown origin: read, and judged or refused. No TensorFlow; `image_pixels` decodes it.

All that reads images goes through this room. What it takes, TensorFlow decodes to the last row; `ingest` and `verify`
put the bytes through TensorFlow's decoder as well.

The limits, and why. Regular files only: a read from a pipe can wait for ever, one from a device has no end. Eight bytes
a pixel of the largest allowed image, those of 16 bits and four channels without any compression, and 16 MB of metadata.
65,500 pixels a side: libjpeg reads no larger JPEG, and one row of a PNG is decoded whole. 178 megapixels: Pillow takes
more for an attack. 100 scans of a JPEG (`jpeg_structure`).
"""

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import IO

from PIL import Image

from kesikaran.core import parallel
from kesikaran.data import jpeg_structure, png_structure, sixteen_bits
from kesikaran.data.jpeg_structure import JpegHeader
from kesikaran.data.png_structure import PngHeader

KINDS = ("JPEG", "PNG")
MOST_MEGAPIXELS = 178.0
MOST_SIDE_PX = 65_500

_BYTES_A_PIXEL, _METADATA_BYTES = 8, 16 * 10**6
_SIGNATURES = (jpeg_structure.SIGNATURE, png_structure.SIGNATURE)
# What the threads of a process hold at the same time: one pixel being decoded takes up to ten bytes.
_ENCODED_BYTES, _DECODED_PIXELS = parallel.Budget(5e8), parallel.Budget(2e8)


class Reason(StrEnum):
    """Why an image is not used: the same reasons in ingest, verify, near-duplicates, thumbnails and training."""

    missing = "missing"
    unreadable = "unreadable"
    empty = "empty"
    no_image = f"not a {' or '.join(KINDS)} image"
    animated = "animated"
    too_many_bytes = "too large in bytes"
    too_large = "too large in pixels"
    damaged = "truncated or damaged"
    other_content = "its content has another SHA-1 than its name"
    lost_in_8_bits = "its upper 8 of 16 bits, which are used, lose the picture"


class BadImage(Exception):
    """An image that is not used. Callers count and list such images. The text is the reason and, after a colon, the
    detail of this file."""

    def __init__(self, reason: Reason, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


@dataclass(frozen=True)
class Encoded:
    """The bytes of an image file, as they are, and what its header says."""

    content: bytes
    header: JpegHeader | PngHeader

    @property
    def extension(self) -> str:
        """That of the content, whatever the file's name says: `.jpg` or `.png`."""
        return ".jpg" if isinstance(self.header, JpegHeader) else ".png"

    @property
    def pixels(self) -> int:
        return self.header.width * self.header.height

    @cached_property
    def complaint(self) -> str:
        """A harmless complaint of libjpeg about a JPEG; empty where there is none. It costs a third of a decoding, so
        the feature pass asks only where libjpeg in TensorFlow has complained.

        Raises:
            BadImage: libjpeg complains of the picture's own data.
        """
        try:
            return jpeg_structure.complaint(self.content) if isinstance(self.header, JpegHeader) else ""
        except ValueError as error:
            raise BadImage(Reason.damaged, str(error)) from None


@contextmanager
def opened(path: Path, max_megapixels: float, sha1: str | None) -> Iterator[Encoded]:
    """The image of a file, read and judged. While the block is open, the image counts among those that are in memory:
    the block waits until there is room for it.

    Args:
        sha1: 40 hex digits, which the bytes of the file have to have; None where any will do.

    Raises:
        BadImage: missing, unreadable, empty, no JPEG or PNG; `animated` for an animated GIF, WebP or PNG; another
            SHA-1 than that of its name; too large in bytes or pixels; damaged, as far as can be told without decoding
            a JPEG; 16 bits that eight would lose.
    """
    Image.MAX_IMAGE_PIXELS = None  # of Pillow's limits the lower one is a warning; ours are checked before it decodes
    with _content(path, max_megapixels) as content:
        if sha1 and _sha1(content) != sha1.lower():
            raise BadImage(Reason.other_content)
        with judged(content, max_megapixels) as image:
            yield image


def sha1_of_file(path: Path, max_megapixels: float) -> str:
    """The SHA-1 of the bytes of a file that begins like a JPEG or PNG, 40 hex digits.

    Raises:
        BadImage: as `opened`, for what can be told without looking further than at the first bytes.
    """
    with _content(path, max_megapixels) as content:
        return _sha1(content)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def _content(path: Path, max_megapixels: float) -> Iterator[bytes]:
    """The bytes of a file, which count among those in memory while the block is open."""
    with _file(path) as file:
        size = os.fstat(file.fileno()).st_size
        most = int(min(max_megapixels, MOST_MEGAPIXELS) * 1e6 * _BYTES_A_PIXEL) + _METADATA_BYTES
        with _ENCODED_BYTES.taken(min(size, most)):
            yield _read(file, size, most)


@contextmanager
def judged(content: bytes, max_megapixels: float) -> Iterator[Encoded]:
    """The image of these bytes, judged. The block waits until there is room to decode it.

    Raises:
        BadImage: as `opened`, but for what is of the file.
    """
    if not content:
        raise BadImage(Reason.empty)
    if not content.startswith(_SIGNATURES):
        raise BadImage(Reason.animated if _is_animation(io.BytesIO(content)) else Reason.no_image)
    image = Encoded(content, _header(content, max_megapixels))
    with _DECODED_PIXELS.taken(image.pixels):
        _check_pixels(image.header)
        yield image


def _file(path: Path) -> IO[bytes]:
    """The regular file, open. It is looked at before it is opened, which alone can have an effect on a device, and
    after, since another may have come into its place."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # a pipe is not waited for
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
    except FileNotFoundError:
        raise BadImage(Reason.missing) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadImage(Reason.unreadable, getattr(error, "strerror", None) or str(error)) from None
    raise BadImage(Reason.unreadable, "not a regular file")


def _read(file: IO[bytes], size: int, most: int) -> bytes:
    """The bytes of a file that begins with the signature of a JPEG or PNG. Of any other file only the first bytes are
    read."""
    try:
        head = file.read(max(map(len, _SIGNATURES)))
        if not head:
            raise BadImage(Reason.empty)
        if size <= most and head.startswith(_SIGNATURES):
            content = head + file.read(size + 1 - len(head))  # one more: a file that grows is told from a whole one
            if len(content) <= size:
                return content
            raise BadImage(Reason.unreadable, "it grows while it is read")
    except OSError as error:
        raise BadImage(Reason.unreadable, error.strerror or str(error)) from None
    if size > most:
        raise BadImage(Reason.too_many_bytes, f"{size:,}, allowed {most:,}")
    raise BadImage(Reason.animated if _is_animation(file) else Reason.no_image)


def _is_animation(file: IO[bytes]) -> bool:
    """Whether the file is an animated GIF or WebP."""
    try:
        file.seek(0)
        head = file.read(21)
        if head[8:16] == b"WEBPVP8X":
            return bool(head[20] & 2)
        file.seek(0)
        with Image.open(file, formats=("GIF",)) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow's reader raises many types; the file is no image that is used, whatever it is
        return False


def _header(content: bytes, max_megapixels: float) -> JpegHeader | PngHeader:
    """Read the header and hold it against the limits."""
    is_jpeg = content.startswith(jpeg_structure.SIGNATURE)
    try:
        header = jpeg_structure.header(content) if is_jpeg else png_structure.header(content)
    except ValueError as error:
        raise BadImage(Reason.damaged, str(error)) from None
    most = min(max_megapixels, MOST_MEGAPIXELS)
    if header.width * header.height > most * 1e6:
        raise BadImage(Reason.too_large, f"{header.width} x {header.height}, allowed {most:g} megapixels")
    if max(header.width, header.height) > MOST_SIDE_PX:
        raise BadImage(Reason.too_large, f"{header.width} x {header.height}, allowed {MOST_SIDE_PX:,} a side")
    if isinstance(header, PngHeader) and header.animated:
        raise BadImage(Reason.animated)
    return header


def _check_pixels(header: JpegHeader | PngHeader) -> None:
    """Whether the pixels of a PNG are whole, and of 16 bits the upper eight are enough."""
    if isinstance(header, JpegHeader):
        return
    try:
        png_structure.check_rows(header)
        loss = sixteen_bits.loss(header) if header.bit_depth == 16 else ""
    except ValueError as error:
        raise BadImage(Reason.damaged, str(error)) from None
    except Exception:  # Pillow's decoders raise a dozen types for damaged bytes
        raise BadImage(Reason.damaged, "it cannot be decoded") from None
    if loss:
        raise BadImage(Reason.lost_in_8_bits, loss)
