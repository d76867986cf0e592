"""A team's server: `mlflow server` on PostgreSQL with artifacts through the server, with and without basic-auth, as a
user has it; and its bad days.

The PostgreSQL is the one on 127.0.0.1:5432, where the user `postgres` may make databases without a password (or what
KESIKARAN_TEST_POSTGRES says); else one that is started here, where its programs are installed.
"""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import HOST, Made, one_line
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

pytestmark = pytest.mark.tensorflow

GIVEN = os.environ.get("KESIKARAN_TEST_POSTGRES", "postgresql+psycopg2://postgres@127.0.0.1:5432")
ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "a-password-of-the-test"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def own_postgres() -> Iterator[str]:
    """A PostgreSQL in a temporary folder; it refuses to run as root, so root starts it as the user postgres."""
    programs = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), Path(shutil.which("initdb") or "/none/x").parent]
    found = [folder for folder in programs if (folder / "initdb").exists()]
    if not found:
        pytest.skip(f"no PostgreSQL answers at {GIVEN}, and none is installed that could be started")
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="kesikaran-postgres-") as folder:
        Path(folder).chmod(0o777)
        data, port = Path(folder) / "data", free_port()
        call = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        pg_ctl = [*as_user, str(found[-1] / "pg_ctl"), "-D", str(data), "-w"]
        try:
            init = [str(found[-1] / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
            subprocess.run([*as_user, *init], **call)  # type: ignore[call-overload]
            subprocess.run([*pg_ctl, "-o", options, "start"], **call)  # type: ignore[call-overload]
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no PostgreSQL answers at {GIVEN}, and the installed one does not start: {error}")
        try:
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}"
        finally:
            subprocess.run([*pg_ctl, "-m", "immediate", "stop"], **call)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def database() -> Iterator[Callable[[], str]]:
    """Makes a fresh database and returns its address; it is dropped at the end."""
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("psycopg2 is not installed: pip install psycopg2-binary")
    with ExitStack() as stack:
        root = GIVEN
        try:
            create_engine(f"{root}/postgres", connect_args={"connect_timeout": 3}).connect().close()
        except SQLAlchemyError:
            root = stack.enter_context(own_postgres())
        engine = create_engine(f"{root}/postgres", isolation_level="AUTOCOMMIT")
        stack.callback(engine.dispose)

        def make() -> str:
            name = f"kesikaran_test_{uuid.uuid4().hex[:12]}"
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            stack.callback(drop, name)
            return f"{root}/{name}"

        def drop(name: str) -> None:
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

        yield make


@dataclass
class Server:
    """`mlflow server`. Killed with all its workers, and started again as it was."""

    folder: Path
    backend: str
    words: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; it answers some seconds later, see `wait`."""
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--port", str(self.port), "--workers", "2"]
        command += ["--backend-store-uri", self.backend, "--artifacts-destination", str(self.folder / "artifacts")]
        others = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.words], cwd=self.folder, env=others | self.variables, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=5)
                return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-2000:]
                time.sleep(0.3)

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def sql(self, query: str) -> list[Any]:
        engine = create_engine(self.backend)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(query))]
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def server(database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"), database())
    made.start()
    made.wait()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def guarded(database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same with `--app-name basic-auth`."""
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("basic-auth needs Flask-WTF: pip install 'mlflow[auth]'")
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {database()}\nadmin_username = admin\n"
        f"admin_password = {ADMIN['MLFLOW_TRACKING_PASSWORD']}\n"
    )
    variables = {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test"}
    made = Server(folder, database(), ["--app-name", "basic-auth"], variables)
    made.start()
    made.wait()
    yield made
    made.kill()


def start(store: Server | str, module: str, *words: str, **variables: str) -> "subprocess.Popen[str]":
    """`python -m kesikaran.MODULE WORDS` with a server, or what has this address, as its store."""
    address = store if isinstance(store, str) else store.address
    return subprocess.Popen(
        [sys.executable, "-m", f"kesikaran.{module}", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env={**os.environ, "MLFLOW_TRACKING_URI": address, **variables},
    )  # fmt: skip


def done(process: "subprocess.Popen[str]", code: int = 0) -> str:
    out, _ = process.communicate(timeout=180)
    assert process.returncode == code, out
    return out


SMALL = ["split.test=[0,70]", "split.validation=[70,140]"]


def test_train_sweep_and_compare(server: Server, made: Made, tmp_path: Path) -> None:
    """The user's three commands; the model that was logged is one that MLflow loads."""
    out = done(start(server, "train", *made.words, *SMALL, "tracking.run_name=alone"))
    (run_id,) = re.findall(r"^Run (\w{32}) in experiment made", out, re.MULTILINE)
    out = done(start(server, "train", "-m", *made.words, *SMALL, "seed=1,2", "tracking.log_model=false"))
    assert "2 seeds" in out
    ((sweep,),) = server.sql("SELECT DISTINCT value FROM tags WHERE key = 'sweep_id'")
    assert server.sql("SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", 4)]
    ((place,),) = server.sql("SELECT artifact_location FROM experiments WHERE name = 'made'")
    assert place.startswith("mlflow-artifacts:/"), "the server's place is taken"
    there = {path.name for path in server.folder.glob(f"artifacts/*/{run_id}/artifacts/*")}
    assert there >= {"config.yaml", "predictions.parquet", "confusion_matrix_test.png", "confusion_matrix_test.json"}
    page = tmp_path / "page.html"
    out = done(start(server, "compare", f"sweep:{sweep}", "--html", str(page)))
    assert f"Sweep {sweep}: 46 test images" in out
    assert "accuracy" in page.read_text()
    code = f"""
import glob, sys, numpy as np, mlflow
(model,) = mlflow.MlflowClient().search_logged_models([mlflow.get_experiment_by_name("made").experiment_id])
images = [open(path, "rb").read() for path in sorted(glob.glob({str(made.images)!r} + "/*"))[:3]]
found = mlflow.pyfunc.load_model(f"models:/{{model.model_id}}").predict(np.array(images, dtype=object))
assert model.source_run_id == {run_id!r} and model.status.value == "READY", model
print(np.asarray(found).shape)
"""
    where = {**os.environ, "MLFLOW_TRACKING_URI": server.address}
    loaded = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert "3" in loaded.stdout


def test_register_and_promote(server: Server) -> None:
    """The registry of a server: versions, aliases and links as MLflow has them there, and a promotion."""
    code = """
from registrable import finished, predictions
from kesikaran.tracking import registry
old, new = (finished(name, predictions(range(wrong))) for name, wrong in (("old", 40), ("new", 10)))
assert [registry.register(old, "cells") for _ in range(2)] == [1, 1]
registry.set_alias("cells", "champion", 1)
found = registry.resolve("models:/cells@champion")
assert (found.record, found.version) == (old, 1) and found.place.startswith("mlflow-artifacts:/"), found
print(new.run_id)
"""
    where = {**os.environ, "MLFLOW_TRACKING_URI": server.address, "PYTHONPATH": os.pathsep.join(sys.path)}
    prepared = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True)
    assert prepared.returncode == 0, prepared.stderr
    new = prepared.stdout.split()[-1]
    out = done(start(server, "cli", "promote", new, "--over", "models:/cells@champion"))
    assert f"models:/cells@champion is version 2 now, run {new} (new)." in out
    assert server.sql("SELECT version FROM registered_model_aliases WHERE alias = 'champion'") == [(2,)]
    assert server.sql("SELECT run_id FROM model_versions WHERE version = 2") == [(new,)]
    links = server.sql("SELECT tag_value FROM logged_model_tags WHERE tag_key = 'mlflow.modelVersions'")
    assert sorted(link.count("version") for (link,) in links) == [1, 1], links
    out = done(start(server, "cli", "promote", new, "--over", "models:/cells@best"), code=1)
    assert "registered model cells has no alias best; kesikaran publish RUN --register cells --alias best" in out


