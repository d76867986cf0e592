"""The parent run of a sweep: opened before the first job, closed after the last."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import pandas as pd
from mlflow.tracking.context.registry import resolve_tags

from kesikaran.core import terminal
from kesikaran.core.errors import without_password, without_passwords
from kesikaran.tracking import context, queries, run_store
from kesikaran.tracking.runs import Run


@terminal.sheltered()
def open_sweep(experiment: str, name: str) -> str:
    """Make the parent run of a sweep and return its id. It does not become MLflow's active run."""
    experiment_id = run_store.open_experiment(experiment)
    client = mlflow.MlflowClient()
    tags = without_passwords({**resolve_tags(), **context.code_version()})
    parent = client.create_run(experiment_id, tags=tags, run_name=without_password(name))
    client.set_tag(parent.info.run_id, context.SWEEP_TAG, parent.info.run_id)
    return parent.info.run_id


@contextmanager
def closing_sweep(sweep_id: str, status: str) -> Iterator[tuple[Run, pd.DataFrame]]:
    """The parent run and its jobs (see `queries.sweep_jobs`), for what is written once all jobs have ended.

    A job that is still RUNNING ends as KILLED, because its process is gone: a launcher kills its workers when the
    command is stopped, and the system kills a worker that takes too much memory. The parent run ends as `status`; as
    FAILED where something is raised, or where `status` is FINISHED and a job ended otherwise.
    """
    with terminal.sheltered():
        client = mlflow.MlflowClient()
        try:
            jobs = queries.sweep_jobs(sweep_id)
            left = jobs["status"] == "RUNNING"
            for run_id in jobs.loc[left, "run_id"]:
                client.set_terminated(run_id, "KILLED")
            jobs.loc[left, "status"] = "KILLED"
            if status == "FINISHED" and (jobs["status"] != "FINISHED").any():
                status = "FAILED"
            yield Run(sweep_id, client.get_run(sweep_id).info.experiment_id), jobs
        except BaseException:
            status = "FAILED"
            raise
        finally:
            client.set_terminated(sweep_id, status)
