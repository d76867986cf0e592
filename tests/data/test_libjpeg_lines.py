"""libjpeg's lines are heard and kept off the terminal; whatever else is written there arrives."""

import os
import subprocess
import sys

import pytest

from kesikaran.data import libjpeg_lines

COMPLAINT = b"Corrupt JPEG data: 3 extraneous bytes before marker 0xdb\n"


def test_only_libjpegs_lines_are_dropped_and_each_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    assert libjpeg_lines.heard() is None
    with libjpeg_lines.kept_back():
        assert libjpeg_lines.heard() == 0
        with libjpeg_lines.kept_back():
            os.write(2, COMPLAINT)
        assert libjpeg_lines.heard() == len(COMPLAINT)
        os.write(2, b"another library\n" + COMPLAINT + b"without an end")
        assert capfd.readouterr().err == ""
    assert libjpeg_lines.heard() is None
    os.write(2, b" of the line\n")
    assert capfd.readouterr().err == "another library\nwithout an end of the line\n"


def test_an_error_inside_puts_all_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr

    def fail() -> None:
        with libjpeg_lines.kept_back():
            os.write(2, COMPLAINT + b"its reason\n")
            raise OSError("inside")

    with pytest.raises(OSError, match="inside"):
        fail()
    assert sys.stderr is before
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "its reason\nafter\n"


PYTHONS = """
import os, sys
from kesikaran.core import streams
from kesikaran.data import libjpeg_lines
streams.install()
print("before", file=sys.stderr)
with libjpeg_lines.kept_back():
    os.write(2, b"Corrupt JPEG data: bad Huffman code\\n")
    os.write(2, b"later\\n")
    print("at once\\x1b[31m", file=sys.stderr)
print("after", file=sys.stderr)
os.write(2, b"end\\n")
"""


def test_pythons_own_stderr_is_not_kept_back_and_stays_the_one_exit() -> None:
    done = subprocess.run([sys.executable, "-c", PYTHONS], capture_output=True, text=True, check=True)
    assert done.stderr == "before\nat once\\x1b[31m\nlater\nafter\nend\n"


def test_a_process_without_a_stderr() -> None:
    command = f'"{sys.executable}" -c "$1" 2>&-; echo $?'
    done = subprocess.run(
        ["sh", "-c", command, "sh", PYTHONS.replace('os.write(2, b"end\\n")', "")], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "0"
