"""The store: opened by many at once, found by a bare `mlflow ui`, refused in one line where it is out of reach; its
password stays hidden."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from conftest import one_line

from kesikaran.core.errors import InputError
from kesikaran.tracking import artifacts, queries, run_store, runs, store_address, store_file

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def tracking_uri(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow's own address is put back after each test."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")  # put back afterwards
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store that is not there yet."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(run_store, "_uri_given", uri)
    return uri


def test_four_processes_open_a_fresh_store_at_once(tmp_path: Path) -> None:
    code = "from kesikaran.tracking import runs\nwith runs.run('x', None, {'a': '1'}) as run:\n    print(run.run_id)"
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, env=where, stdout=-1, stderr=-1, text=True) for _ in range(4)]
    for process in started:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    found = mlflow.MlflowClient(where["MLFLOW_TRACKING_URI"]).search_runs(["1"])
    assert [run.info.status for run in found] == ["FINISHED"] * 4


def test_a_bare_mlflow_ui_shows_the_run_and_its_artifacts(tmp_path: Path) -> None:
    code = """
from kesikaran.tracking import runs
with runs.run("made", "a name", {"a": "1"}) as run:
    run.text("hello", "hello.txt")
    print(run.run_id)
"""
    where = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    # A folder that is no checkout, as for an installed wheel: the package is found, its store is here.
    where["PYTHONPATH"] = str(tmp_path / "site")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "kesikaran").symlink_to(Path(runs.__file__).parents[1])
    code = code.replace("from kesikaran.tracking import runs", """
from pathlib import Path
from kesikaran.core import paths
from kesikaran.tracking import runs
paths.checkout = lambda: None
""")  # fmt: skip
    run_id = subprocess.run(
        [sys.executable, "-c", code], env=where, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui = subprocess.Popen(
        [Path(sys.executable).with_name("mlflow"), "ui", "--port", str(port)],
        env=where, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        found = _ask(port, "api/2.0/mlflow/runs/search", {"experiment_ids": ["1"]})
        assert [run["info"]["run_name"] for run in found["runs"]] == ["a name"]
        url = f"http://127.0.0.1:{port}/get-artifact?path=hello.txt&run_uuid={run_id}"
        assert urllib.request.urlopen(url).read() == b"hello"
    finally:
        os.killpg(ui.pid, 15)
        ui.wait()


def _ask(port: int, path: str, body: dict[str, Any]) -> Any:
    """POST to the server, once it answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    deadline = time.monotonic() + 90
    while True:
        try:
            return json.load(urllib.request.urlopen(request))
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, "mlflow ui does not answer"
            time.sleep(0.5)


def test_an_experiment_of_a_server_is_refused(fresh: str) -> None:
    mlflow.MlflowClient(fresh).create_experiment("made", artifact_location="mlflow-artifacts:/1")
    with pytest.raises(InputError, match=r"set MLFLOW_TRACKING_URI to it, or give another data.name="):
        run_store.open_experiment("made")


def test_another_process_makes_the_experiment_meanwhile(fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store on a server no lock keeps two processes apart."""
    experiment = run_store.open_experiment("made")
    found = mlflow.MlflowClient.get_experiment_by_name
    names: list[str] = []

    def asked(self: Any, name: str) -> Any:
        names.append(name)
        return None if len(names) == 1 else found(self, name)

    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", asked)
    assert run_store.open_experiment("made") == experiment
    assert len(names) == 2


def test_a_deleted_experiment_is_refused(fresh: str) -> None:
    experiment = run_store.open_experiment("made")
    mlflow.MlflowClient(fresh).delete_experiment(experiment)
    with pytest.raises(InputError, match=f"restore it .*--experiment-id {experiment}.* or give another data.name="):
        run_store.open_experiment("made")


def test_a_store_that_cannot_be_read(fresh: str, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(
        InputError, match=r"the store .* is no SQLite file: put its backup back, or delete it"
    ) as caught:
        run_store.open_experiment("made")
    assert "\n" not in str(caught.value)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on loopback, with its own store; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--port", uri.rsplit(":")[-1], "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    process = subprocess.Popen(
        [*command, "--artifacts-destination", str(tmp_path / "artifacts")], cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health")
                break
            except OSError:
                assert time.monotonic() < deadline, "mlflow server does not answer"
                time.sleep(0.3)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def refusal(call: Any, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        call(*words)
    assert one_line(str(caught.value))
    return str(caught.value)


def test_a_server_as_the_store(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under an address with a password, which a server without authentication passes over."""
    given, shown = (server.replace("://", f"://user:{word}@") for word in ("s%40cret", "***"))
    monkeypatch.setattr(run_store, "_uri_given", given)
    with runs.run("records", "on a server", {}) as run:
        run.text("hello", "a.txt")
    assert queries.finished("on a server") == queries.find(run.run_id[:8])
    assert artifacts.text(run.run_id, "a.txt") == "hello"
    assert run_store.look_at(run.run_id, "7").startswith(f"{shown}/#/experiments/")
    assert refusal(queries.find, "nobody").startswith(f"there is no run nobody in {shown}; ")
    assert refusal(artifacts.text, "0" * 32, "a.txt").startswith(
        f"a.txt of run {'0' * 32} cannot be read from {shown}: "
    )
    assert refusal(artifacts.label_doubts, "").startswith(f"no finished run in {shown} has a label_doubts.csv; ")
    mlflow.MlflowClient().delete_experiment(run.experiment_id)
    assert f"experiment 'records' is deleted in {shown}: " in refusal(run_store.open_experiment, "records")
    assert "cret" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["http", "database"])
