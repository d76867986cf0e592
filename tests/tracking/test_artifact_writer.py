"""A finished file is in its place whole, or the run fails and says which file and why; nothing hangs, and nothing of a
stopped run goes on."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from conftest import one_line

from kesikaran.core import files, terminal
from kesikaran.core.errors import InputError
from kesikaran.tracking import artifact_writer, runs, store_client
from kesikaran.tracking.artifact_writer import ArtifactWriter
from kesikaran.tracking.open_run import Run

pytestmark = pytest.mark.tensorflow


class Place:
    """A server that takes files. answer: of each request, by the number of requests before it, the status and what the
    server says; it may take its time."""

    def __init__(self) -> None:
        self.answer: Callable[[int], tuple[int, str]] = lambda number: (200, "{}")
        self.files: dict[str, bytes] = {}
        self.requests, self.at_once, self.most_at_once = 0, 0, 0
        self.lock = threading.Lock()
        place = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                with place.lock:
                    number, place.requests = place.requests, place.requests + 1
                    place.at_once += 1
                    place.most_at_once = max(place.most_at_once, place.at_once)
                status, says = place.answer(number)
                with place.lock:
                    place.at_once -= 1
                    if status == 200:
                        place.files[self.path] = content
                self.send_response(status)
                self.send_header("Content-Length", str(len(says)))
                self.end_headers()
                self.wfile.write(says.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.address = f"http://127.0.0.1:{self._server.server_port}/there"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(artifact_writer, "_given_up", False)
    monkeypatch.setattr(store_client, "_given_up", None)
    made = Place()
    yield made
    made.close()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of one second."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(artifact_writer, "_ATTEMPT_SECONDS", 0.5)


@pytest.fixture
def opened(place: Place, client: Any) -> Callable[[], Any]:
    """Opens a run whose rows are in the suite's store and whose artifacts go to `place`."""
    name = place.address.replace("/", "_")
    client.create_experiment(name, artifact_location=place.address)
    return lambda: runs.run(name, None, {})


def after(seconds: float, code: int, says: str) -> Callable[[int], tuple[int, str]]:
    """The same answer to every request, after a while."""

    def answer(_: int) -> tuple[int, str]:
        time.sleep(seconds)
        return code, says

    return answer


def at_work() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_send_all" in thread.name]


def status(run: Run) -> str:
    found: str = mlflow.MlflowClient().get_run(run.run_id).info.status
    return found


def test_a_local_file_is_put_in_its_place_without_a_read_of_the_run(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runs.run("made", None, {}) as run:
        monkeypatch.setattr(mlflow.MlflowClient, "get_run", None)
        monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", None)
        run.text("hällo\r\n", "a.txt")
        run.json({"a": [1, Path("x")]}, "b.json")
        run.parquet(pd.DataFrame({"label": [0, 1]}), "c.parquet")
        monkeypatch.undo()
    folder = Path(client.get_run(run.run_id).info.artifact_uri.removeprefix("file://"))
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.json", "c.parquet"]
    assert (folder / "a.txt").read_bytes() == "hällo\r\n".encode()
    assert (folder / "b.json").read_text() == '{\n  "a": [\n    1,\n    "x"\n  ]\n}'
    assert pd.read_parquet(folder / "c.parquet")["label"].tolist() == [0, 1]


def test_a_file_that_the_disk_does_not_take_is_not_there_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any, __: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = ArtifactWriter(tmp_path.as_uri())
    writer.write("folder/a.txt", b"before")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the store has no room left"), files.disk_space("the store", "or move it"):
        writer.write("folder/a.txt", b"after")
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"before"]


def test_files_are_sent_several_at_a_time_and_all_are_there_when_the_run_ends(
    place: Place, opened: Callable[[], Any]
) -> None:
    place.answer = after(0.2, 200, "{}")
    with opened() as run:
        began = time.monotonic()
        for number in range(12):
            run.text(f"number {number}", f"folder/{number} of 12.txt")
        assert time.monotonic() - began < 0.2, "the run does not wait for its files"
    assert status(run) == "FINISHED"
    assert len(place.files) == 12
    assert place.files[f"/there/{run.run_id}/artifacts/folder/3%20of%2012.txt"] == b"number 3"
    assert place.most_at_once == 4
    assert not at_work()


