"""What libjpeg says while TensorFlow decodes: heard, and kept off the terminal.

libjpeg in TensorFlow writes its complaints to file descriptor 2 itself, without the file's name, and has no switch for
it. While `kept_back` is open, the descriptor leads to an unnamed file: its size tells whether something was said, at
once and in every thread. Python's own stderr leads to the terminal as before.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO

from kesikaran.core import streams, terminal

# The beginnings of its messages (jerror.h) that a damaged file can call forth.
_LIBJPEG = re.compile(
    rb"(Corrupt JPEG data|Premature end of|Warning: unknown JFIF|Unknown Adobe|Inconsistent progression|Invalid SOS|"
    rb"Invalid progressive|Invalid scan|Invalid component|Invalid JPEG file|Invalid crop|Application transferred|"
    rb"Arithmetic table|Huffman table|Quantization table|Bogus |Unsupported (JPEG|marker|color)|Sorry, |Improper call|"
    rb"Not a JPEG|Input file|Empty (JPEG|input)|Too many color|Sampling factors|Cannot (transcode|quantize)|"
    rb"IDCT output|DCT (coefficient|scaled)|Didn't expect more than one scan|Scan script|Missing Huffman|"
    rb"Failed to create|Maximum supported image|Image too wide|Unsupported|Component index|CCIR601|Fractional sampling)"
)
_aside: IO[bytes] | None = None  # the unnamed file, while a block is open


def heard() -> int | None:
    """How many bytes were written to descriptor 2 since `kept_back` opened; None where it is not open."""
    aside = _aside
    with suppress(OSError, ValueError):  # closed in between
        return None if aside is None else os.fstat(aside.fileno()).st_size
    return None


@contextmanager
def kept_back() -> Iterator[None]:
    """A block in which libjpeg's lines do not reach the terminal. Other lines that libraries write to descriptor 2 come
    at its end. A block inside a block does nothing."""
    global _aside
    if _aside is not None:
        yield
        return
    with tempfile.TemporaryFile() as file:
        with terminal.sheltered():  # from here to the `try` no signal may come between
            before, real = sys.stderr, _redirect(file)
            _aside = file
        try:
            yield
        finally:
            with terminal.sheltered():
                _aside = None
                _restore(before, real)
                file.seek(0)
                others = [line for line in file.read().splitlines(True) if not _LIBJPEG.match(line)]
                with suppress(OSError):
                    os.write(2, b"".join(others))


def _redirect(file: IO[bytes]) -> int | None:
    """Lead descriptor 2 to the file, and Python's stderr, where it is that descriptor, to a duplicate (returned)."""
    try:
        real = os.dup(2)
    except OSError:  # the command was started without a stderr
        os.dup2(file.fileno(), 2)
        return None
    with suppress(OSError, ValueError, AttributeError):  # a stderr of another kind is left alone
        sys.stderr.flush()
        if sys.stderr.fileno() == 2:
            sys.stderr = streams.wrapped(os.fdopen(real, "w", 1, sys.stderr.encoding, sys.stderr.errors, closefd=False))
    os.dup2(file.fileno(), 2)
    return real


def _restore(before: TextIO, real: int | None) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    sys.stderr = before
    if real is None:
        os.close(2)
    else:
        os.dup2(real, 2)
        os.close(real)
