"""A job is a generator: what stops its training is raised in it, and its run is closed whatever happens."""

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kesikaran.config import rules
from kesikaran.config.schema import Experiment
from kesikaran.core import terminal
from kesikaran.experiment import job

Jobs = Generator[Any, Any, float]


def counted(log: list[Any]) -> Jobs:
    try:
        log.append((yield "training"))
    except ZeroDivisionError as error:
        log.append(error)
    return 0.5


def test_a_result_is_sent_and_an_error_is_raised_in_the_job() -> None:
    error = ZeroDivisionError("stopped")
    for outcome in ("fitted", error):
        log: list[Any] = []
        one = counted(log)
        assert next(one) == "training"
        assert job.finish(one, outcome) == 0.5  # type: ignore[arg-type]
        assert log == [outcome]


def test_what_the_job_does_not_handle_comes_out() -> None:
    one = counted([])
    next(one)
    with pytest.raises(KeyError, match="other"):
        job.finish(one, KeyError("other"))


def test_a_job_that_trains_twice_is_a_defect() -> None:
    def twice() -> Jobs:
        yield "first"
        yield "second"
        return 0.0

    one = twice()
    next(one)
    with pytest.raises(AssertionError, match="trains once"):
        job.finish(one, "fitted")  # type: ignore[arg-type]


@pytest.mark.tensorflow
def test_what_stops_a_group_is_returned_once_for_each_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from kesikaran.training import head_trainer
    from kesikaran.training.task import FeatureRows

    stopped = KeyboardInterrupt()

    def broken(*_: Any) -> Any:
        raise stopped

    monkeypatch.setattr(head_trainer, "fit", broken)
    rows = FeatureRows(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))
    one = SimpleNamespace(every=rows, train=np.array([0, 1]), validation=np.array([2, 3]), task=None)
    assert job.fit([one, one, one]) == [stopped] * 3  # type: ignore[list-item]


def test_a_signal_ends_what_takes_long_before_the_run_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone may be downloaded, and the demo's images copied."""
    shelters: list[int] = []

    def fingerprint(_: Any) -> str:
        shelters.append(terminal._shelters)
        return "f"

    for check in ("check", "check_effects"):
        monkeypatch.setattr(rules, check, lambda _: None)
    assert job._identify(Experiment(), SimpleNamespace(fingerprint=fingerprint)) == ("f", None)  # type: ignore[arg-type]
    assert shelters == [0]