def test_a_folder_is_sent_with_its_folders(place: Place, tmp_path: Path) -> None:
    (tmp_path / "tf2model" / "variables").mkdir(parents=True)
    (tmp_path / "MLmodel").write_bytes(b"a")
    (tmp_path / "tf2model" / "variables" / "variables.index").write_bytes(b"")
    artifact_writer.send_folder(place.address, tmp_path)
    assert place.files == {"/there/MLmodel": b"a", "/there/tf2model/variables/variables.index": b""}


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_server_that_is_busy_is_asked_again(code: int, place: Place, opened: Callable[[], Any]) -> None:
    place.answer = lambda number: (code, "busy") if number == 0 else (200, "{}")
    with opened() as run:
        run.text("hello", "a.txt")
    assert list(place.files.values()) == [b"hello"]
    assert status(run) == "FINISHED"


FULL = "[Errno 28] No space left on device: '/srv/artifacts'"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, FULL), f"the server answers 500 {FULL}"),
        ((500, "<html>Internal Server Error"), "the server answers 500 <html>Internal Server Error"),
        ((403, "Permission denied"), "the server answers 403 Permission denied"),
        (None, "timed out"),
    ],
    ids=["full disk", "500 for ever", "forbidden", "silent"],
)
@pytest.mark.usefixtures("brief")
def test_a_file_that_cannot_be_sent_fails_the_run_and_is_named(
    answer: tuple[int, str] | None, says: str, place: Place, opened: Callable[[], Any]
) -> None:
    place.answer = after(0, *answer) if answer else after(3, 200, "{}")
    began = time.monotonic()
    with pytest.raises(InputError) as caught, opened() as run:
        run.text("hello", "confusion_matrix_test.json")
    assert time.monotonic() - began < 3
    location = f"{place.address}/{run.run_id}/artifacts"
    assert str(caught.value).startswith(
        f"the artifact confusion_matrix_test.json could not be written to {location}: {says}"
    )
    assert one_line(str(caught.value))
    assert status(run) == "FAILED"
    assert not at_work()


@pytest.mark.usefixtures("brief")
def test_after_a_file_that_could_not_be_sent_no_other_is_tried(place: Place) -> None:
    place.answer = lambda number: (403, "no")
    writer = ArtifactWriter(place.address)
    writer.write("a.txt", b"")
    with pytest.raises(InputError, match=r"the artifact a.txt could not be written"):
        writer.wait()
    with pytest.raises(InputError, match=r"the artifact a.txt could not be written"):
        writer.write("b.txt", b"")
    assert place.requests == 1


def test_a_place_without_a_door_is_one_line() -> None:
    with pytest.raises(InputError, match="artifacts cannot be written to nosuch://host/folder: ") as caught:
        ArtifactWriter("nosuch://host/folder").write("a.txt", b"")
    assert one_line(str(caught.value))


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "busy"])
def test_a_signal_while_files_are_on_their_way(
    silent: bool, place: Place, opened: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is KILLED within seconds, and nothing of it is sent any more."""
    place.answer = after(6 if silent else 0.01, 503, "busy")
    monkeypatch.setattr(store_client, "SHORT_SECONDS", 0.5)
    monkeypatch.setattr(terminal, "_stop_signal", None)
    before = {number: signal.getsignal(number) for number in terminal.STOPS}
    terminal.stop_on_signals()
    began = time.monotonic()
    try:
        with pytest.raises(SystemExit), opened() as run:  # noqa: PT012
            for number in range(20):
                run.text("hello", f"{number}.txt")
            threading.Timer(0.5, signal.raise_signal, [signal.SIGTERM]).start()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert time.monotonic() - began < 3
    assert status(run) == "KILLED"
    time.sleep(0.2)
    asked = place.requests
    time.sleep(2.5)
    assert place.requests == asked
    assert silent or not at_work()
