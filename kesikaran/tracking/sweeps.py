"""The parent run of a sweep: opened or continued before the first job, closed after the last."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import pandas as pd
from mlflow.entities import RunStatus, RunTag
from mlflow.tracking.context.registry import resolve_tags

from kesikaran.core import terminal
from kesikaran.core.errors import without_password, without_passwords
from kesikaran.tracking import context, liveness, queries, run_store, store_client
from kesikaran.tracking.open_run import Run
from kesikaran.tracking.queries import PLANNED_TAG, REUSED_TAG, Record

FINGERPRINT_TAG = "sweep_fingerprint"


@terminal.sheltered()
def open_sweep(experiment: str, name: str, fingerprint: str | None = None, planned: int | None = None) -> str:
    """Make the parent run of a sweep, or continue the earliest one of this fingerprint, and return its id. It does not
    become MLflow's active run.

    Args:
        fingerprint: of what the sweep is; None: the sweep is a new one whatever there is. planned: the number of its
            jobs, where that is known.
    """
    experiment_id = run_store.open_experiment(experiment)
    client = store_client.client()
    tags = {**resolve_tags(), **context.code_version(), **liveness.tags()}
    if planned is not None:
        tags[PLANNED_TAG] = str(planned)
    if fingerprint:
        tags[FINGERPRINT_TAG] = fingerprint
    tags = without_passwords(tags)
    with run_store.alone() as is_alone:
        found = _earliest(client, fingerprint)
        if not found:
            parent = client.create_run(experiment_id, tags=tags, run_name=without_password(name)).info.run_id
            client.set_tag(parent, context.SWEEP_TAG, parent)
            # Two commands that begin at the same moment each made one: both see both, and the earliest stays.
            found = parent if is_alone else _earliest(client, fingerprint) or parent
            if found == parent:
                return parent
            client.set_terminated(parent, "KILLED")
            client.delete_run(parent)
    client.log_batch(found, tags=[RunTag(key, value) for key, value in tags.items()])
    client.update_run(found, status=RunStatus.to_string(RunStatus.RUNNING))
    return found


def _earliest(client: mlflow.MlflowClient, fingerprint: str | None) -> str | None:
    if not fingerprint:
        return None
    found = queries.search(client, f"tags.{FINGERPRINT_TAG} = '{fingerprint}'", "attributes.start_time ASC")
    return min(((run.start_time_ms, run.run_id) for run in found), default=(0, None))[1]


@terminal.sheltered()
def reuse(sweep_id: str, twin: Record, overrides: dict[str, str], number: int) -> None:
    """Note at the parent of a sweep that a finished run is one of its jobs. A run that is a job of this sweep already
    needs no note.

    Args:
        overrides, number: the job's, as `runs.run` has them.
    """
    if twin.tags.get(context.SWEEP_TAG) != sweep_id:
        noted = json.dumps({"number": number, "overrides": without_passwords(overrides)})
        store_client.client().set_tag(sweep_id, f"{REUSED_TAG}{twin.run_id}", noted)


def failures() -> int:
    """The number of jobs that have failed in this command."""
    return len(_of_command(context.command(), "FAILED"))


def _of_command(command: str | None, status: str) -> list[Record]:
    with run_store.reading("the jobs of this command") as client:
        return queries.search(client, f"attributes.status = '{status}' and tags.{context.COMMAND_TAG} = '{command}'")


@contextmanager
def closing_sweep(sweep_id: str, status: str, command: str | None = None) -> Iterator[tuple[Run, pd.DataFrame]]:
    """The parent run and its jobs (see `queries.sweep_jobs`), for what is written once all jobs have ended.

    A job of this command that is still RUNNING ends as KILLED, because its process is gone: a launcher kills its
    workers when the command is stopped, and the system kills a worker that takes too much memory. Jobs that other
    commands have begun go on. The parent run ends as `status`; as FAILED where something is raised, or where `status`
    is FINISHED and a job ended otherwise or is lacking.

    Args:
        command: the `context.command` that closes the sweep.
    """
    with terminal.sheltered():
        client = store_client.client()
        try:
            for job in _of_command(command, "RUNNING"):
                client.set_terminated(job.run_id, "KILLED")
            jobs = queries.sweep_jobs(sweep_id)
            planned = queries.planned(queries.get(client, sweep_id))
            lacking = planned is not None and len(jobs) < planned
            if status == "FINISHED" and (lacking or (jobs["status"] != "FINISHED").any()):
                status = "FAILED"
            info = client.get_run(sweep_id).info
            run = Run(sweep_id, info.experiment_id, info.artifact_uri, info.run_name)
            try:
                yield run, jobs
            finally:
                try:
                    run.complete()
                finally:
                    run.give_up()
        except BaseException:
            status = "FAILED"
            raise
        finally:
            client.set_terminated(sweep_id, status)
