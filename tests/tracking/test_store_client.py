"""A call of a server ends within a stated limit, within seconds after a signal, and at once after one was given up."""

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
from conftest import one_line
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from kesikaran.core import process, terminal
from kesikaran.core.errors import InputError, StoreGone
from kesikaran.tracking import store_client

pytestmark = pytest.mark.tensorflow
ADDRESS, SHOWN = "http://ada:a-secret@127.0.0.1:1", "http://ada:***@127.0.0.1:1"


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(ADDRESS)
    monkeypatch.setattr(store_client, "_given_up", None)
    monkeypatch.setattr(terminal, "_stop_signal", None)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    yield
    mlflow.set_tracking_uri(before)


def gone(work: Any) -> tuple[str, float]:
    """(the line, the seconds that it took)"""
    began = time.monotonic()
    with pytest.raises(StoreGone) as caught:
        store_client.patiently(work)
    assert one_line(str(caught.value))
    assert str(caught.value).startswith(f"the store {SHOWN} does not answer any more (")
    return str(caught.value), time.monotonic() - began


def test_a_silent_server_is_given_up_and_the_next_calls_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    line, seconds = gone(lambda: time.sleep(5))
    assert "(no answer within 1 s)" in line
    assert 1 <= seconds < 2
    called: list[int] = []
    line, seconds = gone(lambda: called.append(1))
    assert "(no answer within 1 s)" in line, "the reason is told again"
    assert seconds < 0.5
    assert not called
    monkeypatch.setattr(store_client, "_REST_SECONDS", 0.0)
    assert store_client.patiently(lambda: "back") == "back"
    assert store_client.patience_seconds() == 1.0, "all patience is back too"


def test_a_refused_connection_is_one_line() -> None:
    line, _ = gone(lambda: store_client.client().get_run("0" * 32))
    assert "(connection refused, asked for 0 s): start it, then the same command again" in line


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}), None),
        (MlflowException("a defect"), None),
        (ValueError("a defect"), None),
        (
            MlflowException(
                "API request to endpoint /api/x failed with error code 403 != 200. Response body: 'Permission denied'",
                error_code=PERMISSION_DENIED,
            ),
            f"the store {SHOWN} does not allow this to the user ada (/api/x: Permission denied): ask for",
        ),
    ],
    ids=["no run", "a defect of MLflow's", "a defect of ours", "forbidden"],
)
def test_other_errors_come_out_as_they_are(error: Exception, says: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")

    def fails() -> None:
        raise error

    with pytest.raises(Exception) as caught:  # noqa: PT011
        store_client.patiently(fails)
    if says is None:
        assert caught.value is error
    else:
        assert isinstance(caught.value, InputError)
        assert str(caught.value).startswith(says)
    assert store_client.patiently(lambda: 1) == 1, "it has answered"


def test_a_signal_ends_the_wait_in_a_sheltered_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setattr(store_client, "SHORT_SECONDS", 0.5)
    before = {number: signal.getsignal(number) for number in terminal.STOPS}
    terminal.stop_on_signals()
    began = time.monotonic()
    try:
        threading.Timer(0.3, signal.raise_signal, [signal.SIGTERM]).start()
        with pytest.raises(SystemExit), terminal.sheltered():
            gone(lambda: time.sleep(9))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert time.monotonic() - began < 3


def test_a_long_wait_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(store_client, "_TOLD_SECONDS", 0.2)
    store_client.patiently(lambda: time.sleep(0.6))
    assert capsys.readouterr().err == f"The store {SHOWN} has not answered for 0 s; it is waited for, 1 s at most.\n"


def test_how_long_a_server_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_RETRIES", "BACKOFF_FACTOR", "TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "0")  # put back afterwards
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}")
    process.quiet()
    assert store_client.patience_seconds() == 2 + 4 + 8 + 16 + 32 + 64 + 120 + 120
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    assert store_client.patience_seconds() == 2 + 4 + 120