def test_two_machines_share_a_sweep(server: Server, made: Made, tmp_path: Path) -> None:
    """Each has a name and a cache of its own. A job that both train in a race counts once."""
    words = [
        "-m",
        *made.words,
        *SMALL,
        "seed=range(0,6)",
        "tracking.log_model=false",
        "data.name=shared",
        "fit.epochs=2",
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, host, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "MLFLOW_TRACKING_URI": server.address, "KESIKARAN_CACHE": str(tmp_path / host)},
        )
        for host in ("one", "two")
    ]  # fmt: skip
    for process in processes:
        assert "6 of 6 jobs finished" in done(process)
    of_shared = "JOIN experiments USING (experiment_id) WHERE experiments.name = 'shared'"
    active = f"{of_shared} AND runs.lifecycle_stage = 'active'"
    found = server.sql(f"SELECT runs.name, status FROM runs {active}")
    assert {status for _, status in found} == {"FINISHED"}
    assert {name for name, _ in found} == {*(f"seed={seed}" for seed in range(6)), "sweep: seed=range(0,6)"}
    assert len(found) <= 8, "at most one race was lost"
    hosts = server.sql(f"SELECT DISTINCT value FROM tags JOIN runs USING (run_uuid) {active} AND key = 'host'")
    assert sorted(hosts) == [("one",), ("two",)]


