"""Reading runs: a run by its id or name, and the jobs of a sweep."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

import mlflow
import pandas as pd
from mlflow import entities
from mlflow.utils.search_utils import SearchUtils

from kesikaran.core.errors import InputError, printable
from kesikaran.tracking import metric_places, run_store
from kesikaran.tracking.context import NUMBER_TAG, OVERRIDES_TAG, SWEEP_TAG

PLANNED_TAG = "planned_jobs"  # of a sweep's parent
REUSED_TAG = "reused_run_"  # and a run's id, at a sweep's parent: JSON of the job that the finished run is
SHIFT_TAG = "selection_shift"  # what a run's logits are shifted by in the loss that selects, in nats
_LISTED = 10  # runs of one name that an error lists


@dataclass(frozen=True)
class Record:
    """A run as the store has it. status: MLflow's, FINISHED where the run ended well. experiment: its name. metrics:
    the last value of each. start_time_ms: since 1970, by the clock of the machine that opened the run."""

    run_id: str
    name: str
    status: str
    experiment: str
    start_time_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def is_sweep(self) -> bool:
        """Whether the run is the parent of a sweep, which has jobs and no model of its own."""
        return self.tags.get(SWEEP_TAG) == self.run_id


def find(word: str, status: str | None = None) -> Record:
    """The run of this id, of this unique beginning of an id (6 hex digits or more), or of this name.

    Args:
        status: of several runs, one alone with this status is the one.

    Raises:
        InputError: there is no store, no such run, a deleted run, or several runs of that name or beginning.
    """
    with run_store.reading(f"run {printable(word)}") as client:
        if re.fullmatch("[0-9a-f]{32}", word):
            return get(client, word)
        # The search language has no escapes for quotes; _ stands for any character.
        like = search(client, f"attributes.run_name LIKE '{word.replace(chr(39), '_')}'")
        found = [run for run in like if run.name == word]
        if not found and re.fullmatch("[0-9a-f]{6,31}", word):
            found = search(client, f"attributes.run_id LIKE '{word}%'")
    found = [run for run in found if run.status == status] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"there is no run {printable(word)} in {run_store.shown_address()}; give the id or the name of one"
        )
    listed = ", ".join(f"{run.run_id} ({run.status}, {_began(run)})" for run in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise InputError(f"{len(found)} runs are called {printable(word)}; give an id, the latest first: {listed}{more}")


def _began(run: Record) -> str:
    return f"{datetime.fromtimestamp(run.start_time_ms / 1000):%Y-%m-%d %H:%M}"


def finished(word: str) -> Record:
    """The run that `find` finds, which must have ended well.

    Raises:
        InputError: as `find`; or the run is FAILED, KILLED or still RUNNING.
    """
    record = find(word, "FINISHED")
    if record.status != "FINISHED":
        raise InputError(f"run {record.run_id} ({printable(record.name)}) is {record.status}, not FINISHED")
    return record


def jobs(sweep_id: str) -> list[Record]:
    """The runs that the commands of a sweep have opened for its jobs, in the order of their starts. A job that was
    killed and begun again has two.

    Raises:
        InputError: there is no store, or it cannot be read.
    """
    with run_store.reading(f"sweep {sweep_id}") as client:
        query = f"tags.{SWEEP_TAG} = '{sweep_id}' and tags.mlflow.parentRunId = '{sweep_id}'"
        return search(client, query, "attributes.start_time ASC")


def planned(parent: Record) -> int | None:
    """The number of jobs that a sweep was opened with; None where its parent does not tell, as in older versions."""
    text = parent.tags.get(PLANNED_TAG, "")
    return int(text) if text.isdecimal() else None


def settings(run: Record) -> dict[str, str]:
    """A run's params. The parent run of a sweep has none: those of its first job, empty where there is no job left.

    Raises:
        InputError: as `jobs`.
    """
    if not run.is_sweep:
        return run.params
    return next((job.params for job in jobs(run.run_id)), {})


def sweep_jobs(sweep_id: str) -> pd.DataFrame:
    """The jobs of a sweep in its own order, each once: columns `run_id`, `name`, `status`, `reused` (whether the run
    was finished before, outside this sweep), `split_fingerprint`, `data_digest` and `gate` (None where a job has none),
    `selection_shift` (NaN where a job has none), `overrides.*` (the settings that the sweep varies), `params.*` and
    `metrics.*`.

    Of a job with several runs, because it was killed, failed, or trained twice in a race, the first finished one
    counts, else the latest. A sweep of an older version has the order of its starts.

    Raises:
        InputError: as `jobs`; or a tag of a job is not what a job writes.
    """
    chosen: dict[str, tuple[int, Record, dict[str, str], bool]] = {}
    for number, job, overrides, reused in [*_reused(sweep_id), *_own(sweep_id)]:
        key = json.dumps(overrides, sort_keys=True) if overrides else job.run_id
        if key not in chosen or chosen[key][1].status != "FINISHED":
            chosen[key] = number, job, overrides, reused
    rows = []
    for _, job, overrides, reused in sorted(chosen.values(), key=lambda one: (one[0], one[1].start_time_ms)):
        row: dict[str, Any] = {"run_id": job.run_id, "status": job.status, "reused": reused}
        row |= {name: job.tags.get(name) for name in ("split_fingerprint", "data_digest", "gate")}
        # A run that another command has made is called by what differed there.
        own = " ".join(f"{key}={value}" for key, value in overrides.items()) if reused else ""
        row |= {"name": own or job.name, SHIFT_TAG: _shift(job)}
        row |= {f"overrides.{key}": value for key, value in overrides.items()}
        row |= {f"params.{name}": value for name, value in job.params.items()}
        rows.append(row | {f"metrics.{name}": value for name, value in job.metrics.items()})
    return pd.DataFrame(rows, columns=None if rows else ["run_id", "status", "reused"])


def _own(sweep_id: str) -> Iterator[tuple[int, Record, dict[str, str], bool]]:
    for job in jobs(sweep_id):
        number = job.tags.get(NUMBER_TAG, "")
        yield int(number) if number.isdecimal() else 0, job, _overrides(job), False


def _reused(sweep_id: str) -> Iterator[tuple[int, Record, dict[str, str], bool]]:
    """The jobs that were finished before. One that has been deleted since is none any more."""
    with run_store.reading(f"sweep {sweep_id}") as client:
        parent = get(client, sweep_id)
        for tag, text in parent.tags.items():
            if tag.startswith(REUSED_TAG):
                note = _json(text)
                number, run_id, overrides = note.get("number"), tag.removeprefix(REUSED_TAG), note.get("overrides")
                if not (isinstance(number, int) and re.fullmatch("[0-9a-f]{32}", run_id) and _are_texts(overrides)):
                    raise _wrong_tag(parent, tag, text, "a JSON object of a job's number and its overrides")
                for run in search(client, f"attributes.run_id = '{run_id}'"):
                    yield number, run, overrides, True


def _shift(job: Record) -> float:
    text = job.tags.get(SHIFT_TAG, "nan")
    try:
        return float(text)
    except ValueError:
        raise _wrong_tag(job, SHIFT_TAG, text, "a number") from None


def _overrides(job: Record) -> dict[str, str]:
    text = job.tags.get(OVERRIDES_TAG, "{}")
    found = _json(text)
    if not _are_texts(found):
        raise _wrong_tag(job, OVERRIDES_TAG, text, "a JSON object of texts")
    return found


def _json(text: str) -> dict[str, Any]:
    """A JSON object; one that is wrong, with a number as a value, where the text is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"": 0}


