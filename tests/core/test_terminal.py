"""A signal to stop: heeded at once, or at the end of what must not be broken off."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest

from kesikaran.core import terminal


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in terminal.STOPS}
    monkeypatch.setattr(terminal, "_stop_signal", None)  # put back afterwards
    terminal.stop_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_at_once_and_only_the_first(number: signal.Signals, code: int) -> None:
    assert not terminal.stop_asked()
    with pytest.raises(SystemExit) as stop:
        signal.raise_signal(number)
    assert stop.value.code == code
    assert terminal.stop_asked()
    signal.raise_signal(number)  # what closes the run is not interrupted
    with terminal.sheltered():
        signal.raise_signal(number)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As `nohup` starts a process. The other two are heeded, though a script starts what it puts into the background
    without Ctrl-C."""
    for number in terminal.STOPS:
        signal.signal(number, signal.SIG_IGN)
    terminal.stop_on_signals()
    assert [signal.getsignal(number) for number in terminal.STOPS] == [terminal._stop, terminal._stop, signal.SIG_IGN]
    signal.raise_signal(signal.SIGHUP)
    assert not terminal.stop_asked()


def test_a_second_start_forgets_no_stop() -> None:
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)
    terminal.stop_on_signals()
    with pytest.raises(SystemExit) as stop:
        terminal.stop_if_asked()
    assert stop.value.code == 143


def test_a_thread_leaves_the_signals_alone() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with ThreadPoolExecutor() as pool:
        pool.submit(terminal.stop_on_signals).result()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    terminal.stop_on_signals()
    assert signal.getsignal(signal.SIGTERM) is terminal._stop


def test_a_shelter_is_left_first() -> None:
    done = []

    @terminal.sheltered()
    def write() -> None:
        signal.raise_signal(signal.SIGTERM)
        done.append("inner")

    @terminal.sheltered()
    def close() -> None:
        write()
        done.append("outer")

    with pytest.raises(SystemExit) as stop:
        close()
    assert stop.value.code == 143
    assert done == ["inner", "outer"]
    with terminal.sheltered():  # said once
        done.append("closing")


def test_an_error_in_a_shelter_does_not_hide_the_stop() -> None:
    @terminal.sheltered()
    def fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("on the way")

    with pytest.raises(SystemExit):
        fail()
    with pytest.raises(SystemExit):
        terminal.stop_if_asked()


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_kept_back_is_told_of_a_failure_only(fails: bool, capfd: pytest.CaptureFixture[str]) -> None:
    @terminal.quiet_start()
    def load() -> None:
        os.write(2, b"a line of TensorFlow")
        if fails:
            raise ImportError

    with pytest.raises(ImportError) if fails else nullcontext():
        load()
    assert capfd.readouterr() == ("", "a line of TensorFlow" if fails else "")


def test_a_library_is_loaded_whole_before_a_stop(capfd: pytest.CaptureFixture[str]) -> None:
    """Half of matplotlib ended the closing of a sweep with an AttributeError."""
    loaded = []

    @terminal.quiet_start()
    def load() -> None:
        os.write(2, b"a line of TensorFlow")
        signal.raise_signal(signal.SIGTERM)
        loaded.append("whole")

    with pytest.raises(SystemExit) as stop:
        load()
    assert stop.value.code == 143
    assert loaded == ["whole"]
    assert capfd.readouterr() == ("", "")


def test_a_signal_in_a_destructor_is_raised_later_and_not_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Dropped:
        def __init__(self, error: BaseException | None):
            self.error = error

        def __del__(self) -> None:
            if self.error:
                raise self.error
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # pytest has its own
    terminal.stop_on_signals()
    Dropped(None)
    assert terminal.stop_asked()
    assert capfd.readouterr().err == ""
    Dropped(ValueError("no signal"))
    assert "no signal" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        terminal.stop_if_asked()


def test_a_step_of_a_bar_asks() -> None:
    with terminal.progress(None, "work", "item", 3) as bar:
        bar.update()
        with pytest.raises(SystemExit), terminal.sheltered():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit):
            bar.update()


def test_a_bar_goes_on_after_a_leap(capsys: pytest.CaptureFixture[str]) -> None:
    """What is cached is done at once, and what follows takes long."""
    with terminal.progress(None, "predict", "image", 20_000) as bar:
        bar.delay, bar.mininterval = 0, 0.01
        for count in (7000, 1, 1):
            time.sleep(0.02)
            bar.update(count)
        shown = capsys.readouterr().err
    assert "7002/20000" in shown
