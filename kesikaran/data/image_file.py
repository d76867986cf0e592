"""One image file from a stranger: usable, convertible or refused. Pillow only, no TensorFlow."""

import hashlib
import io
import stat
import warnings
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from kesikaran.data.object_store import sha1_of

KINDS = ("JPEG", "PNG")

_EXTENSIONS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}  # MPO: a camera's JPEG with further pictures behind
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class Reason(StrEnum):
    """Why an image is not used. Ingest, verify, near-duplicates, thumbnails and training refuse by this list."""

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
    """An image that is not used: counted and listed, never replaced. Its text is the reason and, after a colon, what is
    particular to this file."""

    def __init__(self, reason: Reason, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


def read(path: Path) -> bytes:
    """The bytes of a file that begins as a JPEG or PNG does; another, however large, is not read whole.

    Raises:
        BadImage: missing, unreadable, empty, not a JPEG or PNG, an animation.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
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
    except Exception:  # whatever it is, it is not ours
        animated = False
    raise BadImage(Reason.animated if animated else Reason.no_image)


def read_object(path: Path) -> bytes:
    """As `read`, of a file of an object store.

    Raises:
        BadImage: also where the SHA-1 of the bytes is not the one that the name carries.
    """
    encoded = read(path)
    if hashlib.sha1(encoded, usedforsecurity=False).hexdigest() != sha1_of(path.name):
        raise BadImage(Reason.other_content)
    return encoded


def open_checked(encoded: bytes, max_megapixels: float) -> Image.Image:
    """The image with nothing but its header read: what can be judged before a pixel is decoded.

    Raises:
        BadImage: no JPEG or PNG, more pixels than allowed (or than Pillow allows, 178 megapixels), an animated PNG.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged below, by the caller's limit
            image = Image.open(io.BytesIO(encoded), formats=KINDS)
    except Image.DecompressionBombError:
        raise BadImage(Reason.too_large, "a decompression bomb") from None
    except UnidentifiedImageError:
        raise BadImage(Reason.no_image) from None
    except Exception:  # Pillow's readers raise a dozen kinds at damaged bytes
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
        BadImage: as `open_checked`; an image that does not decode to its last pixel, a PNG with a wrong checksum.
    """
    image = open_checked(encoded, max_megapixels)
    try:
        if image.format == "PNG":
            Image.open(io.BytesIO(encoded), formats=("PNG",)).verify()  # load() passes over checksums
        image.load()
    except Exception:  # Pillow's decoders raise a dozen kinds at damaged bytes
        raise BadImage(Reason.damaged) from None
    return image, _EXTENSIONS[image.format or ""]


def convert(image: Image.Image) -> tuple[bytes, str] | None:
    """(an RGB PNG's bytes, the kind of conversion) of a CMYK or transparent image, None of any other.

    CMYK becomes RGB by Pillow's conversion; transparency (an alpha channel, or a colour declared
    transparent) is laid on white. Eight bits a channel, no metadata. The same bytes each time, given the
    same Pillow.

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
    flat.info.clear()  # else a CMYK profile would go into an RGB file
    sink = io.BytesIO()
    flat.save(sink, "PNG")
    return sink.getvalue(), kind


def eight_bits(image: Image.Image) -> Image.Image:
    """The upper eight of 16 bits of grey, which Pillow would clip and all such images be white; another as it is."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def perceptual_hash(image: Image.Image) -> np.ndarray:
    """bool [128]: whether it gets brighter to the right, then downwards, at each place of an 8 x 8 grid.

    The difference hash, both ways: of those tried (also by DCT and by mean, of 64 to 288 bits) the one that finds
    most of the cropped copies without taking look-alikes for copies.
    """
    import imagehash

    image = eight_bits(image)
    return np.concatenate([imagehash.dhash(image).hash.ravel(), imagehash.dhash_vertical(image).hash.ravel()])