def _are_texts(found: Any) -> TypeGuard[dict[str, str]]:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def _wrong_tag(job: Record, tag: str, text: str, allowed: str) -> InputError:
    return InputError(
        f"the tag {tag} of run {job.run_id} ({printable(job.name)}) is {printable(text[:80])}, not {allowed}: delete "
        f"the run (mlflow runs delete --run-id {job.run_id}) and compare the others"
    )


def finished_count(split_fingerprint: str) -> int:
    """The number of finished runs of all experiments that were scored on one split, without deleted runs.

    MLflow cannot count, and reads a run with all its metrics (measured: 1,000 runs, 20 s). So it is asked for single
    runs: whether there is a first, a second, a fourth, ..., and then for the last by halving (1,000 runs, 0.4 s).

    Raises:
        InputError: there is no store, or it cannot be read.
    """
    with run_store.reading("the runs of this split") as client:
        query = f"attributes.status = 'FINISHED' and tags.split_fingerprint = '{split_fingerprint}'"
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]

        def more_than(count: int) -> bool:
            token = SearchUtils.create_page_token(count) if count else None
            return bool(client.search_runs(experiments, query, max_results=1, page_token=token))

        least, beyond = 0, 1  # there are at least `least`, and in the end fewer than `beyond`
        while more_than(beyond - 1):
            least, beyond = beyond, 2 * beyond
        while beyond - least > 1:
            middle = (least + beyond) // 2
            least, beyond = (middle, beyond) if more_than(middle - 1) else (least, middle)
        return least


def get(client: mlflow.MlflowClient, run_id: str) -> Record:
    """The run of an id. Raises InputError where it is deleted, and MLflow's exception where there is none."""
    run = client.get_run(run_id)
    if run.info.lifecycle_stage == "deleted":
        raise InputError(f"run {run_id} is deleted; mlflow runs restore --run-id {run_id} brings it back")
    return _record(run, client.get_experiment(run.info.experiment_id).name)


def search(client: mlflow.MlflowClient, query: str, order: str = "attributes.start_time DESC") -> list[Record]:
    """The runs of all experiments that a query finds, without deleted runs."""
    experiments = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
    found: list[Record] = []
    token = None
    while True:
        page = client.search_runs(list(experiments), query, order_by=[order], page_token=token)
        found += [_record(run, experiments[run.info.experiment_id]) for run in page]
        token = page.token
        if not token:
            return found


def _record(run: entities.Run, experiment: str) -> Record:
    data = run.data
    info = run.info
    return Record(
        info.run_id,
        info.run_name,
        info.status,
        experiment,
        info.start_time,
        data.params,
        data.tags,
        metric_places.read(data.metrics),
    )