def test_a_server_that_is_killed_for_20_seconds_in_the_middle_of_a_sweep(server: Server, made: Made) -> None:
    words = ["-m", *made.words, *SMALL, "seed=11,12,13,14", "tracking.log_model=false", "data.name=outage"]
    sweep = start(server, "train", *words)
    assert sweep.stdout is not None
    lines = []
    for line in sweep.stdout:
        lines.append(line)
        if line.startswith("Features of "):
            break
    server.kill()
    time.sleep(20)
    server.start()
    out = "".join(lines) + done(sweep)
    assert "it is waited for, 366 s at most." in out
    assert "View run" not in out, "a job prints one line"
    found = server.sql(
        "SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = 'outage'"
    )
    assert [status for _, status in found] == ["FINISHED"] * 5
    whole = server.folder.glob("artifacts/*/*/artifacts/predictions.parquet")
    assert len({path.parent.parent.name for path in whole} & {run_id for run_id, _ in found}) == 4


def test_a_server_that_does_not_come_back_is_one_line(server: Server, made: Made) -> None:
    words = ["-m", *made.words, *SMALL, "seed=21,22,23", "tracking.log_model=false", "data.name=gone"]
    sweep = start(server, "train", *words, MLFLOW_HTTP_REQUEST_MAX_RETRIES="2")
    assert sweep.stdout is not None
    next(line for line in sweep.stdout if line.startswith("Features of "))
    server.kill()
    began = time.monotonic()
    try:
        out = done(sweep, code=1)
    finally:
        server.start()
    assert time.monotonic() - began < 30
    *_, last = out.strip().splitlines()
    assert out.count("error: ") == 1
    assert last.startswith(f"error: the store {server.address} does not answer any more (connection refused")
    assert one_line(last)
    server.wait()


def test_basic_auth(guarded: Server, made: Made) -> None:
    words = [*made.words, *SMALL, "tracking.log_model=false"]
    out = done(start(guarded, "train", *words, **ADMIN))
    (run_id,) = re.findall(r"^Run (\w{32}) in experiment made", out, re.MULTILINE)
    assert guarded.sql("SELECT run_uuid, status FROM runs") == [(run_id, "FINISHED")]
    wrong = ADMIN | {"MLFLOW_TRACKING_PASSWORD": "another-password"}
    refused = f"error: the store {guarded.address} does not know the user admin by this password: set MLFLOW_TRACKING_"
    tried = [start(guarded, "train", *words, **wrong), start(guarded, "compare", "x", "y", **wrong)]
    nobody = start(guarded, "train", *words)
    for process in tried:
        (line,) = done(process, code=1).splitlines()
        assert line.startswith(refused)
        assert one_line(line)
        assert "another-password" not in line
    (line,) = done(nobody, code=1).splitlines()
    assert "wants to know who asks: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line


def test_a_user_without_the_right(guarded: Server, made: Made) -> None:
    import requests

    bob = {"MLFLOW_TRACKING_USERNAME": "bob", "MLFLOW_TRACKING_PASSWORD": "a-password-of-bob"}
    url = f"{guarded.address}/api/2.0/mlflow/users/create"
    body = {"username": "bob", "password": bob["MLFLOW_TRACKING_PASSWORD"]}
    requests.post(url, json=body, auth=tuple(ADMIN.values()), timeout=30).raise_for_status()  # type: ignore[arg-type]
    words = [*made.words, *SMALL, "tracking.log_model=false"]
    (line,) = done(start(guarded, "train", *words, **bob), code=1).splitlines()
    assert "does not allow this to the user bob" in line
    assert "ask for the permission EDIT, or give another data.name=" in line
    assert one_line(line)
    done(start(guarded, "train", *words, "data.name=bobs", **bob))


@pytest.mark.parametrize("kind", ["file", "PostgreSQL"])
def test_a_store_of_an_older_schema(kind: str, database: Callable[[], str], tmp_path: Path) -> None:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    address = f"sqlite:///{tmp_path}/mlflow.db" if kind == "file" else database()
    (tmp_path / "mlruns").mkdir()
    make = f"import mlflow; mlflow.set_tracking_uri({address!r}); mlflow.MlflowClient().search_experiments()"
    subprocess.run([sys.executable, "-c", make], check=True, capture_output=True)
    scripts = ScriptDirectory.from_config(_get_alembic_config(address))
    older = scripts.get_revision(scripts.get_current_head() or "").down_revision
    engine = create_engine(address)
    for version, modules, says in [
        (
            str(older),
            ("train", "compare"),
            f"was written by an older MLflow: make a backup of it, then: mlflow db upgrade {address}",
        ),
        ("ffffffffffff", ("compare",), "was written by a newer MLflow than "),
    ]:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
        words = {"train": ["experiment=debug"], "compare": ["x", "y"]}
        for process in [start(address, module, *words[module]) for module in modules]:
            *_, line = done(process, code=1).splitlines()
            assert line.startswith("error: ")
            assert says in line
            assert one_line(line)
    engine.dispose()
