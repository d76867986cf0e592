"""Work that does not listen can be left."""

import signal
import sys
import time

import pytest
from conftest import child

from kesikaran.core import waiting


def test_what_it_returns_and_raises() -> None:
    assert waiting.interruptibly(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        waiting.interruptibly(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        waiting.interruptibly(lambda: sys.exit(4))
    with pytest.raises(TimeoutError):
        waiting.interruptibly(lambda: time.sleep(0.5), 0.01)


DEAF = """
import ctypes
from kesikaran.core import terminal, waiting
terminal.stop_on_signals()
print("deaf", flush=True)
waiting.interruptibly(lambda: ctypes.CDLL(None).sleep(1000))
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_that_waits_for_a_deaf_call(signum: signal.Signals) -> None:
    with child(sys.executable, "-c", DEAF) as process:
        assert process.stdout
        assert process.stdout.readline() == "deaf\n"
        time.sleep(0.2)
        process.send_signal(signum)
        assert process.wait(20) == 128 + signum
