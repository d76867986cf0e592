"""Opening runs: a run is a `with` block, and however the block ends, the run does not stay RUNNING."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import mlflow
from mlflow import entities
from mlflow.entities import LifecycleStage, RunTag
from mlflow.tracking.context.registry import resolve_tags

from kesikaran.core import terminal
from kesikaran.core.errors import InputError, without_password, without_passwords
from kesikaran.tracking import claims, context, liveness, run_store, store_client
from kesikaran.tracking.claims import FINGERPRINT_TAG, Claimed
from kesikaran.tracking.open_run import Run


@contextmanager
def run(
    experiment: str,
    name: str | None,
    params: dict[str, str],
    overrides: dict[str, str] | None = None,
    number: int | None = None,
    fingerprint: str | None = None,
    is_claim: bool = False,
    goes_on: bool = False,
) -> Iterator[Run]:
    """Open a run, log its params, and close the run however the block ends.

    The run ends as FINISHED; as FAILED, with the traceback as `traceback.txt`, when something was raised; as KILLED on
    a signal to stop. A run of a sweep is a child of the sweep's parent run, whose id is in `$KESIKARAN_SWEEP_ID`.
    Until it ends the run gives signs of life.

    Args:
        overrides: of the settings that the sweep varies, this run's values by name. number: its place among the jobs.
        fingerprint: of what the run is, where that is known. is_claim: the run is opened only where no other run with
            this fingerprint is at work or done. goes_on: a KILLED run with this fingerprint is opened again, if there
            is one, since the work goes on where it was stopped.

    Raises:
        Claimed: there is such a run. No run was opened then.
    """
    experiment_id = run_store.open_experiment(experiment)
    sweep_id = context.open_sweep_id()
    lineage = {"mlflow.parentRunId": sweep_id, context.SWEEP_TAG: sweep_id} if sweep_id else {}
    lineage |= {context.COMMAND_TAG: command} if (command := context.command()) else {}
    lineage |= {context.NUMBER_TAG: str(number)} if number is not None else {}
    lineage |= {context.OVERRIDES_TAG: json.dumps(without_passwords(overrides))} if overrides else {}
    lineage |= {FINGERPRINT_TAG: fingerprint} if fingerprint else {}
    client = store_client.client()
    opened = None
    try:
        with terminal.sheltered():
            tags = without_passwords({**resolve_tags(), **context.code_version(), **liveness.tags(), **lineage})
            claimed = fingerprint if is_claim else None
            again = fingerprint if goes_on else None
            info = _open(client, experiment_id, without_password(name) if name else name, tags, claimed, again)
            opened = Run(info.run_id, experiment_id, info.artifact_uri, info.run_name)
            if again:
                opened.go_on()
            opened.params(params)
        with liveness.beating(opened.run_id):
            yield opened
            opened.complete()
        terminal.stop_if_asked()
    except BaseException as error:
        # TensorFlow can turn the SystemExit of a signal into an exception of another type.
        killed = terminal.stop_asked() or isinstance(error, KeyboardInterrupt | SystemExit)
        if opened and _is_deleted(client, opened.run_id):
            raise InputError(f"run {opened.run_id} was deleted while it was at work: start it again") from None
        if opened:
            with terminal.sheltered():
                try:
                    opened.flush()
                    if not killed:
                        with suppress(InputError):  # of an artifact before
                            opened.text(traceback.format_exc(), "traceback.txt")
                    opened.give_up()
                finally:
                    client.set_terminated(opened.run_id, "KILLED" if killed else "FAILED")
        terminal.stop_if_asked()
        raise
    with terminal.sheltered():
        client.set_terminated(opened.run_id, "FINISHED")


def _is_deleted(client: mlflow.MlflowClient, run_id: str) -> bool:
    try:
        with terminal.sheltered():
            return client.get_run(run_id).info.lifecycle_stage == LifecycleStage.DELETED
    except Exception:  # the error that is being told matters more
        return False


def _open(
    client: mlflow.MlflowClient,
    experiment_id: str,
    name: str | None,
    tags: dict[str, str],
    claimed: str | None,
    again: str | None,
) -> entities.RunInfo:
    """A new run, or one that was KILLED.

    Args:
        claimed: the fingerprint that no other run may have; see `claims`. again: that of the run to open again.
    """
    with run_store.alone() if claimed or again else nullcontext(False) as is_alone:
        if claimed and (twin := claims.twin(client, claimed)):
            raise Claimed(twin)
        killed = claims.interrupted(client, again, tags.get(context.SWEEP_TAG)) if again else None
        if killed:
            # The tags first: a RUNNING run with those of the dead process would be closed by any other command.
            client.log_batch(killed.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            client.update_run(killed.run_id, "RUNNING")
            info = client.get_run(killed.run_id).info
        else:
            info = client.create_run(experiment_id, tags=tags, run_name=name).info
    if claimed and not is_alone and (twin := claims.contest(client, info.run_id, claimed)):
        client.set_terminated(info.run_id, "KILLED")
        client.delete_run(info.run_id)
        raise Claimed(twin)
    return info
