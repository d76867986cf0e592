"""MLflow's registry of models, which no other room knows: a run's model becomes a version of a registered model, and an
alias names one of its versions.

The registry is in the store of runs, or where MLFLOW_REGISTRY_URI says, as MLflow has it.
"""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from kesikaran.core import errors
from kesikaran.core.errors import InputError, printable
from kesikaran.tracking import models, queries, run_store, store_address, store_file
from kesikaran.tracking.queries import Record

SCHEME = "models:/"
_WHAT = "the registry of models"
_REFERENCE = re.compile(rf"{SCHEME}(?P<name>[^/:@]{{1,256}})(?:@(?P<alias>[\w-]{{1,255}})|/(?P<version>[0-9]{{1,9}}))")
_RESERVED = re.compile(r"latest|v[0-9]+", re.IGNORECASE)  # MLflow's own aliases
_ABSENT, _THERE = "RESOURCE_DOES_NOT_EXIST", ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")


@dataclass(frozen=True)
class Reference:
    """What `models:/NAME@ALIAS` or `models:/NAME/VERSION` says: one of alias and version is None."""

    name: str
    alias: str | None
    version: int | None


@dataclass(frozen=True)
class Registered:
    """A version of a registered model. record: the finished run that made it. place: the folder of its files on a local
    disk, else their artifact URI."""

    name: str
    version: int
    record: Record
    place: Path | str


def parse(word: str) -> Reference:
    """Raises InputError where a word is neither `models:/NAME@ALIAS` nor `models:/NAME/VERSION`."""
    found = _REFERENCE.fullmatch(word)
    if not found or not _is_name(found["name"]):
        raise InputError(f"{printable(word)} is not allowed: models:/NAME@ALIAS or models:/NAME/VERSION")
    return Reference(found["name"], found["alias"], int(found["version"]) if found["version"] else None)


def need_names(name: str, alias: str | None = None) -> None:
    """Raises InputError where a registered model or an alias may not be called so."""
    if not _is_name(name):
        raise InputError(f"{printable(name)} is no name of a registered model: without / : and @, at most 256 letters")
    if alias is not None:
        parse(f"{SCHEME}{name}@{alias}")
        if _RESERVED.fullmatch(alias):
            raise InputError(f"the alias {alias} is not allowed: latest, v1, v2, ... are MLflow's own")


def register(record: Record, name: str) -> int:
    """The version of the registered model `name` that the model of a run is. Both are made where they do not exist; a
    run that has a version keeps it.

    Raises:
        InputError: see `need_registrable`; the name is not allowed; or the registry does not answer or refuses.
    """
    need_names(name)
    with _opened(f"{_title(record)} cannot be registered as {name}") as client:
        model_id = _registrable(client, record)
        if not (version := _version_of(client, record, name)):
            _make(client, name)
            made = client.create_model_version(name, f"{SCHEME}{model_id}", record.run_id, model_id=model_id)
            # Another command may have registered the run at the same time. Numbers are given in turn, so that the later
            # of the two sees the earlier one, and takes back its own.
            version = _version_of(client, record, name) or int(made.version)
            if version != int(made.version):
                client.delete_model_version(name, str(made.version))
        _link(client, model_id, name, version)
    return version


def need_registrable(record: Record) -> None:
    """Raises InputError where a run is a sweep's parent, did not end well, has not passed its gate, or has no model."""
    with _opened(f"{_title(record)} cannot be read") as client:
        _registrable(client, record)


def gate_remarks(record: Record) -> list[str]:
    """A sentence where nothing was asked of a run before it is registered."""
    if "gate" in record.tags:
        return []
    return [f"{_title(record)} had no gate: no least value was asked of it (gate.metric and gate.min ask for one)."]


def set_alias(name: str, alias: str, version: int, instead_of: int | None = None) -> None:
    """Let an alias name a version of a registered model.

    Args:
        instead_of: the version that it names until now. Where the store of runs is a file, no other command of ours can
            move it between the look and the move; a server has no such lock, and two moves within milliseconds may both
            be made, of which the later one stays.

    Raises:
        InputError: no such registered model or version, an alias that is not allowed, or one that names another version
            than `instead_of` by now; or the registry does not answer or refuses.
    """
    word = f"{SCHEME}{name}@{alias}"
    need_names(name, alias)
    with _opened(f"{word} cannot be set") as client, run_store.alone():
        now = int(_model(client, name).aliases.get(alias, 0))
        if instead_of is not None and now not in (instead_of, version):
            by_now = f"was moved to version {now}" if now else "was removed"
            raise InputError(
                f"{word} {by_now} meanwhile, by another command, and no longer names version {instead_of}: give the "
                "same command again"
            )
        _version(client, name, version)
        client.set_registered_model_alias(name, alias, str(version))


