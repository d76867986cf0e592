"""The structure of a JPEG file, read without decoding, and what libjpeg complains of when it decodes.

The markers and their meaning: ITU-T T.81, annex B.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\xff\xd8\xff"
MOST_SCANS = 100  # a camera writes 1, an optimizer about 10; each further scan decodes all pixels once more

_EOI, _SOS, _COM, _APP = 0xD9, 0xDA, 0xFE, range(0xE0, 0xF0)
_JFIF, _ADOBE = 0xE0, 0xEE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # not the markers without a segment: RST0 to RST7 and TEM
# TurboJPEG's own limits, which are narrower than libjpeg's: sampling factors that no encoder of our day writes.
_NO_VERDICT = re.compile(r"tj\w+\(\): .*|Unsupported color conversion request")
_AFTER_THE_PICTURE = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9")


@dataclass(frozen=True)
class JpegHeader:
    """What a JPEG says of itself. components: 1 grey, 3 colours, 4 CMYK."""

    width: int
    height: int
    components: int


def header(encoded: bytes) -> JpegHeader:
    """Read the segments up to the first scan.

    Raises:
        ValueError: there is no scan, or no whole frame header before it; there are more scans than allowed. The text
            says which.
    """
    frame: JpegHeader | None = None
    for marker, start, end in _segments(encoded, scans=False):
        if marker in _FRAMES:
            if frame:
                raise ValueError("it has two frame headers")
            frame = _frame(encoded[start + 4 : end])
        elif marker == _SOS:
            break
    else:
        raise ValueError("it has no scan")
    if not frame:
        raise ValueError("its first scan has no frame header")
    # Segments of metadata can hold the marker, too. So only where it is frequent are the scans themselves counted.
    if encoded.count(bytes([0xFF, _SOS])) > MOST_SCANS:
        scans = sum(marker == _SOS for marker, _, _ in _segments(encoded))
        if scans > MOST_SCANS:
            raise ValueError(f"it has {scans} scans, allowed {MOST_SCANS}")
    return frame


def _frame(content: bytes) -> JpegHeader:
    if len(content) < 6 or len(content) != 6 + 3 * content[5]:
        raise ValueError("its frame header has a wrong length")
    bits, height, width = content[0], int.from_bytes(content[1:3]), int.from_bytes(content[3:5])
    if bits != 8:
        raise ValueError(f"it has {bits} bits a sample, 8 are read")
    if not (width and height):
        raise ValueError(f"it has {width} x {height} pixels")
    if content[5] not in (1, 3, 4):
        raise ValueError(f"it has {content[5]} components; 1, 3 and 4 are read")
    return JpegHeader(width, height, content[5])


def _segments(encoded: bytes, scans: bool = True) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the end marker, which has none. That of a scan holds the scan's data.

    Stray bytes before a marker belong to no segment, but for those after a scan's data, which nothing tells from them.

    Args:
        scans: without them the first scan is the last segment, and its data are not looked at.
    """
    found = _MARKER.search(encoded, 2)
    while found:
        start = found.start()
        marker = encoded[start + 1]
        if marker == _EOI:
            yield marker, start, start + 2
            return
        end = start + 2 + int.from_bytes(encoded[start + 2 : start + 4])
        if not start + 4 <= end <= len(encoded):
            raise ValueError("it ends within a segment")
        if marker == _SOS and not scans:
            yield marker, start, end
            return
        found = _MARKER.search(encoded, end)
        if marker == _SOS:
            end = found.start() if found else len(encoded)
        yield marker, start, end


def bare(encoded: bytes, keep: tuple[int, ...] = (_JFIF, _ADOBE)) -> bytes:
    """The picture alone as a JPEG file: without stray bytes between segments, comments and metadata.

    Args:
        keep: markers of metadata that stay; these two tell the colour space.

    Raises:
        ValueError: a segment is cut.
    """
    kept = (
        encoded[start:end]
        for marker, start, end in _segments(encoded)
        if marker in keep or (marker not in _APP and marker != _COM)
    )
    return b"".join([encoded[:2], *kept])


def complaint(encoded: bytes) -> str:
    """What libjpeg complains of although the picture is whole: stray bytes between segments or after the picture. Empty
    where it does not complain.

    libjpeg tells its first complaint only, and a harmless one could hide another. So the picture is decoded, at an
    eighth of its size, without stray bytes and without the segments of metadata. What libjpeg complains of then
    concerns the picture's own data, with one exception: stray bytes before the end marker, which is the last that
    libjpeg reads. A few kinds of JPEG, such as those without loss, have no verdict here: their decoders decide.

    Raises:
        ValueError: the picture's own data are damaged; the text is libjpeg's.
    """
    import simplejpeg

    try:
        # As grey: it costs least, and all components are read from the data nevertheless.
        simplejpeg.decode_jpeg(bare(encoded, ()), "GRAY", True, True, 1, 1, 8)
    except ValueError as error:
        if _NO_VERDICT.fullmatch(str(error)):
            return ""
        if not _AFTER_THE_PICTURE.fullmatch(str(error)):
            raise
        return str(error)
    try:
        simplejpeg.decode_jpeg_header(encoded)
    except ValueError as error:
        return str(error)
    segments = list(_segments(encoded))
    gaps = (encoded[end:start] for (_, _, end), (_, start, _) in itertools.pairwise(segments))
    return "Corrupt JPEG data: extraneous bytes between segments" if any(gap.strip(b"\xff") for gap in gaps) else ""
