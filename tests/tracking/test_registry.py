"""MLflow's registry: a run becomes one version, an alias names a version, and every refusal is one line."""

import os
import shlex
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from conftest import refused
from registrable import finished

from kesikaran.tracking import models, queries, registry, run_store, runs, store_client, sweeps
from kesikaran.tracking.queries import Record

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def name() -> str:
    """Of a registered model that no other test has."""
    return f"cells {uuid.uuid4().hex[:8]}'s"


@pytest.fixture(scope="module")
def run() -> Record:
    """A run with a model, which no test changes."""
    return finished("a run")


def place_of(client: Any, run: Record) -> Path:
    location: str = models.of_run(client, run).artifact_location
    return Path(location.removeprefix("file://"))


def test_registered_once_named_and_found(name: str, run: Record, client: Any) -> None:
    assert registry.register(run, name) == 1
    assert registry.register(finished("another"), name) == 2
    assert registry.register(run, name) == 1, "a run keeps its version"
    assert registry.register(finished("third"), name) == 3, "and takes no number for it"
    assert [v.version for v in client.search_model_versions(f"run_id = '{run.run_id}'") if v.name == name] == [1]
    registry.set_alias(name, "champion", 1)
    found = registry.resolve(f"models:/{name}@champion")
    assert (found.name, found.version, found.record) == (name, 1, run)
    assert found.place == place_of(client, run)
    assert registry.resolve(f"models:/{name}/1") == found
    registry.set_alias(name, "champion", 2)
    assert registry.resolve(f"models:/{name}@champion").record.name == "another"
    assert registry.resolve(f"models:/{name}/1") == found


def test_mlflow_has_it_as_its_own(name: str, run: Record, client: Any) -> None:
    """Its pages go from the model to the version, and its address leads to the files."""
    registry.register(run, name)
    registry.set_alias(name, "champion", 1)
    tags = client.get_logged_model(models.of_run(client, run).model_id).tags
    assert f'{{"name": "{name}", "version": 1}}' in tags["mlflow.modelVersions"]
    folder = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}@champion")
    assert (Path(folder) / models.SAVED_MODEL / "saved_model.pb").exists()


def test_a_version_that_was_deleted_is_made_anew(name: str, run: Record, client: Any) -> None:
    registry.register(run, name)
    client.delete_model_version(name, "1")
    assert registry.register(run, name) == 2


