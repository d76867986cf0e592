"""A store that was moved or copied: seen, and set right in every address or in none."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from conftest import Done, refused

from kesikaran.core.errors import InputError
from kesikaran.tracking import artifacts, relocate, run_store, runs, store_file

pytestmark = pytest.mark.tensorflow
NAMES = ["plain", "a%2Fb", "a%25b", "a?b", "a#b", "a b", "aé", "a;b"]


@pytest.fixture(autouse=True)
def tracking_uri() -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """From now on the store is that in the folder; its file."""
    monkeypatch.setattr(run_store, "_uri_given", store_file.address(folder / "mlflow.db"))
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store without runs: MLflow takes seconds to make one."""
    folder = tmp_path_factory.mktemp("empty")
    mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


def made(folder: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in the folder with one run and its file; the run's id."""
    shutil.copy(empty, folder)
    at(folder, monkeypatch)
    with runs.run("made", "a", {}) as run:
        run.text("hello", "a.txt")
    return run.run_id


@pytest.mark.parametrize("name", NAMES)
def test_moved_seen_set_right_and_written_here(
    name: str, tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the folder is called: SQLAlchemy decodes %XX in the address of a store, and cuts it at a ?."""
    old, new = tmp_path / f"old {name}", tmp_path / name
    old.mkdir()
    run_id = made(old, empty, monkeypatch)
    assert {path.name for path in tmp_path.iterdir()} == {old.name}
    old.rename(new)
    database = at(new, monkeypatch)
    refused(f"{database} was moved or copied from {old}", artifacts.text, run_id, "a.txt")
    refused(f"{database} was moved or copied from {old}", run_store.open_experiment, "made")
    done = relocate.relocate(database)
    assert (done.old, done.new, done.without_files) == (old, new, 0)
    assert done.counts == {"experiments.artifact_location": 1, "runs.artifact_uri": 1}
    assert artifacts.text(run_id, "a.txt") == "hello"
    with runs.run("made", "b", {}) as run:
        run.text("hello", "b.txt")
    assert [str(path.parent.name) for path in new.rglob("b.txt")] == ["artifacts"]
    assert {path.name for path in tmp_path.iterdir()} == {new.name}
    with pytest.raises(InputError, match="nothing is to be done"):
        relocate.relocate(database)


def test_a_copy_writes_nothing_into_its_original(tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    run_id = made(tmp_path / "one", empty, monkeypatch)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = sorted((tmp_path / "one").rglob("*"))
    database = at(tmp_path / "two", monkeypatch)
    refused("was moved or copied from", run_store.open_experiment, "made")
    refused("was moved or copied from", artifacts.text, run_id, "a.txt")
    shutil.rmtree(tmp_path / "two" / "mlruns")
    assert artifacts.text(run_id, "a.txt") == "hello"  # of a copy of the file alone, from where its files are
    with pytest.raises(InputError, match="mlruns is not there: move or copy "):
        relocate.relocate(database)
    (tmp_path / "two" / "mlruns").mkdir()
    with pytest.raises(
        InputError, match=r"the files of 1 of 1 runs are in .*one and not in .*two, the first mlruns/made/"
    ):
        relocate.relocate(database)
    shutil.copytree(tmp_path / "one" / "mlruns", tmp_path / "two" / "mlruns", dirs_exist_ok=True)
    relocate.relocate(database)
    with runs.run("made", "b", {}) as run:
        run.text("hello", "b.txt")
    assert sorted((tmp_path / "one").rglob("*")) == before


def addresses(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as db:
        found = []
        for table, column in relocate.COLUMNS:
            found += [value for (value,) in db.execute(f"SELECT {column} FROM {table}") if value]
        return sorted(found)


def test_all_addresses_or_none(
    tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
) -> None:
    from kesikaran.cli import __main__ as command

    (tmp_path / "one").mkdir()
    run_id = made(tmp_path / "one", empty, monkeypatch)
    client = mlflow.MlflowClient()
    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, "model", source_run_id=run_id)
    (tmp_path / "one" / "mlruns" / "made" / "models" / model.model_id / "artifacts").mkdir(parents=True)
    client.create_registered_model("cells")
    client.create_model_version("cells", f"models:/{model.model_id}", run_id)
    (tmp_path / "one").rename(tmp_path / "two")
    database = at(tmp_path / "two", monkeypatch)
    before = addresses(database)
    done = run(command.main, "kesikaran", "store", "relocate", "--dry-run")
    assert done.code == 0, done.err
    assert "would be set" in done.out
    assert addresses(database) == before
    done = run(command.main, "kesikaran", "store", "relocate", tmp_path / "three")
    assert (done.code, "has an address in" in done.err) == (1, True)
    done = run(command.main, "kesikaran", "store", "relocate")
    assert done.code == 0, done.err
    for column in ("experiments.artifact_location", "runs.artifact_uri", "logged_models.artifact_location",
                   "model_versions.storage_location"):  # fmt: skip
        assert column in done.out
    old = str(tmp_path / "one")
    assert addresses(database) == sorted(value.replace(old, str(tmp_path / "two")) for value in before)
    assert sum(old in value for value in before) >= 4
    with closing(sqlite3.connect(database)) as db:
        dump = [line for line in db.iterdump() if f"{old}/mlruns" in line]
    # The Default experiment that MLflow makes is where the process was; nothing else names the old place.
    assert dump == []


def test_an_experiment_in_a_place_of_the_users_choice_is_none_that_was_moved(
    tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty, tmp_path)
    database = at(tmp_path, monkeypatch)
    run_store.open_experiment("made")
    for name, location in (("disk", tmp_path / "disk"), ("mlruns", tmp_path / "big" / "mlruns" / "mine"),
                           ("server", tmp_path / "art" / "mlruns" / "7")):  # fmt: skip
        location.mkdir(parents=True)
        mlflow.create_experiment(name, artifact_location=location.as_uri())
        run_store.open_experiment(name)
    for elsewhere in ("s3://bucket/mlruns/made", "mlflow-artifacts:/1", str(database.parent / "mlruns" / "made")):
        assert store_file.left_behind(database, elsewhere) is None
    assert store_file.left_behind(database, "/gone/mlruns/7") == Path("/gone")
    (tmp_path / "big" / "mlflow.db").touch()  # now it is the place of another store, from which this one was copied
    assert store_file.left_behind(database, str(tmp_path / "big" / "mlruns" / "mine")) == tmp_path / "big"


def test_of_several_old_folders_one_is_to_be_named(
    tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty, tmp_path)
    database = at(tmp_path, monkeypatch)
    run_store.open_experiment("made")  # and with it mlruns
    for folder in ("one", "two"):
        mlflow.create_experiment(folder, artifact_location=(tmp_path / folder / "mlruns" / "x").as_uri())
    before = addresses(database)
    refused("several folders", relocate.relocate, database)  # with that of MLflow's own experiment
    assert addresses(database) == before
    assert relocate.relocate(database, tmp_path / "two").counts == {"experiments.artifact_location": 1}
    assert addresses(database) == sorted(value.replace(f"{tmp_path}/two", str(tmp_path)) for value in before)


def test_a_store_that_is_no_file_is_not_relocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_uri_given", "http://user:secret@host")
    refused("the store is http://user:***@host, not a file", run_store.database)


# What a webhook, an access point or a record of an evaluation names is no file of a run; kesikaran makes no workspace.
BESIDE = {("datasets", "dataset_source"), ("evaluation_dataset_records", "source"), ("mcp_access_endpoints", "url"),
          ("mcp_server_versions", "source"), ("webhooks", "url"), ("workspaces", "default_artifact_root"),
          ("workspaces", "trace_archival_location")}  # fmt: skip


def test_no_column_with_addresses_is_forgotten(empty: Path) -> None:
    """Columns of MLflow's tables that are called like an address: a newer MLflow may bring more."""
    with closing(sqlite3.connect(empty)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        named = {
            (table, column)
            for table in tables
            for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))
            if column.endswith(("uri", "location", "path", "source", "url")) or "artifact" in column
        }
    assert named - BESIDE == set(relocate.COLUMNS) - {("trace_tags", "value")}
