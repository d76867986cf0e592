"""The one exit of a process for what it prints: nothing that is printed can steer the terminal, show a password or end
a run."""

import errno
import os
import re
import sys
from typing import Any, TextIO, cast

from kesikaran.core.errors import without_password

# C0 without tab and line ends, DEL, C1, the line ends of Unicode, and what turns the direction of writing.
_STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def install() -> None:
    """Make sys.stdout and sys.stderr streams of this module. A second call changes nothing.

    What any library prints goes the same way: Hydra's lines, MLflow's, warnings, tracebacks. A stream that was closed
    when the process started (`>&-`) becomes /dev/null; otherwise the next file that is opened would take its number,
    and C libraries would write their messages into the file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  never closed
        setattr(sys, name, wrapped(stream))


def wrapped(stream: TextIO) -> TextIO:
    """The stream as one of this module."""
    if isinstance(stream, _Printable):
        return cast(TextIO, stream)
    if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
        # A character that the encoding lacks, or a byte of a file name that is no text, is printed as an escape.
        cast(Any, stream).reconfigure(errors="backslashreplace")
    return cast(TextIO, _Printable(stream))


class _Printable:
    r"""A text stream that writes control characters as `\x1b`, and addresses without their passwords.

    Once a write fails, further text is dropped and the process goes on: the reader has gone (`| head -1`), the terminal
    is closed, or the disk under a redirected log is full. The last is told on stderr, because the log is then shorter
    than the run.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._dropping = False
        self.is_cut = False  # a full disk has not taken all of it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not self._dropping:
            shown = without_password(text) if "://" in text else text
            try:
                self._stream.write(_STEERING.sub(_escape, shown))
            except OSError as error:
                self._drop(error)
        return len(text)

    def writelines(self, lines: "list[str]") -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self._dropping:
            try:
                self._stream.flush()
            except OSError as error:
                self._drop(error)

    def _drop(self, error: OSError) -> None:
        self._dropping = True
        # What the stream still holds goes to /dev/null, or the interpreter would fail at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return
        self.is_cut = True
        if sys.stderr is not self:
            print(f"What is printed is lost from here on: {os.strerror(error.errno)}.", file=sys.stderr)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
