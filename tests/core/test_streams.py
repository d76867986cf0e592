"""What is printed, by whomever: it steers no terminal, shows no password, and ends no process."""

import io
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kesikaran.core import streams, terminal

STEERING = {
    "\x1b[31m": r"\x1b[31m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "\x85": r"\x85",
    "\b\b": r"\x08\x08",
    "\x7f\x00": r"\x7f\x00",
    "a\u202eb\u2066c\u200f": r"a\u202eb\u2066c\u200f",
    "one\u2028line\u061c": r"one\u2028line\u061c",
    "\tone\r\n": "\tone\r\n",
    "ü ✓ 中 👍 \u200d": "ü ✓ 中 👍 \u200d",
}


@contextmanager
def printed() -> Iterator[io.BytesIO]:
    """What arrives behind sys.stdout. No fixture: between those and a test pytest sets the streams anew."""
    arrived = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(arrived, "utf-8", newline="", write_through=True))
        patch.setattr(sys, "stderr", sys.stderr)  # put back afterwards
        streams.install()
        yield arrived


@pytest.mark.parametrize(("text", "shown"), STEERING.items(), ids=STEERING.values())
def test_what_steers_a_terminal_is_quoted_once(text: str, shown: str) -> None:
    with printed() as arrived:
        first = sys.stdout
        streams.install()
        assert sys.stdout is first
        print(text, end="")
        sys.stdout.writelines([text])
        print(shown, end="")  # what is quoted is not quoted again
        assert arrived.getvalue().decode() == 3 * shown


def test_an_address_is_printed_without_its_password() -> None:
    with printed() as arrived:
        print("of postgresql://me:s3cret@host/db and https://me:s3cret@host/x?y: a:b@c")
        assert arrived.getvalue().decode() == "of postgresql://me:***@host/db and https://me:***@host/x?y: a:b@c\n"


def test_a_stream_stays_what_it_was() -> None:
    with printed() as arrived:
        assert (sys.stdout.encoding, sys.stdout.errors, sys.stdout.isatty()) == ("utf-8", "backslashreplace", False)
        assert sys.stdout.buffer is arrived
    ends, of = pty.openpty()
    termios.tcsetwinsize(of, (24, 80))
    with open(of, "w", closefd=False) as inner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", inner)
        streams.install()
        assert sys.stderr.isatty()
        assert sys.stderr.fileno() == of
        with terminal.progress(None, "work", "item", 3) as bar:
            bar.display()
        sys.stderr.flush()
        assert b"\rwork: " in os.read(ends, 1000)
    os.close(ends)
    os.close(of)


def test_a_byte_of_a_file_name_that_is_no_text_is_an_escape() -> None:
    with printed() as arrived:
        print(os.fsdecode(b"a\x9b2J\xff"))
        assert arrived.getvalue() == rb"a\udc9b2J\udcff" + b"\n"


WHOEVER = r"""
import logging, os, sys, warnings
from kesikaran.core import process
process.start()
logging.warning("by a \x1b[31m logger")
warnings.warn("by \x1b[31m warnings")
print("✓ by \x1b[31m print", os.fsdecode(b"\xff"))
class Fails:
    def __del__(self): raise ValueError("by \x1b[31m nobody")
Fails()
{end}
"""


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        ('sys.exit("exit \\x1b[31m of http://me:s3cret@host")', 1, r"exit \x1b[31m of http://me:***@host"),
        ('raise ValueError("at \\x1b[31m postgresql://me:s3cret@host")', 1,
         r"ValueError: at \x1b[31m postgresql://me:***@host"),
        ("import argparse; argparse.ArgumentParser(prog='p').parse_args(['\\x1b[31m'])", 2,
         r"p: error: unrecognized arguments: \x1b[31m"),
    ],
    ids=["exit", "traceback", "argparse"],
)  # fmt: skip
def test_whoever_prints_goes_through_the_one_exit(end: str, code: int, says: str) -> None:
    where = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", WHOEVER.format(end=end)], capture_output=True, text=True, env=where)
    assert done.returncode == code
    assert done.stdout == r"\u2713 by \x1b[31m print \udcff" + "\n"
    assert done.stderr.splitlines()[-1] == says
    for told in ("WARNING:root:by a {} logger", "UserWarning: by {} warnings", "ValueError: by {} nobody"):
        assert told.format(r"\x1b[31m") in done.stderr
    assert "\x1b" not in done.stderr
    assert "s3cret" not in done.stderr.replace(end, "")


GOES_ON = """
import sys
import termios
from kesikaran.core import process
process.start()
assert open({file!r}, "w").fileno() > 2
for number in range(20_000):
    print("a line of the report")
print("the last", file=sys.stderr)
open({file!r}, "w").write("went on")
sys.exit(3)
"""
LOST = "What is printed is lost from here on: No space left on device.\n"


@pytest.mark.parametrize(
    ("to", "out", "err"),
    [
        ("| head -1", "a line of the report\n", "the last\n"),
        ("2>&1 | head -1", "a line of the report\n", ""),
        (">&-", "", "the last\n"),
        ("2>&-", None, ""),
        (">&- 2>&- <&-", "", ""),
        ("> /dev/full", "", f"{LOST}the last\n"),
        ("2> /dev/full", None, ""),
        ("> /dev/full 2>&1", "", ""),
    ],
)
def test_a_reader_that_goes_ends_nothing(to: str, out: str | None, err: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    code = GOES_ON.format(file=str(file))
    shell = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {to}', sys.executable, code]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (3, err)
    assert done.stdout == (20_000 * "a line of the report\n" if out is None else out)
    assert file.read_text() == "went on"


def test_a_terminal_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    ends, of = pty.openpty()
    code = GOES_ON.format(file=str(tmp_path / "file"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=of, stderr=of, stdin=of)
    os.close(of)
    os.read(ends, 10)
    os.close(ends)
    assert process.wait(120) == 3
    assert (tmp_path / "file").read_text() == "went on"