def test_a_store_that_is_not_there_is_named_without_its_password(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"http": "http://user:secret@127.0.0.1:1", "database": "nosuchdb://user:secret@127.0.0.1/runs"}[name]
    monkeypatch.setattr(run_store, "_uri_given", given)
    shown = given.replace("secret", "***")
    for message in (refusal(queries.find, "x"), refusal(run_store.open_experiment, "x")):
        assert shown in message
        assert "secret" not in message


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://user:s@cret@host:5000", "http://user:***@host:5000/#/experiments/7/runs/r"),
        (
            "postgresql://user:p%40ss/word@host/db",
            "mlflow ui --backend-store-uri postgresql://user:***@host/db   (then ",
        ),
        ("sqlite:////tmp/a@b/mlflow.db", "mlflow ui --backend-store-uri sqlite:////tmp/a@b/mlflow.db   (then "),
    ],
)
def test_where_to_look_has_no_password(given: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_uri_given", given)
    assert run_store.look_at("r", "7").startswith(shown)


def test_a_start_that_is_killed_leaves_no_half_made_store(tmp_path: Path) -> None:
    """Killed between MLflow's tables and its migrations, where the tables that tell a store from another file are."""
    code = """
import os, sys
from kesikaran.tracking import run_store
from mlflow.store.db import utils
if sys.argv[1] == "killed":
    utils._upgrade_db = lambda engine: os._exit(9)
print(run_store.open_experiment("made"))
"""
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}

    def begin(how: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, how], env=where, capture_output=True, text=True, timeout=120)

    assert begin("killed").returncode == 9
    assert not (tmp_path / "mlflow.db").exists()
    (tmp_path / ".mlflow.db.new-journal").write_bytes(b"of a transaction that was cut off")
    again = begin("again")
    assert (again.returncode, again.stdout) == (0, "1\n"), again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlruns"]


def test_a_locked_store_is_one_line(fresh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_store.open_experiment("made")
    monkeypatch.setattr(store_file, "_LOCKED_SECONDS", 0.2)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is locked by another program for more than 0.2 s: end that one" in refusal(
            run_store.open_experiment, "a"
        )
        assert "is locked by another program" in refusal(queries.find, "a")


@pytest.mark.parametrize("given", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_a_store_in_memory_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_uri_given", given)
    assert "is a store that ends with this command" in refusal(run_store.open_experiment, "made")


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("kind", ["http", "postgresql+psycopg2", "mysql"])
def test_a_store_that_never_answers_is_told_in_seconds(kind: str, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow asks seven times, two minutes each."""
    monkeypatch.setattr(store_address, "_ANSWERS_SECONDS", 1.0)
    monkeypatch.setattr(store_address, "_WAITED_SECONDS", 2.0)
    monkeypatch.setattr(run_store, "_uri_given", f"{kind}://user:secret@127.0.0.1:{silent}/runs")
    for message in (refusal(queries.find, "x"), refusal(run_store.open_experiment, "x")):
        assert message.startswith((
            f"the store {kind}://user:***@127.0.0.1:{silent}/runs cannot be reached: ",
            f"the store {kind}://user:***@127.0.0.1:{silent}/runs cannot be opened: ",
        ))  # fmt: skip
        said = ("timed out", "no answer within 2 s", "is not installed: pip install ")
        assert any(words in message for words in said)


def test_each_address_is_given_ten_seconds_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is looked up, or an answer byte by byte, has no limit of its own."""
    monkeypatch.setattr(store_address, "_WAITED_SECONDS", 0.1)
    monkeypatch.setattr(store_address, "_ask", lambda _: time.sleep(3))
    assert "no answer within 0.1 s" in refusal(store_address.need_answer, "http://slow.invalid")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://user:secret@127.0.0.1:1", "connection refused; start it, or change MLFLOW_TRACKING_URI"),
        (
            "postgresql://user:secret@127.0.0.1:1/runs",
            "the Python package psycopg is not installed: pip install psycopg",
        ),
        (
            "mysql://user:secret@127.0.0.1:1/runs",
            "the Python package MySQLdb is not installed: pip install mysqlclient",
        ),
        (
            "mssql+pyodbc://user:secret@127.0.0.1:1/runs",
            "the Python package pyodbc is not installed: pip install pyodbc",
        ),
    ],
)
def test_a_store_that_cannot_be_reached_says_why(uri: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_uri_given", uri)
    for message in (refusal(queries.find, "x"), refusal(run_store.open_experiment, "x")):
        assert says in message
        assert "secret" not in message


def test_a_signal_waits_for_a_read_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that was broken off locked the store: the run could not be closed and stayed RUNNING."""
    from kesikaran.core import terminal

    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = run_store.open_experiment("made")
    run_id = mlflow.MlflowClient().create_run(experiment).info.run_id
    read = []

    def interrupted(client: Any, run_id: str) -> Any:
        signal.raise_signal(signal.SIGTERM)
        read.append(run_id)
        return get_run(client, run_id)

    def search() -> None:
        with run_store.reading("a run") as client:
            client.get_run(run_id)

    get_run = mlflow.MlflowClient.get_run
    monkeypatch.setattr(mlflow.MlflowClient, "get_run", interrupted)
    monkeypatch.setattr(terminal, "_stop_signal", None)  # put back afterwards
    before = {number: signal.getsignal(number) for number in terminal.STOPS}
    terminal.stop_on_signals()
    try:
        with pytest.raises(SystemExit):
            search()
        assert read == [run_id]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
