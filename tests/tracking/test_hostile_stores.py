"""Stores that lie, each through evaluate and compare, and those that a training would write to through a training: a
stated refusal in one line, or a right result."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from conftest import Done, Made, one_line

from kesikaran.tracking import run_store

pytestmark = pytest.mark.tensorflow
SECRET = "a-secret-of-the-reader"


@dataclass(frozen=True)
class Store:
    """A folder with `mlflow.db` and `mlruns`, of two finished runs on the same images, the jobs of a sweep."""

    folder: Path
    a: str
    b: str
    sweep: str

    @property
    def database(self) -> Path:
        return self.folder / "mlflow.db"

    def sql(self, *statement: Any) -> None:
        with closing(sqlite3.connect(self.database)) as db, db:
            db.execute("PRAGMA ignore_check_constraints = 1")
            db.execute(*statement)

    def file(self, name: str) -> Path:
        """A file of run A."""
        (found,) = self.folder.glob(f"mlruns/*/{self.a}/artifacts/{name}")
        return found

    def addresses(self, old: Path, new: Path) -> None:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            self.sql(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(old), str(new)))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Store:
    """Trained by a process of its own."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("original")
    words = [
        "-m",
        *made.words,
        "seed=1,2",
        "tracking.log_model=false",
        "split.test=[0,70]",
        "split.validation=[70,140]",
    ]
    where = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    subprocess.run([sys.executable, "-m", "kesikaran.train", *words], env=where, check=True, capture_output=True)
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        ids = dict(db.execute("SELECT name, run_uuid FROM runs").fetchall())
        (sweep,) = db.execute("SELECT DISTINCT value FROM tags WHERE key = 'sweep_id'").fetchone()
    return Store(folder, ids["seed=1"], ids["seed=2"], sweep)


