"""Images of every kind, decoded for a model as a viewer shows them."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import store
from hostile_images import END, NOISE, chunk, deep, idat, ihdr, png, saved
from PIL import Image, ImageOps

from kesikaran.config.schema import BackboneConfig, JpegDecode
from kesikaran.data import as_people_see, image_file, image_pixels, ingest, preprocess
from kesikaran.data.ingest import Layout
from kesikaran.data.ingest_sources import Source
from kesikaran.features.decoder import Decoder

pytestmark = pytest.mark.tensorflow

PHOTO = Image.fromarray(NOISE[:40])
GLASS = Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 24, 4), np.uint8), "RGBA")
AS_SEEN = BackboneConfig(handle="", image_size=16)
AS_STORED = BackboneConfig(handle="", image_size=16, as_seen=False)


def exif(orientation: int, order: str = "<", before: bytes = b"", kind: int = 3) -> bytes:
    """The bytes of an EXIF segment whose directory has the orientation after the name of a maker."""
    entries = struct.pack(f"{order}HHII", 0x010F, 2, 4, 0) + struct.pack(
        f"{order}HHIHH", 0x0112, kind, 1, orientation, 0
    )
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8 + len(before), 2)
    return b"Exif\0\0" + tiff[:8] + before + tiff[8:] + entries + bytes(4)


def turned(orientation: int, content: bytes | None = None, fill: int = 0) -> bytes:
    """A JPEG with an EXIF segment behind one of another kind and `fill` bytes 0xFF."""
    plain = saved(PHOTO, "JPEG", quality=95)
    segments = b"".join(
        b"\xff" * fill + b"\xff" + kind + struct.pack(">H", len(text) + 2) + text
        for kind, text in ((b"\xe2", b"a profile"), (b"\xe1", exif(orientation) if content is None else content))
    )
    return plain[:2] + segments + plain[2:]


def seen(content: bytes) -> np.ndarray:
    return preprocess.decode(content, AS_SEEN).numpy()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_by_each_orientation_as_pillow_turns_it(orientation: int) -> None:
    content = turned(orientation)

    assert np.array_equal(seen(content), np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(content)))))
    assert as_people_see.orientation(content) == orientation


def test_a_photograph_is_turned_where_it_is_decoded_at_a_part_of_its_size() -> None:
    content = saved(Image.fromarray(NOISE).resize((400, 200)), "JPEG", exif=exif(6))

    reduced = preprocess.decode(content, BackboneConfig(handle="", image_size=16, jpeg_decode=JpegDecode.reduced))

    assert reduced.shape == (50, 25, 3)


@pytest.mark.parametrize(
    ("content", "orientation"),
    [
        (exif(6, ">"), 6),
        (exif(6, before=bytes(10)), 6),
        (exif(6, kind=4), 1),  # a long, not a short
        (exif(9), 1),
        (exif(0), 1),
        (exif(6)[:20], 1),
        (exif(6)[:6] + b"XX*\0" + exif(6)[10:], 1),
        (exif(6)[:10] + struct.pack("<I", 2**32 - 2) + exif(6)[14:], 1),
        (exif(6)[:14] + struct.pack("<H", 65535) + exif(6)[16:], 6),  # more entries than there are
        (b"Exif\0\0", 1),
        (b"http://ns.adobe.com/xap/1.0/\0", 1),
    ],
)
def test_damaged_or_other_metadata_turn_nothing(content: bytes, orientation: int) -> None:
    assert as_people_see.orientation(turned(0, content)) == orientation


@pytest.mark.parametrize("fill", [3, 200_000])
def test_fill_bytes_before_a_segment_are_passed_over_and_take_no_time(fill: int) -> None:
    assert as_people_see.orientation(turned(6, fill=fill)) == (6 if fill == 3 else 1)


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_cut_file_has_no_orientation_and_no_transparency(length: int) -> None:
    assert as_people_see.orientation(turned(6)[:length]) == (1 if length < 54 else 6)  # the entry ends at 53
    assert not as_people_see.has_transparency(saved(PHOTO, "PNG")[:length])


TRANSPARENT = {
    "RGBA": saved(GLASS, "PNG"),
    "grey and alpha": saved(GLASS.convert("LA"), "PNG"),
    "palette with alpha": saved(GLASS.quantize(16), "PNG"),
    "palette with a transparent colour": saved(PHOTO.quantize(8), "PNG", transparency=3),
    "a transparent colour": saved(Image.new("RGB", (9, 9), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
    "a transparent grey": saved(Image.fromarray(NOISE[..., 0] % 4), "PNG", transparency=2),
    "16 bits with alpha": deep(np.random.default_rng(4).integers(0, 65536, (24, 24, 4))),
    "16 bits of grey with alpha": deep(np.random.default_rng(4).integers(0, 65536, (24, 24, 2))),
    "a text before the transparent colour": png(
        ihdr(8, 8, 8, 3), chunk(b"tEXt", b"a\0b"), chunk(b"PLTE", bytes(range(30, 90))), chunk(b"tRNS", b"\0\x80"),
        idat(b"".join(b"\0" + bytes(x % 20 for x in range(y, y + 8)) for y in range(8))), END,
    ),
}  # fmt: skip
OPAQUE = {
    "RGB": saved(PHOTO, "PNG"),
    "grey": saved(PHOTO.convert("L"), "PNG"),
    "palette": saved(PHOTO.quantize(8), "PNG"),
    "16 bits": deep(np.random.default_rng(4).integers(0, 65536, (24, 24, 3))),
    "JPEG": turned(1),
    "turned JPEG": turned(6),
    "CMYK": saved(PHOTO.convert("CMYK"), "JPEG", quality=95),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparency_lies_on_white_bit_for_bit_as_ingest_lays_it(kind: str) -> None:
    content = TRANSPARENT[kind]

    with image_file.judged(content, 50) as image:
        converted = image_pixels.convert(image)

    assert converted is not None
    assert np.array_equal(seen(content), seen(converted[0]))
    assert as_people_see.has_transparency(content)


@pytest.mark.parametrize("kind", OPAQUE)
def test_an_opaque_image_has_no_transparency(kind: str) -> None:
    assert not as_people_see.has_transparency(OPAQUE[kind])


def test_what_is_stored_is_taken_as_it_is_where_that_is_asked_for() -> None:
    glass, photo = TRANSPARENT["RGBA"], turned(6)

    assert np.array_equal(preprocess.decode(glass, AS_STORED), np.asarray(GLASS)[..., :3])
    assert preprocess.decode(photo, AS_STORED).shape == (40, 64, 3)


@pytest.mark.parametrize("kind", [*TRANSPARENT, *OPAQUE])
def test_an_image_gives_the_same_pixels_before_and_after_ingest(tmp_path: Path, kind: str) -> None:
    content = {**TRANSPARENT, **OPAQUE}[kind]
    decoder = Decoder(AS_SEEN)
    (tmp_path / "in").mkdir()
    name = store(tmp_path / "in", content, ".img")
    other = saved(Image.new("RGB", (9, 9)), "PNG")
    (tmp_path / "other.png").write_bytes(other)
    ingest.ingest(
        [Source("0", [(tmp_path / "in" / name, 0)], []), Source("1", [(tmp_path / "other.png", 1)], [])],
        tmp_path / "data", Layout.flat, False, 50.0,
    )  # fmt: skip
    (ingested,) = [path for path in (tmp_path / "data" / "images").iterdir() if path.read_bytes() != other]

    before = decoder.decode({"a": image_file.judged(content, 50)}, {})["a"]
    after = decoder.decode({"a": image_file.opened(ingested, 50, None)}, {})["a"]

    assert not isinstance(before, str)
    assert np.array_equal(before, after)


def test_a_picture_for_people_is_upright_and_on_white() -> None:
    with image_file.judged(turned(6), 50) as image:
        assert image_pixels.picture(image).size == (40, 64)
    with image_file.judged(TRANSPARENT["a transparent colour"], 50) as image:
        assert image_pixels.picture(image).getpixel((0, 0)) == (255, 255, 255)


def test_a_turned_photograph_whose_metadata_pillow_cannot_read_is_shown_as_it_is() -> None:
    with image_file.judged(turned(0, exif(6)[:20]), 50) as image:
        assert image_pixels.picture(image).size == (64, 40)


@pytest.mark.parametrize("quality", [40, 85, 100])
def test_a_jpeg_has_the_pixels_that_pillow_gives_it(quality: int) -> None:
    smooth = Image.fromarray(NOISE).resize((90, 70), Image.Resampling.BICUBIC)
    content = saved(smooth, "JPEG", quality=quality)

    assert np.array_equal(seen(content), np.asarray(Image.open(BytesIO(content))))
