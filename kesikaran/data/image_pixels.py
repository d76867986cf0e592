"""The pixels of an image that `image_file` has judged: decoded, converted, shown, hashed. By Pillow, no TensorFlow."""

import io

import numpy as np
from PIL import Image, ImageOps

from kesikaran.data import jpeg_structure, png_structure
from kesikaran.data.image_file import KINDS, BadImage, Encoded, Reason
from kesikaran.data.jpeg_structure import JpegHeader
from kesikaran.data.png_structure import PngHeader

_ORIENTATION_TAG = 0x0112  # of EXIF


def decode(image: Encoded, transparency: bool = False) -> Image.Image:
    """The image with its pixels loaded, by Pillow: eight bits a sample, or 16 of grey.

    Pillow gets the file without metadata, since damaged metadata can end in any exception or warning.

    Args:
        transparency: with colours that are declared transparent; without them, as in the input of a model, they are
            colours as any other. An alpha channel is there in either case.

    Raises:
        BadImage: a JPEG that does not decode to its last pixel, or of which libjpeg complains.
    """
    _ = image.complaint
    if isinstance(image.header, PngHeader):
        content = png_structure.bare(image.header, transparency)
    else:
        content = jpeg_structure.bare(image.content)
    try:
        decoded = Image.open(io.BytesIO(content), formats=KINDS)
        decoded.load()
    except Exception:  # Pillow's decoders raise a dozen types for damaged bytes
        raise BadImage(Reason.damaged, "it cannot be decoded") from None
    return decoded


def as_seen(image: Encoded) -> bytes:
    """The bytes that a model gets under `backbone.as_seen`: of a CMYK JPEG those of an RGB PNG, since an exported graph
    has no conversion that equals `convert`'s, else those of the file. What else belongs to it is in
    `data.as_people_see`, and thus in the graph."""
    if isinstance(image.header, JpegHeader) and image.header.components == 4:
        converted = convert(image)
        assert converted
        return converted[0]
    return image.content


def convert(image: Encoded) -> tuple[bytes, str] | None:
    """(the bytes of an RGB PNG, the kind of conversion) for a CMYK or transparent image, None for any other.

    CMYK becomes RGB by Pillow's conversion; an image with transparency (an alpha channel, or a colour declared
    transparent) is composited on white. The PNG has eight bits a channel and no metadata. One version of Pillow gives
    the same bytes each time.

    Raises:
        BadImage: as `decode`.
    """
    if isinstance(image.header, JpegHeader):
        if image.header.components != 4:
            return None
        flat, kind = decode(image).convert("RGB"), "CMYK to RGB"
    elif not image.header.transparent:
        return None
    else:
        pixels, kind = decode(image, transparency=True), "transparency on white"
        flat = _on_white(pixels, image.header.transparency)
    flat.info.clear()  # else the CMYK colour profile would be saved in an RGB file
    sink = io.BytesIO()
    flat.save(sink, "PNG")
    return sink.getvalue(), kind


def _on_white(pixels: Image.Image, transparent: bytes) -> Image.Image:
    if pixels.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip; one of its values is transparent
        grey = np.asarray(eight_bits(pixels)).copy()
        grey[np.asarray(pixels) == int.from_bytes(transparent)] = 255
        return Image.fromarray(grey).convert("RGB")
    white = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(white, pixels.convert("RGBA")).convert("RGB")


def picture(image: Encoded) -> Image.Image:
    """The image as RGB for people to look at: upright, transparency on white.

    Raises:
        BadImage: as `decode`.
    """
    if isinstance(image.header, PngHeader) and image.header.transparent:
        return _on_white(decode(image, transparency=True), image.header.transparency)
    upright = decode(image)
    if orientation := _orientation(image):
        upright.getexif()[_ORIENTATION_TAG] = orientation
        upright = ImageOps.exif_transpose(upright)
    return eight_bits(upright).convert("RGB")


def _orientation(image: Encoded) -> int | None:
    """The EXIF orientation of a JPEG; None where it tells none."""
    if isinstance(image.header, PngHeader):
        return None
    try:
        return Image.open(io.BytesIO(image.content), formats=("JPEG",)).getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged metadata can end in any exception
        return None


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
