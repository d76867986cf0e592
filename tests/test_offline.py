"""A whole run talks to nobody, and needs nobody who reads what it prints."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Made, child

pytestmark = pytest.mark.tensorflow

# A socket of this machine (AF_UNIX), such as that of the name service cache, is no address elsewhere.
ELSEWHERE = re.compile(r"sa_family=AF_(?!UNIX|NETLINK|UNSPEC)")
LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"')


def strangers(calls: Path) -> list[str]:
    """The system calls that name an address other than loopback."""
    return [line for line in calls.read_text().splitlines() if ELSEWHERE.search(line) and not LOOPBACK.search(line)]


@pytest.fixture
def strace(tmp_path: Path) -> list[str]:
    """The words before a command by which its system calls to addresses are written to `calls`."""
    words = ["strace", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(tmp_path / "calls")]
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    return words


def test_a_call_of_a_stranger_would_be_seen(strace: list[str], tmp_path: Path) -> None:
    call = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(({!r}, 53))"
    for address, seen in (("127.0.0.1", 0), ("192.0.2.1", 1)):
        subprocess.run([*strace, sys.executable, "-c", call.format(address)], capture_output=True)
        assert len(strangers(tmp_path / "calls")) == seen


def test_a_run_connects_to_nobody_and_ends_well_without_a_reader(strace: list[str], made: Made, tmp_path: Path) -> None:
    """Its reader goes after the first line, as in `| head -1`."""
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}", "PYTHONUNBUFFERED": "1"}
    command = [*strace, sys.executable, "-m", "kesikaran.train", *made.words]
    with child(*command, stderr=subprocess.PIPE, env=where) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("Run ")
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == ""
        assert process.wait(600) == 0
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert store.execute("select status from runs").fetchall() == [("FINISHED",)]
    assert strangers(tmp_path / "calls") == []
