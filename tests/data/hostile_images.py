"""Images that a stranger could send, made by code: name -> (bytes, why the image is not used; empty where it is)."""

import functools
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(13)
NOISE = RANDOM.integers(0, 256, (64, 64, 3), np.uint8)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
DAMAGED = "truncated or damaged: "


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **how)
    return sink.getvalue()


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


# ---- PNG, chunk by chunk


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def ihdr(width: int = 16, height: int = 16, depth: int = 8, colour: int = 2, last: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + last)


def rows(width: int = 16, height: int = 16, bits: int = 24, kind: int = 0) -> bytes:
    """The bytes of the rows of a picture, as they go into the compressed data; `kind` is the filter of each row."""
    length = -(-width * bits // 8)
    return b"".join(bytes([kind]) + bytes((40 + 7 * y + x) % 256 for x in range(length)) for y in range(height))


def idat(raw: bytes) -> bytes:
    return chunk(b"IDAT", zlib.compress(raw))


END = chunk(b"IEND")


def png(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks)


def deep(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample: grey for [height, width], grey and alpha, RGB or RGBA for two to four channels."""
    colour = 0 if values.ndim == 2 else {2: 4, 3: 2, 4: 6}[values.shape[2]]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(ihdr(values.shape[1], values.shape[0], 16, colour), idat(raw), END)


def interlaced(width: int, height: int, lost: int = 0) -> bytes:
    """An interlaced grey PNG, of whose raw bytes the last ones are lost."""
    raw = b""
    for x, y, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        columns, lines = -(-(width - x) // across), -(-(height - y) // down)
        raw += rows(columns, lines, 8) if columns > 0 and lines > 0 else b""
    return png(ihdr(width, height, 8, 0, b"\0\0\1"), idat(raw[: len(raw) - lost]), END)


def flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def split(raw: bytes, *middle: bytes) -> bytes:
    """The compressed rows in two chunks with others between them."""
    packed = zlib.compress(raw)
    return chunk(b"IDAT", packed[:20]) + b"".join(middle) + chunk(b"IDAT", packed[20:])


def actl(frames: int) -> bytes:
    return chunk(b"acTL", struct.pack(">II", frames, 0))


FCTL = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 16, 16, 0, 0, 1, 10, 0, 0))
PLTE = chunk(b"PLTE", bytes(range(48)))
SHORT = 16 * 25  # rows of half of a picture
TWO = rows(16, 16, 8)  # of a palette or grey picture
GREY16 = RANDOM.integers(0, 65536, (20, 20))


def pngs() -> Iterator[tuple[str, bytes, str]]:
    good = png(ihdr(), idat(rows()), END)
    yield "png", good, ""
    yield "png in two parts", png(ihdr(), split(rows()), END), ""
    yield "png of one pixel", png(ihdr(1, 1, 1, 0), idat(b"\0\x80"), END), ""
    for colour, name in ((0, "grey"), (4, "grey and alpha"), (6, "rgba")):
        bits = {0: 8, 4: 16, 6: 32}[colour]
        yield f"png {name}", png(ihdr(16, 16, 8, colour), idat(rows(16, 16, bits)), END), ""
    yield "png palette", png(ihdr(16, 16, 8, 3), PLTE, idat(bytes(17 * 16)), END), ""
    yield (
        "png transparent palette",
        png(ihdr(16, 16, 8, 3), PLTE, chunk(b"tRNS", b"\0\x80"), idat(bytes(17 * 16)), END),
        "",
    )
    yield "png interlaced", interlaced(13, 9), ""
    yield "png interlaced, narrow", interlaced(1, 5), ""
    yield "png interlaced, cut", interlaced(13, 9, 3), DAMAGED + "its data end before its last row"
    yield "png with bytes after its end", good + b"<script>" * 9, ""
    yield "png with bytes after its data", png(ihdr(), chunk(b"IDAT", zlib.compress(rows()) + b"tail"), END), ""
    yield (
        "png with text of any kind",
        png(ihdr(), chunk(b"tEXt", b"a\0" + b"\x1b[31m"), chunk(b"iCCP", b"x"), idat(rows()), END),
        "",
    )
    yield (
        "png with a text bomb",
        png(ihdr(), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))), idat(rows()), END),
        "",
    )
    yield "png with wrong exif", png(ihdr(), chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"), idat(rows()), END), ""
    yield "png without a palette", png(ihdr(16, 16, 8, 3), idat(TWO), END), DAMAGED + "it has no palette"
    yield "png with the palette too late", png(ihdr(16, 16, 8, 3), idat(TWO), PLTE, END), DAMAGED + "it has no palette"
    yield (
        "png with a crooked palette",
        png(ihdr(16, 16, 8, 3), chunk(b"PLTE", b"ab"), idat(TWO), END),
        DAMAGED + "its palette has a wrong length",
    )
    yield (
        "png with two palettes",
        png(ihdr(16, 16, 8, 3), PLTE, PLTE, idat(TWO), END),
        DAMAGED + "it has two chunks PLTE",
    )
    yield (
        "png with too much transparency",
        png(ihdr(), chunk(b"tRNS", b"ab"), idat(rows()), END),
        DAMAGED + "its chunk tRNS has a wrong length",
    )
    yield "png of half its rows", png(ihdr(), idat(rows()[: 8 * 49]), END), DAMAGED + "its data end before its last row"
    yield "png of a row too many", png(ihdr(), idat(rows(16, 17)), END), DAMAGED + "its data go on after its last row"
    yield "png of an unknown filter", png(ihdr(), idat(rows(kind=5)), END), DAMAGED + "a row has an unknown filter"
    yield (
        "png cut in its data",
        png(ihdr(), chunk(b"IDAT", zlib.compress(rows())[:60]), END),
        DAMAGED + "its compressed data are cut",
    )
    yield (
        "png without the checksum of its data",
        png(ihdr(), chunk(b"IDAT", zlib.compress(rows())[:-4]), END),
        DAMAGED + "its compressed data are cut",
    )
    yield (
        "png of other data",
        png(ihdr(), chunk(b"IDAT", b"not zlib"), END),
        DAMAGED + "its compressed data are damaged",
    )
    yield "png of no data", png(ihdr(), END), DAMAGED + "it has no chunk IDAT"
    yield "png of an empty data chunk", png(ihdr(), chunk(b"IDAT"), END), DAMAGED + "its compressed data are cut"
    yield (
        "png of data apart",
        png(ihdr(), split(rows(), chunk(b"tEXt", b"a\0b")), END),
        DAMAGED + "its chunks IDAT do not follow each other",
    )
    yield "png of a wrong checksum", flipped(good, -20), DAMAGED + "a chunk IDAT has a wrong checksum"
    yield "png of a wrong checksum of its end", flipped(good, -1), DAMAGED + "a chunk IEND has a wrong checksum"
    yield (
        "png of a wrong checksum of its text",
        png(ihdr(), flipped(chunk(b"tEXt", b"a\0b"), -1), idat(rows()), END),
        DAMAGED + "a chunk tEXt has a wrong checksum",
    )
    yield "png without an end", good[:-12], DAMAGED + "it ends without a chunk IEND"
    yield "png without its last bytes", good[:-4], DAMAGED + "it ends without a chunk IEND"
    yield "png cut anywhere", good[:100], DAMAGED + "it ends within a chunk IDAT"
    yield "png of a signature alone", SIGNATURE, DAMAGED + "it ends without a chunk IEND"
    yield (
        "png of a huge chunk",
        good[:33] + b"\xff\xff\xff\xffIDAT" + bytes(50),
        DAMAGED + "it ends within a chunk IDAT",
    )
    yield (
        "png of a critical unknown chunk",
        png(chunk(b"CgBI", bytes(4)), ihdr(), idat(rows()), END),
        DAMAGED + "it has an unknown critical chunk CgBI",
    )
    yield (
        "png of a chunk without a name",
        png(ihdr(), chunk(b"\0\1\2\3"), idat(rows()), END),
        DAMAGED + r"a chunk has the name b'\x00\x01\x02\x03'",
    )
    yield "png that begins with its data", png(idat(rows()), ihdr(), END), DAMAGED + "its first chunk is not IHDR"
    yield "png of two headers", png(ihdr(), ihdr(), idat(rows()), END), DAMAGED + "it has two chunks IHDR"
    yield (
        "png of a short header",
        png(chunk(b"IHDR", bytes(5)), idat(rows()), END),
        DAMAGED + "a chunk IHDR or IEND has a wrong length",
    )
    yield (
        "png of an unknown colour",
        png(ihdr(colour=5), idat(rows()), END),
        DAMAGED + "its IHDR describes no kind of PNG",
    )
    yield "png of three bits", png(ihdr(depth=3), idat(rows()), END), DAMAGED + "its IHDR describes no kind of PNG"
    yield (
        "png of an unknown compression",
        png(ihdr(last=b"\1\0\0"), idat(rows()), END),
        DAMAGED + "its IHDR describes no kind of PNG",
    )
    yield "png without width", png(ihdr(0), idat(b""), END), DAMAGED + "it has 0 x 16 pixels"
    yield (
        "png of two billion rows",
        png(ihdr(1, 2**31 - 1, 1, 0), idat(bytes(2000)), END),
        "too large in pixels: 1 x 2147483647, allowed 50 megapixels",
    )
    yield (
        "png of one column",
        png(ihdr(1, 40_000_000, 1, 0), idat(bytes(80_000_000)), END),
        "too large in pixels: 1 x 40000000, allowed 65,500 a side",
    )
    yield (
        "png bomb",
        saved(Image.new("1", (20000, 10000)), "PNG"),
        "too large in pixels: 20000 x 10000, allowed 50 megapixels",
    )
    yield (
        "png over the limit",
        saved(Image.new("1", (10000, 5001)), "PNG"),
        "too large in pixels: 10000 x 5001, allowed 50 megapixels",
    )
    yield (
        "png of which a crumb is there",
        png(ihdr(7000, 7000, 16, 6), idat(bytes(3 * 10**7)), END),
        DAMAGED + "its data end before its last row",
    )
    yield "png of 300,000 chunks", png(ihdr(), chunk(b"teXt") * 300_000, idat(rows()), END), ""
    yield "png animation", animation("PNG"), "animated"
    yield "png of one frame, which it is", png(ihdr(), actl(1), FCTL, idat(rows()), END), ""
    yield (
        "png of one frame, which is another",
        png(ihdr(), actl(1), idat(rows()), FCTL, chunk(b"fdAT", bytes(4) + zlib.compress(rows())), END),
        "animated",
    )
    yield "png of no frame", png(ihdr(), actl(0), idat(rows()), END), "animated"
    yield "png of half an animation", png(ihdr(), chunk(b"acTL", b"ab"), idat(rows()), END), "animated"
    yield "png with an animation too late", png(ihdr(), idat(rows()), actl(2), FCTL, END), ""


def lost(kept: int, levels: int, highest: int) -> str:
    return (
        f"its upper 8 of 16 bits, which are used, lose the picture: they keep {kept} of {levels} levels, its highest "
        f"value is {highest} of 65535; scale it to 8 bits and save it so"
    )


def sixteen_bits() -> Iterator[tuple[str, bytes, str]]:
    every = np.arange(4096).reshape(64, 64)
    yield "16 bits", deep(every * 16), ""
    yield "16 bits, colours", deep(RANDOM.integers(0, 65536, (20, 20, 3))), ""
    yield "16 bits, all channels", deep(RANDOM.integers(0, 65536, (20, 20, 4))), ""
    yield "16 bits, black and white", deep((every % 3 > 0) * 65535), ""
    yield "16 bits, one grey", deep(np.full((9, 9), 77)), ""
    yield (
        "16 bits, transparent",
        png(
            ihdr(20, 20, 16, 0),
            chunk(b"tRNS", b"\2\0"),
            idat(b"".join(b"\0" + row.astype(">u2").tobytes() for row in GREY16)),
            END,
        ),
        "",
    )
    yield "16 bits of values to 255", deep(every % 256), lost(1, 256, 255)
    yield "16 bits of 0 and 255", deep((every % 3 > 0) * 255), lost(1, 2, 255)
    yield "16 bits of a mask", deep(every % 2), lost(1, 2, 1)
    yield "16 bits of a camera of 10", deep(every % 1024), lost(4, 1024, 1023)
    yield "16 bits of a camera of 12", deep(every), lost(16, 4096, 4095)
    yield "16 bits of a camera of 12 and a dead pixel", deep(np.where(every == 7, 65535, every)), lost(17, 4096, 65535)
    yield "16 bits of values to 255, colours", deep(np.stack([every % 256] * 3, axis=2)), lost(1, 256, 255)
    yield (
        "16 bits of values to 255, grey and alpha",
        deep(np.stack([every % 256, every * 0 + 65535], axis=2)),
        lost(1, 256, 255),
    )
    yield (
        "16 bits of values to 255, all channels",
        deep(np.stack([*[every % 256] * 3, every * 0 + 65535], axis=2)),
        lost(1, 256, 255),
    )


# ---- JPEG, segment by segment


def jpeg(**how: object) -> bytes:
    return saved(Image.fromarray(NOISE), "JPEG", **how)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segment(content: bytes, marker: int, added: bytes) -> bytes:
    return content[:2] + segment(marker, added) + content[2:]


def before(content: bytes, marker: int, added: bytes) -> bytes:
    """`added` before the first such marker."""
    at = content.index(bytes([0xFF, marker]))
    return content[:at] + added + content[at:]


def changed_frame(content: bytes, at: int, value: bytes) -> bytes:
    """Another value in the frame header, `at` bytes after its marker."""
    start = content.index(b"\xff\xc0") + at
    return content[:start] + value + content[start + len(value) :]


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there `count` times more."""
    content = jpeg(progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * count + content[-2:]


def jpegs() -> Iterator[tuple[str, bytes, str]]:
    good = jpeg()
    complaint = DAMAGED + "Corrupt JPEG data: "
    yield "jpeg", good, ""
    yield "jpeg grey", saved(Image.fromarray(NOISE[..., 0]), "JPEG"), ""
    yield "jpeg progressive", jpeg(progressive=True), ""
    yield "jpeg with restarts", jpeg(restart_marker_blocks=2), ""
    yield "jpeg cmyk", saved(Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]), "CMYK"), "JPEG"), ""
    yield (
        "jpeg of a camera, with another picture",
        saved(Image.fromarray(NOISE), "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
        "",
    )
    yield "jpeg with bytes after its end", good + b"\xff\xda" * 200, ""
    yield (
        "jpeg with a cut exif",
        with_segment(good, 0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x1a\0\x05\0\0\0\x01\0\0\xff"),
        "",
    )
    yield "jpeg with a text of scans", with_segment(good, 0xFE, b"\xff\xda" * 200), ""
    yield "jpeg with a cut profile", with_segment(good, 0xE2, b"ICC_PROFILE\0\x01\x02abc"), ""
    yield "jpeg of an unknown JFIF", good[:11] + b"\x09" + good[12:], ""
    yield "jpeg with stray bytes", before(good, 0xDB, b"abc"), ""
    yield "jpeg with many stray bytes", before(good, 0xC4, b"abc" * 999), ""
    yield "jpeg with stray bytes at its end", good[:-2] + b"abc" + good[-2:], ""
    yield "jpeg with stray bytes in two places", before(good, 0xDB, b"abc")[:-2] + b"abc" + good[-2:], ""
    yield "jpeg that ends early", good[: len(good) // 2] + b"\xff\xd9", complaint + "premature end of data segment"
    yield (
        "jpeg that ends early, with stray bytes",
        before(good, 0xDB, b"abc")[: len(good) // 2] + b"\xff\xd9",
        complaint + "premature end of data segment",
    )
    yield (
        "jpeg that ends early, of an unknown JFIF",
        good[:11] + b"\x09" + good[12 : len(good) // 2] + b"\xff\xd9",
        complaint + "premature end of data segment",
    )
    yield (
        "jpeg that ends early, progressive",
        (lambda it: it[: len(it) - 90] + b"\xff\xd9")(jpeg(progressive=True)),
        complaint + "premature end of data segment",
    )
    yield (
        "jpeg of a lost piece",
        (lambda it: it[:900] + it[1100:])(jpeg(restart_marker_blocks=2)),
        complaint + "126 extraneous bytes before marker 0xd1",
    )
    yield "jpeg without an end", good[:-2], DAMAGED + "Premature end of JPEG file"
    yield "jpeg cut in half", good[: len(good) // 2], DAMAGED + "Premature end of JPEG file"
    yield "jpeg cut in its header", good[:100], DAMAGED + "it ends within a segment"
    yield "jpeg of a signature alone", b"\xff\xd8\xff", DAMAGED + "it has no scan"
    yield "jpeg without a picture", b"\xff\xd8\xff\xd9", DAMAGED + "it has no scan"
    yield (
        "jpeg without a frame",
        before(good, 0xC0, b"")[: good.index(b"\xff\xc0")] + good[good.index(b"\xff\xda") :],
        DAMAGED + "its first scan has no frame header",
    )
    yield (
        "jpeg of two frames",
        before(good, 0xC4, good[good.index(b"\xff\xc0") : good.index(b"\xff\xc0") + 19]),
        DAMAGED + "it has two frame headers",
    )
    yield (
        "jpeg without tables",
        good[: good.index(b"\xff\xdb")] + good[good.index(b"\xff\xc0") :],
        DAMAGED + "Quantization table 0x00 was not defined",
    )
    yield "jpeg without height", changed_frame(good, 5, b"\0\0"), DAMAGED + "it has 64 x 0 pixels"
    yield "jpeg taller than its data", changed_frame(good, 5, b"\x02\x80"), complaint + "premature end of data segment"
    yield "jpeg of 12 bits", changed_frame(good, 4, b"\x0c"), DAMAGED + "it has 12 bits a sample, 8 are read"
    yield "jpeg of two components", changed_frame(good, 9, b"\x02"), DAMAGED + "its frame header has a wrong length"
    yield "jpeg of an unknown sampling", changed_frame(good, 11, b"\x75"), DAMAGED + "it cannot be decoded"
    yield "jpeg of arithmetic coding", good.replace(b"\xff\xc0", b"\xff\xc9"), ""
    yield "jpeg without loss", good.replace(b"\xff\xc0", b"\xff\xc3"), DAMAGED + "it cannot be decoded"
    yield (
        "jpeg over the limit",
        changed_frame(good, 5, b"\x80\0\x80\0"),
        "too large in pixels: 32768 x 32768, allowed 50 megapixels",
    )
    yield (
        "jpeg of a long side",
        changed_frame(good, 5, b"\xff\xff\0\x10"),
        "too large in pixels: 16 x 65535, allowed 65,500 a side",
    )
    yield "jpeg of 2,000 scans", many_scans(2000), DAMAGED + "it has 2010 scans, allowed 100"
    yield "jpeg of 1,000,000 restarts", jpeg()[:-2] + b"\xff\xd0" * 10**6 + b"\xff\xd9", ""


def others() -> Iterator[tuple[str, bytes, str]]:
    none = "not a JPEG or PNG image"
    yield "empty", b"", "empty"
    yield "html", b"<html>not found</html>", none
    yield "bmp", saved(Image.fromarray(NOISE), "BMP"), none
    yield "tiff", saved(Image.fromarray(NOISE), "TIFF"), none
    yield "gif", saved(Image.fromarray(NOISE), "GIF"), none
    yield "gif animation", animation("GIF"), "animated"
    yield "gif cut", animation("GIF")[:60], none
    yield "gif of many pixels", b"GIF89a\xff\xff\xff\xff\0\0\0," + bytes(40), none
    yield "webp", saved(Image.fromarray(NOISE), "WEBP"), none
    yield "webp animation", animation("WEBP"), "animated"
    yield "lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", none
    yield "zeros", bytes(10**6), none


@functools.cache
def corpus() -> dict[str, tuple[bytes, str]]:
    made = [*pngs(), *sixteen_bits(), *jpegs(), *others()]
    assert len({name for name, _, _ in made}) == len(made)
    assert len({content for _, content, _ in made}) == len(made)
    return {name: (content, why) for name, content, why in made}
