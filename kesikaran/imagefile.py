"""One image file from a stranger: usable, convertible or refused. Pillow only, no TensorFlow."""

import hashlib
import io
import stat
from pathlib import Path

import numpy as np
from PIL import Image

from kesikaran.dataset import sha1_of

_EXTENSIONS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}  # MPO: a camera's JPEG with further pictures behind
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class Refused(Exception):
    """Why a file is not taken: a kind of reason and, after a colon, what is particular to this file."""


def read(path: Path) -> bytes:
    """The bytes of a file that begins as a JPEG or PNG does; another, however large, is not read whole.

    Raises:
        Refused: missing, unreadable, empty, not a JPEG or PNG, an animation.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise Refused("unreadable: not a regular file")
        with path.open("rb") as file:
            head = file.read(max(map(len, _SIGNATURES)))
            if head.startswith(_SIGNATURES):
                return head + file.read()
    except FileNotFoundError:
        raise Refused("missing") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Refused(f"unreadable: {getattr(error, 'strerror', None) or error}") from None
    if not head:
        raise Refused("empty")
    try:
        with Image.open(path, formats=("GIF", "WEBP")) as image:
            animated = getattr(image, "is_animated", False)
    except Exception:  # whatever it is, it is not ours
        animated = False
    raise Refused("animated" if animated else "not a JPEG or PNG image")


def read_object(path: Path) -> bytes:
    """As `read`, of a file of an object store.

    Raises:
        Refused: also where the SHA-1 of the bytes is not the one that the name carries.
    """
    encoded = read(path)
    if hashlib.sha1(encoded, usedforsecurity=False).hexdigest() != sha1_of(path.name):
        raise Refused("its content has another SHA-1 than its name")
    return encoded


def decode(encoded: bytes, max_megapixels: float) -> tuple[Image.Image, str]:
    """(the image with its pixels loaded, the extension of its content: `.jpg` or `.png`).

    Raises:
        Refused: more pixels than allowed (or than Pillow allows, 178 megapixels), an animated PNG, an image
            that does not decode to its last pixel, a PNG with a wrong checksum.
    """
    try:
        image = Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG"))
        width, height = image.size
        if width * height > max_megapixels * 1e6:
            raise Refused(f"too large in pixels: {width} x {height}, allowed {max_megapixels:g} megapixels")
        if image.format == "PNG":
            if getattr(image, "is_animated", False):
                raise Refused("animated")
            Image.open(io.BytesIO(encoded), formats=("PNG",)).verify()  # load() passes over checksums
        image.load()
    except Refused:
        raise
    except Image.DecompressionBombError:
        raise Refused("too large in pixels: a decompression bomb") from None
    except Exception:  # Pillow's decoders raise a dozen kinds at damaged bytes
        raise Refused("truncated or damaged") from None
    return image, _EXTENSIONS[image.format or ""]


def convert(image: Image.Image) -> tuple[bytes, str] | None:
    """(an RGB PNG's bytes, the kind of conversion) of a CMYK or transparent image, None of any other.

    CMYK becomes RGB by Pillow's conversion; transparency (an alpha channel, or a colour declared
    transparent) is laid on white. Eight bits a channel, no metadata. The same bytes each time, given the
    same Pillow.

    Raises:
        Refused: 16-bit grey with transparency, which Pillow would clip.
    """
    if image.mode == "CMYK":
        flat, kind = image.convert("RGB"), "CMYK to RGB"
    elif not image.has_transparency_data:
        return None
    elif image.mode.startswith("I"):
        raise Refused("16-bit grey with transparency")
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
