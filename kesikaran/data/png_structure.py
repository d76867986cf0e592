"""The structure of a PNG file, checked without Pillow and TensorFlow: its chunks, its checksums, its last row.

Pillow fills missing rows with black and passes over unknown chunks, TensorFlow passes over wrong checksums of what it
does not need. What is right here is whole for both. The specification: https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types

_DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
_SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}  # of a pixel
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_MOST_CHUNKS = 1_000_000  # ten times those of the largest image that is read, in the usual parts of 8 KB
_PIECE, _BLOCK = 2**16, 2**20  # bytes that are inflated at a time, and to at most how many
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, steps


@dataclass(frozen=True)
class PngHeader:
    """What a PNG says of itself. data: the contents of its IDAT chunks, which are views of the file's bytes.

    animated: the file holds further pictures, or another one than that of its IDAT chunks.
    """

    width: int
    height: int
    bit_depth: int
    colour: int
    interlaced: bool
    palette: bytes
    transparency: bytes
    animated: bool
    data: list[memoryview]

    @property
    def transparent(self) -> bool:
        """Whether there is an alpha channel or a colour is declared transparent."""
        return bool(self.transparency) or self.colour in (GREY_ALPHA, RGB_ALPHA)


def header(encoded: bytes) -> PngHeader:
    """Read all chunks up to IEND; what follows IEND is passed over, as both decoders do.

    Raises:
        ValueError: a chunk is cut, out of place, unknown and critical, or has a wrong checksum; no such colour type; a
            palette image without a palette. The text says which.
    """
    chunks: dict[bytes, memoryview] = {}
    data: list[memoryview] = []
    frames, controls, last = b"", 0, b""
    for kind, content in _chunks(encoded):
        if (kind == b"IHDR") != (not last):
            raise ValueError("its first chunk is not IHDR" if not last else "it has two chunks IHDR")
        if kind == b"IDAT":
            if data and last != b"IDAT":
                raise ValueError("its chunks IDAT do not follow each other")
            data.append(content)
        elif (kind in (b"PLTE", b"tRNS") and not data) or kind in (b"IHDR", b"IEND"):
            if kind in chunks:
                raise ValueError(f"it has two chunks {kind.decode()}")
            chunks[kind] = content
        elif kind == b"acTL" and not data:
            frames = frames or bytes(content) or b"\0"
        elif kind == b"fcTL" and not data:
            controls += 1
        last = kind
    if not data:
        raise ValueError("it has no chunk IDAT")
    # The one frame of such an animation is the picture itself where its control stands before the data.
    animated = bool(frames) and not (frames[:4] == b"\0\0\0\1" and controls == 1)
    return _described(chunks, data, animated)


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(encoded), len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(encoded):
            raise ValueError("it ends without a chunk IEND")
        length, kind = struct.unpack_from(">I4s", encoded, at)
        if not kind.isalpha():
            raise ValueError(f"a chunk has the name {kind!r}")
        if at + 12 + length > len(encoded):
            raise ValueError(f"it ends within a chunk {kind.decode()}")
        if kind[0] < ord("a") and kind not in _CRITICAL:
            raise ValueError(f"it has an unknown critical chunk {kind.decode()}")
        if zlib.crc32(view[at + 4 : at + 8 + length]) != int.from_bytes(view[at + 8 + length : at + 12 + length]):
            raise ValueError(f"a chunk {kind.decode()} has a wrong checksum")
        yield kind, view[at + 8 : at + 8 + length]
        if kind == b"IEND":
            return
        at += 12 + length
    raise ValueError(f"it has more than {_MOST_CHUNKS:,} chunks")


def _described(chunks: dict[bytes, memoryview], data: list[memoryview], animated: bool) -> PngHeader:
    if len(chunks[b"IHDR"]) != 13 or len(chunks[b"IEND"]):
        raise ValueError("a chunk IHDR or IEND has a wrong length")
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    palette, transparency = bytes(chunks.get(b"PLTE", b"")), bytes(chunks.get(b"tRNS", b""))
    if depth not in _DEPTHS.get(colour, ()) or compression or filters or interlace > 1:
        raise ValueError("its IHDR describes no kind of PNG")
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise ValueError(f"it has {width} x {height} pixels")
    if (colour == PALETTE or palette) and not (len(palette) % 3 == 0 < len(palette) <= 3 * 256):
        raise ValueError("it has no palette" if not palette else "its palette has a wrong length")
    allowed = {GREY: [2], RGB: [6], PALETTE: range(1, len(palette) // 3 + 1)}.get(colour, [])
    if transparency and len(transparency) not in allowed:
        raise ValueError("its chunk tRNS has a wrong length")
    return PngHeader(width, height, depth, colour, bool(interlace), palette, transparency, animated, data)


def check_rows(png: PngHeader) -> None:
    """Inflate the pixels, without keeping them.

    Raises:
        ValueError: they are damaged, or end before or after the last row.
    """
    passes = [[rows * stride, stride] for rows, stride in _passes(png)][::-1]  # [bytes still to come, bytes a row]
    try:
        for block in _inflated(png.data):
            at = 0
            while at < len(block):
                if not passes:
                    raise ValueError("its data go on after its last row")
                left, stride = passes[-1]
                end = min(at + left, len(block))
                # The first byte of each row names the filter.
                if max(block[at + left % stride : end : stride], default=0) > 4:
                    raise ValueError("a row has an unknown filter")
                passes[-1][0] -= end - at
                if not passes[-1][0]:
                    passes.pop()
                at = end
    except zlib.error:
        raise ValueError("its compressed data are damaged") from None
    if passes:
        raise ValueError("its data end before its last row")


def _passes(png: PngHeader) -> Iterator[tuple[int, int]]:
    """(rows, bytes a row) of each pass with pixels; an image that is not interlaced has one."""
    bits = png.bit_depth * _SAMPLES[png.colour]
    for x, y, across, down in _ADAM7 if png.interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(png.width - x) // across), -(-(png.height - y) // down)
        if columns > 0 and rows > 0:
            yield rows, 1 + -(-columns * bits // 8)


def _inflated(data: list[memoryview]) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    for part in data:
        for start in range(0, len(part), _PIECE):
            piece: bytes | memoryview = part[start : start + _PIECE]
            while True:
                block = inflater.decompress(piece, _BLOCK)
                yield block
                if len(block) < _BLOCK:
                    break
                piece = inflater.unconsumed_tail
            if inflater.eof:  # bytes after the end of the stream are passed over, as both decoders do
                return
    raise ValueError("its compressed data are cut")


def bare(png: PngHeader, transparency: bool) -> bytes:
    """The picture alone as a PNG file, with no chunk that a decoder could stumble over.

    Args:
        transparency: with the colours that are declared transparent, if there are any.
    """
    ihdr = struct.pack(">IIBBBBB", png.width, png.height, png.bit_depth, png.colour, 0, 0, png.interlaced)
    chunks: list[tuple[bytes, bytes | memoryview]] = [(b"IHDR", ihdr)]
    chunks += [(b"PLTE", png.palette)] if png.palette else []
    chunks += [(b"tRNS", png.transparency)] if png.transparency and transparency else []
    chunks += [(b"IDAT", part) for part in png.data]
    return b"".join(
        [SIGNATURE, *(part for kind, content in [*chunks, (b"IEND", b"")] for part in _chunk(kind, content))]
    )


def _chunk(kind: bytes, content: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I4s", len(content), kind), content, checksum.to_bytes(4)
