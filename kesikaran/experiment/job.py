"""One experiment as a job: a run is opened, one path trains, what it trained is judged, the run is closed.

A job is a generator: it yields its training once, is sent what came of it, and returns its verdict. So the jobs of a
sweep can be trained together. Nothing heavy is imported before a job starts.
"""

import gc
import math
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kesikaran.config import compose, rules, run_name
from kesikaran.config.metric_names import METRICS, OBJECTIVE
from kesikaran.config.schema import Experiment, Trains
from kesikaran.core import files, terminal
from kesikaran.core.errors import InputError, NotInstalled, printable
from kesikaran.experiment.identity import Asked
from kesikaran.experiment.outcome import Verdict
from kesikaran.reports import drawing, notes

if TYPE_CHECKING:
    from kesikaran.features.extract import FeatureCache
    from kesikaran.tracking.queries import Record
    from kesikaran.training.task import FitResult, TrainingJob

Job = Generator["TrainingJob", "FitResult", Any]

RUN_STORE = "the store of runs or the temporary folder"
RUN_STORE_REMEDY = "or set MLFLOW_TRACKING_URI or TMPDIR to another place"


@dataclass
class Shared:
    """What the jobs of one process share. The features of the last job stay in memory for the next."""

    asked: Asked = field(default_factory=Asked)
    features: "FeatureCache | None" = None
    is_frozen: bool = False
    is_told: bool = False  # that too many jobs have failed: said once


@dataclass(frozen=True)
class SweepPlace:
    """What a job is in its sweep. varied: what it has of what the sweep varies. number: its place, from 0."""

    varied: dict[str, str]
    number: int | None


class TooManyFailures(InputError):
    """A job that is not begun, because as many jobs as `sweep.max_failures` allows have failed."""


def run_job(
    e: Experiment, config_yaml: str, place: SweepPlace, shared: Shared
) -> Generator["TrainingJob", "FitResult", "Verdict"]:
    """One experiment from configuration to logged model. It ends without a training where the experiment is a job of a
    sweep that resumes, and a run of the same identity is finished or at work.

    Args:
        config_yaml: the resolved configuration, which the run keeps.

    Raises:
        InputError: whatever is wrong with settings, data, backbone, cache or store.
    """
    from kesikaran.tracking import context, runs
    from kesikaran.tracking.claims import Claimed

    varied = [f"{key}={value}" for key, value in place.varied.items()]
    name = e.tracking.run_name or (run_name.short(varied) if varied else run_name.of(e))
    sweep_id = context.open_sweep_id()
    fingerprint, problem = _identify(e, shared.asked)
    if isinstance(problem, NotInstalled) or (problem and not sweep_id):
        raise problem  # nothing was tried that a run could be a record of; of a sweep's job the sweep has a record
    if sweep_id and e.sweep.max_failures:
        _need_few_failures(e.sweep.max_failures)
    resumes = sweep_id is not None and e.sweep.resume and fingerprint is not None
    room = files.disk_space(f"{RUN_STORE} {tempfile.gettempdir()}", RUN_STORE_REMEDY)
    saved = None
    if e.finetune.trains is not Trains.none and fingerprint:
        from kesikaran.training import checkpoint

        saved = checkpoint.of(fingerprint)
    opened = runs.run(
        e.data.name, name, compose.flatten(e), place.varied, place.number, fingerprint,
        is_claim=resumes, goes_on=saved is not None and saved.path.exists(),
    )  # fmt: skip
    try:
        # The run opens first, so that whatever goes wrong from here on is on record.
        with room, opened as run:
            if problem:
                raise problem
            run.text(config_yaml, "config.yaml")
            notes.of_run(f"Run {run.run_id} in experiment {printable(e.data.name)}")
            if sweep_id:
                drawing.start()
            with terminal.quiet_start():
                from kesikaran.experiment import finetuned, frozen, judge
                from kesikaran.features.extract import FeatureCache
            if not shared.is_frozen:
                shared.is_frozen = True
                gc.freeze()  # what was imported stays: no collection, of which each training has one, looks at it again
            gc.enable()
            shared.features = shared.features or FeatureCache()
            device_name = frozen.prepare_process(e)
            path = frozen if e.finetune.trains is Trains.none else finetuned
            trained = yield from path.train(e, shared.asked, run, shared.features, device_name)
            verdict = judge.judge(e, run, trained)
        if saved:  # the run is finished
            saved.remove()
        return verdict
    except Claimed as claimed:
        return _of_twin(e, claimed.record, sweep_id or "", place)


def _identify(e: Experiment, asked: Asked) -> tuple[str | None, InputError | None]:
    """(the identity of the run, None), or (None, what is wrong with its settings, data or backbone)."""
    try:
        rules.check(e)
        rules.check_effects(e)
        with terminal.quiet_start():  # the libraries alone: a download or a copy has a bar, and Ctrl-C ends it
            from kesikaran.data import data_source, label_file, near_duplicates  # noqa: F401
            from kesikaran.models import hub  # noqa: F401
        return asked.fingerprint(e), None
    except InputError as error:
        return None, error


def _need_few_failures(most: int) -> None:
    from kesikaran.tracking import sweeps

    failed = sweeps.failures()
    if failed >= most:
        raise TooManyFailures(
            f"{failed} jobs have failed, so no further one begins (sweep.max_failures={most}): see what they have in "
            "common, and give the same command again"
        )


def _of_twin(e: Experiment, twin: "Record", sweep_id: str, place: SweepPlace) -> "Verdict":
    """The verdict of a run that is the job already."""
    from kesikaran.analysis.wording import in_words
    from kesikaran.metrics.intervals import Interval
    from kesikaran.tracking import sweeps

    if twin.status != "FINISHED":
        return Verdict(math.nan, passed=True, elsewhere=twin)
    sweeps.reuse(sweep_id, twin, place.varied, place.number or 0)
    objective = twin.metrics.get(f"validation/{OBJECTIVE[e.fit.monitor].name}", math.nan)
    name = e.evaluation.verdict
    judged = Interval(*(twin.metrics.get(f"validation/{name}{end}", math.nan) for end in ("", "_low", "_high")))
    words = f"{METRICS[name].words} {in_words(judged)}  finished before (run {twin.run_id[:8]})"
    return Verdict(objective, passed=True, words=words)


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


def finish(job: Job, outcome: "FitResult | BaseException") -> Any:
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
        return end.value
    raise AssertionError("a job trains once")


def run_alone(job: Job) -> Any:
    """Run a job to its end by itself; the value that it returns.

    Raises:
        What the job raises.
    """
    try:
        training = next(job)
    except StopIteration as end:
        return end.value
    (outcome,) = fit([training])
    return finish(job, outcome)
