"""`make train` sets up in a few lines, and stops where the set-up fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Stands for Python: it makes an environment with itself in it, and installs as pip prints it.
PYTHON = """#!/bin/bash
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"-r requirements.lock")
    for name in $(grep -o '^[A-Za-z0-9][^=]*' requirements.lock); do
      echo "Collecting $name==1 (from -r requirements.lock (line 1))"
      echo "  Downloading $name-1-py3-none-any.whl.metadata (1.2 kB)"
    done
    for name in $(grep -o '^[A-Za-z0-9][^=]*' requirements.lock); do
      echo "Downloading $name-1-py3-none-any.whl (1.2 MB)"
    done
    if [ -n "$BROKEN" ]; then echo "ERROR: no space left" >&2; exit 1; fi
    echo "Installing collected packages: a, b"
    echo "Successfully installed a-1 b-1" ;;
  "-m kesikaran.train"*) echo "trained with ${*:3}" ;;
esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def made(place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "train", f"PYTHON={place / 'python'}", "ARGS=seed=1"]
    where = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | variables
    return subprocess.run(command, cwd=place, env=where, capture_output=True, text=True, timeout=60)


def test_the_set_up_is_a_few_lines_with_progress(place: Path) -> None:
    done = made(place)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "trained with seed=1"
    assert 5 <= len(lines) <= 11, done.stdout
    assert "  found 120 of about " in done.stdout
    assert made(place).stdout.splitlines() == ["trained with seed=1"], "it sets up once"


def test_a_set_up_that_fails_says_why_and_goes_no_further(place: Path) -> None:
    done = made(place, BROKEN="1")
    assert done.returncode != 0
    assert "ERROR: no space left" in done.stderr
    assert "trained" not in done.stdout
    assert not (place / ".venv" / ".stamp").exists()