@pytest.fixture(autouse=True)
def tracking_uri(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("SECRET", SECRET)
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture
def store(original: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy that is set right, which the test makes lie."""
    shutil.copytree(original.folder, tmp_path / "store", symlinks=True)
    copy = Store(tmp_path / "store", original.a, original.b, original.sweep)
    copy.addresses(original.folder, copy.folder)
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{copy.database}")
    return copy


@pytest.fixture
def call(run: Callable[..., Done], store: Store, made: Made, tmp_path: Path) -> Callable[[str], Done]:
    """evaluate of run A, compare of A and B, compare of the sweep, or a training into the store."""
    from kesikaran.cli import compare, evaluate, train

    page = ["--html", str(tmp_path / "page.html")]
    words = {
        "evaluate": (evaluate.main, store.a, "decision=prior_shift"),
        "compare": (compare.main, store.a, store.b, *page),
        "sweep": (compare.main, f"sweep:{store.sweep}", *page),
        "train": (train.main, *made.words, "tracking.log_model=false"),
    }

    def call(command: str) -> Done:
        main, *rest = words[command]
        return run(main, f"kesikaran {command}", *rest)

    return call


def config(change: Callable[[str], str]) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        store.file("config.yaml").write_text(change(store.file("config.yaml").read_text()))

    return damage


def table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        path = store.file("predictions.parquet")
        change(pd.read_parquet(path)).to_parquet(path, index=False)

    return damage


def lists(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(object_id=pd.Series([[1]] * len(rows), dtype=object))


def param(key: str, value: str) -> Callable[[Store], None]:
    return lambda store: store.sql("UPDATE params SET value = ? WHERE key = ? AND run_uuid = ?", (value, key, store.a))


def tag(key: str, value: str) -> Callable[[Store], None]:
    return lambda store: store.sql("UPDATE tags SET value = ? WHERE key = ?", (value, key))


def replaced(make: Callable[[Path], Any]) -> Callable[[Store], None]:
    """The store's file replaced by what `make` makes."""

    def damage(store: Store) -> None:
        store.database.unlink()
        make(store.database)

    return damage


def foreign(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("CREATE TABLE bookmarks (url)")


def half_made(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("CREATE TABLE experiments (experiment_id)")


def link(name: str, target: str) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        path = store.file(name)
        path.unlink()
        path.symlink_to(target)

    return damage


def pipe(store: Store) -> None:
    path = store.file("predictions.parquet")
    path.unlink()
    os.mkfifo(path)


# name: (what makes the store lie, command -> what it says; "" for a right result)
BOTH = ("evaluate", "compare")
EVERY = (*BOTH, "sweep", "train")
LIES: dict[str, tuple[Callable[[Store], Any], tuple[str, ...], str]] = {
    "nothing": (lambda store: None, BOTH, ""),
    "config: 0 bytes": (config(lambda text: ""), ("evaluate",), "it holds no settings; train again"),
    "config: half": (config(lambda text: text[:900]), ("evaluate",), "config.yaml of run"),
    "config: a secret": (config(lambda text: re.sub("labels: .*", "labels: ${oc.env:SECRET}", text)), ("evaluate",),
                         "data.labels holds ${, and nothing is looked up"),
    "config: another value": (config(lambda text: text.replace("lr: 0.3", "lr: 0.7")), ("evaluate",),
                              "it has optimizer.lr=0.7, the run was made with 0.3; train again"),
    "config: aliases": (config(lambda text: "a: &a [x, x]\nb: [*a, *a]\n" + text), ("evaluate",), "an alias (*) "),
    "config: deep": (config(lambda text: "a: " + "[" * 20_000), ("evaluate",), "nesting deeper than 10"),
    "config: a million letters": (config(lambda text: "#" * 1_000_000), ("evaluate",), "it has 1,000,000 bytes"),
    "config: a device": (link("config.yaml", "/dev/zero"), ("evaluate",), "it is no file of at most"),
    "table: no split": (table(lambda rows: rows.drop(columns="split")), BOTH, "it has no column split"),
    "table: probability": (table(lambda rows: rows.assign(probability=-5.0)), BOTH, "its column probability holds"),
    "table: lists": (table(lists), BOTH, "its column object_id holds"),
    "table: one side": (table(lambda rows: rows[rows["split"] == "test"]), ("evaluate",), "it has no train images"),
    "table: log-odds": (table(lambda rows: rows.assign(log_odds=float("inf"))), BOTH, "its column log_odds holds what"),
    "table: cut off": (lambda store: os.truncate(store.file("predictions.parquet"), 3000), BOTH, "no Parquet file"),
    "table: a device": (link("predictions.parquet", "/dev/zero"), BOTH, "it is no file of at most"),
    "table: a pipe": (pipe, BOTH, "it is no file of at most"),
    "table: nowhere": (link("predictions.parquet", "nowhere"), BOTH, "predictions.parquet"),
    "param: confidence": (param("evaluation.confidence", "nan"), ("compare",), "confidence=nan is not allowed"),
    "param: bins": (param("evaluation.calibration_bins", "1000000000"), ("compare",), "1 to 1000"),
    "param: no number": (param("evaluation.calibration_bins", "many"), ("compare",), "cannot be used: invalid literal"),
    "param: no metric": (param("evaluation.verdict", "\x1b[31mx"), ("compare",), "evaluation.verdict="),
    "param: megapixels": (param("data.max_megapixels", "many"), ("compare",), "megapixels=many is not allowed"),
    "param: pixels of none": (param("data.max_megapixels", "nan"), ("compare",), "megapixels=nan is not allowed"),
    "tag: no JSON": (tag("overrides", "{"), ("sweep",), "not a JSON object of texts: delete the run"),
    "tag: a list": (tag("overrides", "[1]"), ("sweep",), "not a JSON object of texts: delete the run"),
    "tag: no number": (tag("selection_shift", "x"), ("sweep",), "not a number: delete the run"),
    "row: a status": (lambda store: store.sql("UPDATE runs SET status = 'ODD' WHERE 1"), BOTH, "ODD"),
    "row: another place": (lambda store: store.sql("UPDATE runs SET artifact_uri = 'file:///etc'"), BOTH, "has no "),
    "row: no place": (lambda store: store.sql("UPDATE runs SET artifact_uri = NULL"), BOTH, ""),
    "file: 0 bytes": (replaced(Path.touch), EVERY, "is empty (0 bytes): put its backup back, or delete it"),
    "file: text": (replaced(lambda path: path.write_text("hello\n" * 99)), EVERY, "is no SQLite file: put its backup"),
    "file: a folder": (replaced(Path.mkdir), EVERY, "is a folder, not a SQLite file"),
    "file: cut off": (lambda store: os.truncate(store.database, 20_000), EVERY, "is cut off, it lacks "),
    "file: a page of noise": (lambda store: noise(store.database), EVERY, "mlflow.db"),
    "file: another program's": (replaced(foreign), EVERY, "is no store of runs, it is of another program: "),
    "file: half made": (replaced(half_made), EVERY, "it is half made, by a start that was killed: "),
    "file: newer": (lambda store: store.sql("UPDATE alembic_version SET version_num = 'ffffffffffff'"), EVERY,
                    "was written by a newer MLflow than"),
    "moved": (lambda store: store.addresses(store.folder, Path("/gone/checkout")), EVERY,
              "was moved or copied from /gone/checkout, and its runs' files are still"),
    "copied": (lambda store: store.addresses(store.folder, copied(store)), EVERY, "kesikaran store relocate sets"),
}  # fmt: skip


def noise(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[100:4096] = b"\xa5" * 3996
    database.write_bytes(content)


def copied(store: Store) -> Path:
    """The original of which the store is now a copy."""
    return Path(shutil.copytree(store.folder, store.folder.with_name("the original")))


@pytest.mark.parametrize("name", LIES)
def test_a_store_that_lies(name: str, store: Store, call: Callable[[str], Done]) -> None:
    lie, commands, says = LIES[name]
    lie(store)
    for command in commands:
        before = sorted(store.folder.rglob("*"))
        done = call(command)
        *_, last = (done.err or done.out).strip().splitlines()
        assert SECRET not in done.out + done.err
        if not says and done.code == 0:
            continue
        assert done.code == 1, done
        assert says in last
        assert one_line(last)
        assert "Traceback" not in done.err
        new = set(store.folder.rglob("*")) - set(before)
        assert {path.name for path in new} <= {".store.lock", "mlruns", "mlflow.db-journal"}, "a refusal leaves no run"
