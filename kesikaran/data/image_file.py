"""One image file of unknown origin: read, checked, decoded, converted or refused. Pillow only, no TensorFlow."""

import hashlib
import io
import stat
import warnings
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image

from kesikaran.data.object_store import sha1_of

KINDS = ("JPEG", "PNG")

_EXTENSIONS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}  # MPO: a camera's JPEG, followed by further pictures
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class Reason(StrEnum):
    """Why an image is not used: the same reasons in ingest, verify, near-duplicates, thumbnails and training."""

    missing = "missing"
    unreadable = "unreadable"
    empty = "empty"
    no_image = f"not a {' or '.join(KINDS)} image"
    animated = "animated"
    too_large = "too large in pixels"
    damaged = "truncated or damaged"
    other_content = "its content has another SHA-1 than its name"
    grey_transparency = "16-bit grey with transparency"


class BadImage(Exception):
    """An image that is not used. Callers count and list such images. The text is the reason and, after a colon, the
    detail of this file."""

    def __init__(self, reason: Reason, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


def read(path: Path) -> bytes:
    """The bytes of a file that begins with the signature of a JPEG or PNG. Of any other file only the first bytes are
    read.

    Raises:
        BadImage: missing, unreadable, empty, no such signature; `animated` for an animated GIF or WebP.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could wait for ever
            raise BadImage(Reason.unreadable, "not a regular file")
        with path.open("rb") as file:
            head = file.read(max(map(len, _SIGNATURES)))
            if head.startswith(_SIGNATURES):
                return head + file.read()
    except FileNotFoundError:
        raise BadImage(Reason.missing) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadImage(Reason.unreadable, getattr(error, "strerror", None) or str(error)) from None
    if not head:
        raise BadImage(Reason.empty)
    try:
        with Image.open(path, formats=("GIF", "WEBP")) as image:
            animated = getattr(image, "is_animated", False)
    except Exception:  # Pillow's readers raise many types; the file is no image that is used, whatever it is
        animated = False
    raise BadImage(Reason.animated if animated else Reason.no_image)


def read_object(path: Path) -> bytes:
    """The bytes of a file of an object store, by `read`.

    Raises:
        BadImage: as `read`; or the SHA-1 of the bytes is not that of the file's name.
    """
    encoded = read(path)
    if hashlib.sha1(encoded, usedforsecurity=False).hexdigest() != sha1_of(path.name):
        raise BadImage(Reason.other_content)
    return encoded


def open_checked(encoded: bytes, max_megapixels: float) -> Image.Image:
    """The image with only its header read, after the checks that need no decoded pixel.

    Args:
        encoded: of `read` or `read_object`, so with the signature of a JPEG or PNG.

    Raises:
        BadImage: a damaged header, an animated PNG, more pixels than `max_megapixels` or than Pillow allows (178
            megapixels).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the caller's limit is checked below
            image = Image.open(io.BytesIO(encoded), formats=KINDS)
    except Image.DecompressionBombError:
        raise BadImage(Reason.too_large, "a decompression bomb") from None
    except Exception:  # Pillow's readers raise a dozen types for damaged bytes
        raise BadImage(Reason.damaged) from None
    width, height = image.size
    if width * height > max_megapixels * 1e6:
        raise BadImage(Reason.too_large, f"{width} x {height}, allowed {max_megapixels:g} megapixels")
    if image.format == "PNG" and getattr(image, "is_animated", False):
        raise BadImage(Reason.animated)
    return image


def decode(encoded: bytes, max_megapixels: float) -> tuple[Image.Image, str]:
    """(the image with its pixels loaded, the extension of its content: `.jpg` or `.png`).

    Raises:
        BadImage: as `open_checked`; an image that does not decode to its last pixel; a PNG with a wrong checksum.
    """
    image = open_checked(encoded, max_megapixels)
    try:
        if image.format == "PNG":
            Image.open(io.BytesIO(encoded), formats=("PNG",)).verify()  # load() ignores checksums
        image.load()
    except Exception:  # Pillow's decoders raise a dozen types for damaged bytes
        raise BadImage(Reason.damaged) from None
    return image, _EXTENSIONS[image.format or ""]


def convert(image: Image.Image) -> tuple[bytes, str] | None:
    """(the bytes of an RGB PNG, the kind of conversion) for a CMYK or transparent image, None for any other.

    CMYK becomes RGB by Pillow's conversion; an image with transparency (an alpha channel, or a colour declared
    transparent) is composited on white. The PNG has eight bits a channel and no metadata. One version of Pillow gives
    the same bytes each time.

    Raises:
        BadImage: 16-bit grey with transparency, which Pillow would clip.
    """
    if image.mode == "CMYK":
        flat, kind = image.convert("RGB"), "CMYK to RGB"
    elif not image.has_transparency_data:
        return None
    elif image.mode.startswith("I"):
        raise BadImage(Reason.grey_transparency)
    else:
        white = Image.new("RGBA", image.size, "white")
        flat, kind = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"), "transparency on white"
    flat.info.clear()  # else the CMYK colour profile would be saved in an RGB file
    sink = io.BytesIO()
    flat.save(sink, "PNG")
    return sink.getvalue(), kind


def eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image reduced to its upper eight bits: Pillow would clip it to white. Any other image as it is."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def perceptual_hash(image: Image.Image) -> np.ndarray:
    """bool [128]: whether the image gets brighter to the right, then downwards, at each place of an 8 x 8 grid.

    This is the difference hash in both directions. Of the hashes tried (also by DCT and by mean, of 64 to 288 bits) it
    finds the most cropped copies without taking look-alikes for copies.
    """
    import imagehash

    image = eight_bits(image)
    return np.concatenate([imagehash.dhash(image).hash.ravel(), imagehash.dhash_vertical(image).hash.ravel()])
