"""One experiment as a job: a run is opened, one path trains, what it trained is judged, the run is closed.

A job is a generator: it yields its training once, is sent what came of it, and returns its verdict. So the jobs of a
sweep can be trained together. Nothing heavy is imported before a job starts.
"""

import gc
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kesikaran.config import compose, rules
from kesikaran.config.schema import Experiment
from kesikaran.core import files, terminal
from kesikaran.core.errors import printable

if TYPE_CHECKING:
    from kesikaran.experiment.judge import Verdict
    from kesikaran.features.extract import FeatureCache
    from kesikaran.training.task import FitResult, TrainingJob

Job = Generator["TrainingJob", "FitResult", float]

RUN_STORE = "the store of runs or the temporary folder"
RUN_STORE_REMEDY = "or set MLFLOW_TRACKING_URI or TMPDIR to another place"


@dataclass
class Shared:
    """What the jobs of one process share. The features of the last job stay in memory for the next."""

    features: "FeatureCache | None" = None


def run_job(
    e: Experiment, config_yaml: str, varied: dict[str, str], shared: Shared
) -> Generator["TrainingJob", "FitResult", "Verdict"]:
    """One experiment from configuration to logged model.

    Args:
        config_yaml: the resolved configuration, which the run keeps. varied: what the job has of what its sweep varies.

    Raises:
        InputError: whatever is wrong with settings, data, backbone, cache or store.
    """
    from kesikaran.tracking import runs

    name = e.tracking.run_name or " ".join(f"{key}={value}" for key, value in varied.items()) or None
    room = files.disk_space(f"{RUN_STORE} {tempfile.gettempdir()}", RUN_STORE_REMEDY)
    # The run opens first, so that whatever goes wrong from here on is on record.
    with room, runs.run(e.data.name, name, compose.flatten(e), varied) as run:
        rules.check(e)
        rules.check_effects(e)
        run.text(config_yaml, "config.yaml")
        print(f"Run {run.run_id} in experiment {printable(e.data.name)}")
        with terminal.quiet_start():
            from kesikaran.experiment import frozen, judge
            from kesikaran.features.extract import FeatureCache
        if not gc.get_freeze_count():
            gc.freeze()  # what was imported stays: no collection, of which each job has one, looks at it again
        gc.enable()
        shared.features = shared.features or FeatureCache()
        trained = yield from frozen.train(e, run, shared.features, frozen.prepare_process(e))
        return judge.judge(e, run, trained)


def fit(jobs: "Sequence[TrainingJob]") -> "Sequence[FitResult | BaseException]":
    """Train the jobs of one group together. Errors are returned, one for each job, so that the job's own code
    handles them."""
    from kesikaran.training import head_trainer

    first = jobs[0]
    try:
        rows = first.every.take(first.train), first.every.take(first.validation)
        return head_trainer.fit([job.task for job in jobs], *rows)
    except BaseException as stopped:
        return [stopped] * len(jobs)


def finish(job: Job, outcome: "FitResult | BaseException") -> float:
    """Send a job what came of its training, or raise in it what stopped the training; the value that it returns.

    Raises:
        What the job raises.
    """
    try:
        if isinstance(outcome, BaseException):
            job.throw(outcome)
        else:
            job.send(outcome)
    except StopIteration as end:
        value: float = end.value
        return value
    raise AssertionError("a job trains once")