def resolve(word: str) -> Registered:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names.

    Raises:
        InputError: another word; no such registered model, alias or version; a version without a finished run in this
            store, or whose files are gone from a local disk; or the registry does not answer or does not exist.
    """
    asked = parse(word)
    with _opened(f"{word} cannot be read", to_read=True) as client:
        model = _model(client, asked.name)
        number = asked.version
        if number is None:
            if not (named := model.aliases.get(asked.alias)):
                raise InputError(f"registered model {asked.name} has no alias {asked.alias}; {_to_set(asked)}")
            number = int(named)
        version = _version(client, asked.name, number)
        return Registered(asked.name, number, _run_of(client, version), _place(client, version, asked))


def _registrable(client: mlflow.MlflowClient, record: Record) -> str:
    """The id of the run's model; raises as `need_registrable`."""
    model_id: str = models.of_run(client, record).model_id
    if record.tags.get("gate") == "failed":
        judged = printable(record.tags.get("gate_judged", "no reason is given"))
        raise InputError(f"{_title(record)} has not passed its gate ({judged}): only a run that passed is registered")
    return model_id


def _version_of(client: mlflow.MlflowClient, record: Record, name: str) -> int | None:
    """The first version of a registered model that is of this run; None where there is none."""
    # A name may hold a quote, for which the search language has no escape.
    found = client.search_model_versions(f"run_id = '{record.run_id}'")
    return min((int(one.version) for one in found if one.name == name), default=None)


def _make(client: mlflow.MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in _THERE:
            raise


def _link(client: mlflow.MlflowClient, model_id: str, name: str, version: int) -> None:
    """What MLflow's pages show at a run's model: the versions that it is. A server has written it already."""
    links = json.loads(client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if name not in [link["name"] for link in links]:
        text = json.dumps([*links, {"name": name, "version": version}])
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: text})


def _model(client: mlflow.MlflowClient, name: str) -> RegisteredModel:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
    raise InputError(
        f"there is no registered model {name} in {_address()}; {_to_set(Reference(name, 'champion', None))}"
    )


def _version(client: mlflow.MlflowClient, name: str, number: int) -> ModelVersion:
    try:
        return client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
    raise InputError(f"registered model {name} has no version {number} in {_address()}")


def _run_of(client: mlflow.MlflowClient, version: ModelVersion) -> Record:
    title = f"version {version.version} of {version.name}"
    if not version.run_id:
        raise InputError(f"{title} names no run: it was not registered from a run of this program")
    try:
        record = queries.get(client, version.run_id)
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
        raise InputError(f"{title} is of run {version.run_id}, which is not in {run_store.shown_address()}") from None
    if record.status != "FINISHED":
        raise InputError(f"{title} is of {_title(record)}, which is {record.status}, not FINISHED")
    return record


def _place(client: mlflow.MlflowClient, version: ModelVersion, asked: Reference) -> Path | str:
    location: str = client.get_model_version_download_uri(version.name, str(version.version))
    run_store.need_not_moved(location)
    path = store_file.path_of(location)
    if path and not (path / "MLmodel").is_file():
        raise InputError(
            f"the files of version {version.version} of {version.name} are gone from {path}; {_to_set(asked)}"
        )
    return path or location


def _to_set(asked: Reference) -> str:
    alias = asked.alias or "champion"
    return f"kesikaran publish RUN --register {shlex.quote(asked.name)} --alias {alias} sets it to the model of a run"


def _title(record: Record) -> str:
    return f"run {record.run_id} ({printable(record.name)})"


def _is_name(name: str) -> bool:
    return bool(re.fullmatch("[^/:@]{1,256}", name)) and name.isprintable() and name.strip(" .") != ""


def _address() -> str:
    return errors.without_password(mlflow.get_registry_uri() or "")


@contextmanager
def _opened(failure: str, to_read: bool = False) -> Iterator[mlflow.MlflowClient]:
    """MLflow's client of the store and of its registry.

    Args:
        failure: begins the line about what MLflow raises in the block. to_read: the registry must exist.

    Raises:
        InputError: as `run_store.reading`; or the registry does not answer, does not exist, or refuses.
    """
    with run_store.reading(_WHAT) as client:
        given = mlflow.get_registry_uri() or ""
        if given != mlflow.get_tracking_uri():
            store_address.need_answer(given, _WHAT.removeprefix("the "), "MLFLOW_REGISTRY_URI")
            file = store_file.of(given)
            if to_read and file and not file.exists():
                raise InputError(f"{_WHAT} does not exist: there is no file {file}; change MLFLOW_REGISTRY_URI")
        try:
            yield client
        except InputError:
            raise
        except run_store.FAILURES as error:
            raise InputError(f"{failure} in {_address()}: {errors.first_line(error)}") from None