def test_the_same_run_at_the_same_time_is_one_version(
    name: str, run: Record, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command registers the run after this one has looked for a version."""
    make, made = registry._make, list[int]()

    def raced(client: Any, name: str) -> None:
        make(client, name)
        if not made:
            made.append(0)
            made.append(registry.register(run, name))

    monkeypatch.setattr(registry, "_make", raced)
    assert registry.register(run, name) == made[1] == 1
    assert [v.version for v in client.search_model_versions(f"run_id = '{run.run_id}'") if v.name == name] == [1]


# ---- the alias


def test_an_alias_that_was_moved_meanwhile_stays(name: str, run: Record) -> None:
    others = [run, finished("b"), finished("c")]
    assert [registry.register(each, name) for each in others] == [1, 2, 3]
    registry.set_alias(name, "champion", 1)
    registry.set_alias(name, "champion", 2, instead_of=1)
    refused("@champion was moved to version 2 meanwhile, by another command, and no longer names version 1: give the "
            "same command again", registry.set_alias, name, "champion", 3, 1)  # fmt: skip
    assert registry.resolve(f"models:/{name}@champion").version == 2
    registry.set_alias(name, "champion", 2, instead_of=1)  # the same move, by the same command given twice
    refused("@best was removed meanwhile", registry.set_alias, name, "best", 3, 1)


@pytest.mark.parametrize("alias", ["latest", "V3", "v12"])
def test_an_alias_of_mlflows_own(alias: str, name: str) -> None:
    refused(f"the alias {alias} is not allowed: latest, v1, v2", registry.set_alias, name, alias, 1)


@pytest.mark.parametrize("alias", ["", "a b", "a/b", "\x1b[31m"])
def test_an_alias_that_is_none(alias: str, name: str) -> None:
    refused("is not allowed: models:/NAME@ALIAS or", registry.set_alias, name, alias, 1)


# ---- refusals


@pytest.mark.parametrize(
    "word",
    ["", "cells", "models:/", "models:/cells", "models:/a/b@c", "models:/a@b@c", "models:/a/1/2", "models:/a/-1",
     "models:/a/99999999999", "models:/m-0123456789abcdef0123456789abcdef", "models:/a@b c", "models:/ @c",
     "models:/./1", "models:/\x1b[31m/1", "models:/a\n@c", "MODELS:/a@c", "models:/a/Production"],
)  # fmt: skip
def test_a_word_that_names_no_version(word: str) -> None:
    refused("is not allowed: models:/NAME@ALIAS or models:/NAME/VERSION", registry.resolve, word)


@pytest.mark.parametrize("bad", ["", " ", "a/b", "a:b", "a@b", "x" * 257, "\x1b[31m", "..", "a\nb"])
def test_a_name_that_is_none(bad: str, run: Record) -> None:
    refused("is no name of a registered model: without / : and @", registry.register, run, bad)


def test_what_is_not_there(name: str, run: Record) -> None:
    first = f"kesikaran publish RUN --register {shlex.quote(name)} --alias champion sets it to the model of a run"
    refused(f"there is no registered model {name} in sqlite:///", registry.resolve, f"models:/{name}@champion")
    refused(first, registry.resolve, f"models:/{name}/1")
    refused(f"there is no registered model {name}", registry.set_alias, name, "champion", 1)
    registry.register(run, name)
    refused(f"registered model {name} has no alias champion; {first}", registry.resolve, f"models:/{name}@champion")
    refused(f"registered model {name} has no version 2", registry.resolve, f"models:/{name}/2")
    refused(f"registered model {name} has no version 999999999", registry.set_alias, name, "champion", 999_999_999)


def test_a_run_that_gives_no_model(name: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("has no model (tracking.log_model=false, or", registry.register, finished("bare", has_model=False), name)
    for status in ("FAILED", "KILLED", "RUNNING"):
        of_status = replace(finished(status), status=status)
        refused(f"is {status}, not FINISHED: a model is", registry.register, of_status, name)
    parent = sweeps.open_sweep("registry", "sweep: a=1")
    with sweeps.closing_sweep(parent, "FINISHED"):
        pass
    refused("is the parent of a sweep, which has no model; give one of its jobs", registry.register,
            queries.find(parent), name)  # fmt: skip
    gone = finished("gone")
    place = place_of(client, gone)
    shutil.rmtree(place)
    refused(f"is gone: its files are not in file://{place}", registry.register, gone, name)
    deleted = finished("deleted")
    client.delete_logged_model(models.of_run(client, deleted).model_id)
    refused("has no model (tracking.log_model=false, or it was deleted)", registry.register, deleted, name)
    refused(f"there is no registered model {name}", registry.resolve, f"models:/{name}/1")  # none was made


def test_half_a_model_is_none(name: str, tmp_path: Path) -> None:
    with suppress(Exception), runs.run("registry", "half", {}) as run:
        run.model(tmp_path, lambda folder: None)  # there is no template
    half = replace(queries.find(run.run_id), status="FINISHED")
    refused("has no model", registry.register, half, name)


def test_the_gate(name: str) -> None:
    failed = finished("f", tags={"gate": "failed", "gate_judged": "test/accuracy 0.8 [0.7, 0.9]: below 0.85"})
    refused("has not passed its gate (test/accuracy 0.8 [0.7, 0.9]: below 0.85): only a run that passed is registered",
            registry.register, failed, name)  # fmt: skip
    refused("has not passed its gate", registry.need_registrable, failed)
    passed, without = finished("p", tags={"gate": "passed"}), finished("w")
    assert registry.gate_remarks(passed) == []
    assert registry.gate_remarks(without)[0].startswith(f"run {without.run_id} (w) had no gate: ")
    assert (registry.register(passed, name), registry.register(without, name)) == (1, 2)


def test_versions_that_lead_to_no_run(name: str, client: Any) -> None:
    deleted, gone = finished("deleted"), finished("gone")
    for each in (deleted, gone):
        registry.register(each, name)
    client.delete_run(deleted.run_id)
    refused(f"run {deleted.run_id} is deleted; mlflow runs restore", registry.resolve, f"models:/{name}/1")
    place = place_of(client, gone)
    shutil.rmtree(place)
    refused(f"the files of version 2 of {name} are gone from {place}", registry.resolve, f"models:/{name}/2")
    client.create_model_version(name, "s3://bucket/model")
    refused(f"version 3 of {name} names no run", registry.resolve, f"models:/{name}/3")
    client.create_model_version(name, "s3://bucket/model", "0" * 32)
    refused(f"version 4 of {name} is of run {'0' * 32}, which is not in", registry.resolve, f"models:/{name}/4")
    with suppress(ValueError), runs.run("registry", "failed", {}) as run:
        raise ValueError
    client.create_model_version(name, "s3://bucket/model", run.run_id)
    refused("(failed), which is FAILED, not FINISHED", registry.resolve, f"models:/{name}/5")


# ---- where the registry is


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets MLFLOW_REGISTRY_URI."""

    def setting(uri: str) -> None:
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
        store_client._client.cache_clear()

    yield setting
    store_client._client.cache_clear()


def test_a_registry_of_its_own(name: str, run: Record, elsewhere: Any, tmp_path: Path, client: Any) -> None:
    elsewhere(f"sqlite:///{tmp_path / 'registry.db'}")
    refused(f"the registry of models does not exist: there is no file {tmp_path / 'registry.db'}; change MLFLOW_REGIS",
            registry.resolve, f"models:/{name}/1")  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    registry.register(run, name)
    registry.set_alias(name, "champion", 1)
    assert registry.resolve(f"models:/{name}@champion").record == run
    assert client.search_registered_models(f"name LIKE '{name[:14]}%'") == [], "the store of runs has none"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://ada:a-secret@127.0.0.1:1", "the registry of models http://ada:***@127.0.0.1:1 cannot be reached: "
         "connection refused; start it, or change MLFLOW_REGISTRY_URI"),
        ("sqlite:////dev/null/x/registry.db", "cannot be "),
        ("nowhere://x", "nowhere"),
    ],
)  # fmt: skip
def test_a_registry_that_is_none(uri: str, says: str, run: Record, name: str, elsewhere: Any) -> None:
    elsewhere(uri)
    refused(says, registry.register, run, name)


def test_a_store_that_was_moved(tmp_path: Path, run: Record, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    registry.register(run, name)
    store = run_store.database()
    shutil.copy(store, tmp_path / store.name)
    (tmp_path / "mlruns").mkdir()
    shutil.copytree(store.parent / "mlruns" / "registry", tmp_path / "mlruns" / "registry")
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / store.name}")
    before = os.environ["MLFLOW_TRACKING_URI"]
    try:
        refused(f"was moved or copied from {store.parent}", registry.resolve, f"models:/{name}/1")
        refused(f"was moved or copied from {store.parent}", registry.register, run, name)
    finally:
        mlflow.set_tracking_uri(before)
