"""One training for one identity: before a job opens its run, the store is asked for the job's twin.

A twin is a run with the same fingerprint that is FINISHED, or that is at work in a process that lives. MLflow has no
compare-and-set. In a store that is a file, a lock beside the file holds between the look and the opening. Elsewhere a
run is opened, the store is read back, and the earliest opened run stays: two jobs at the same moment both see both.
"""

import time

import mlflow

from kesikaran.tracking import liveness, queries
from kesikaran.tracking.context import SWEEP_TAG
from kesikaran.tracking.queries import Record

FINGERPRINT_TAG = "run_fingerprint"
_HELD_TAG = "claim"  # of a run that was there alone when it was read back: it stays, whatever the clocks say
_HELD = "held"
# A run that was opened at the same moment holds or gives way within them, as a rule within half a second.
_DECIDED_SECONDS = 10.0


class Claimed(Exception):
    """A job need not be trained, because its twin is or has been. record: the twin, FINISHED or RUNNING."""

    def __init__(self, record: Record):
        super().__init__(record.run_id)
        self.record = record


def twin(client: mlflow.MlflowClient, fingerprint: str, besides: str | None = None) -> Record | None:
    """The twin of a job: the earliest FINISHED one, else the RUNNING one that has the best claim.

    Args:
        besides: the id of the job's own run.
    """
    query = f"tags.{FINGERPRINT_TAG} = '{fingerprint}'"
    found = [run for run in queries.search(client, query, "attributes.start_time ASC") if run.run_id != besides]
    finished = [run for run in found if run.status == "FINISHED"]
    running = [run for run in found if run.status == "RUNNING" and liveness.lives(run.tags)]
    return next(iter(finished or sorted(running, key=_claim)), None)


def interrupted(client: mlflow.MlflowClient, fingerprint: str, sweep_id: str | None) -> Record | None:
    """The latest run of a job that was KILLED, in the same sweep or, as the job, in none."""
    query = f"tags.{FINGERPRINT_TAG} = '{fingerprint}' and attributes.status = 'KILLED'"
    found = queries.search(client, query, "attributes.start_time DESC")
    return next((run for run in found if run.tags.get(SWEEP_TAG) == sweep_id), None)


def contest(client: mlflow.MlflowClient, run_id: str, fingerprint: str) -> Record | None:
    """The twin that a run which has just been opened must give way to; None where the run stays.

    An earlier run may have to give way itself, to one that holds. So the run waits until the earlier one has decided:
    else it would name a run that trains nothing. Nobody waits in a circle, since nobody waits for a later run.

    Raises what MLflow raises.
    """
    own = _claim(queries.get(client, run_id))
    until = time.monotonic() + _DECIDED_SECONDS
    while (other := twin(client, fingerprint, besides=run_id)) is not None:
        if other.status != "FINISHED" and own < _claim(other):
            break
        if other.status == "FINISHED" or _holds(other) or time.monotonic() > until:
            return other
        time.sleep(0.1)
    client.set_tag(run_id, _HELD_TAG, _HELD)
    return None


def _holds(run: Record) -> bool:
    return run.tags.get(_HELD_TAG) == _HELD


def _claim(run: Record) -> tuple[bool, int, str]:
    return not _holds(run), run.start_time_ms, run.run_id
