"""`hydra/sweeper=optuna`: a search that goes on where an earlier command was stopped.

A study is a table of trials in a database. A trial is drawn, run as a job, and told its value, which is the validation
metric `fit.monitor`. The test split chooses nothing. Nothing is pruned: a job trains to its own end.
"""

import hashlib
import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import filelock
import optuna
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from kesikaran.config.metric_names import OBJECTIVE, Metric
from kesikaran.core import files, paths, terminal
from kesikaran.core.errors import first_line, without_password
from kesikaran.sweeps import search_space

Space = dict[str, BaseDistribution]
Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]

_ALIVE_SECONDS = 10  # how often a command says that its trials are still at work
_SILENT_SECONDS = 60  # a trial that nobody has said this of for so long was killed
# Settings that change neither a number nor which images are looked at.
_NO_PART = ("hydra", "tracking", "gate", "sweep", "evaluation")


@dataclass(frozen=True)
class Options:
    """The settings of conf/hydra/sweeper/optuna.yaml."""

    n_trials: int
    n_jobs: int
    seed: int
    study: str | None
    storage: str | None


def search(config: DictConfig, words: Sequence[str], launch: Launch, options: Options) -> list[Sequence[JobReturn]]:
    """Run trials until the study has `n_trials` finished ones, `n_jobs` at once. Returns what the jobs returned.

    A trial that another command has left, failed or killed, is tried again. One that fails now is not, until the next
    command.

    Args:
        config: of the sweep. words: the overrides of the sweep.

    Raises:
        HydraException: whatever is wrong with the options, the storage or what is searched.
        Exception: what the first job that failed has raised.
    """
    if min(options.n_trials, options.n_jobs) < 1:
        raise HydraException("hydra.sweeper.n_trials and n_jobs have to be at least 1")
    space, fixed = search_space.read(words)
    if "fit.monitor" in space:
        raise HydraException("fit.monitor cannot be searched: it is the metric that the search goes by; give one")
    metric = OBJECTIVE[config.fit.monitor]
    try:
        study = _open(options.study or _name(config, space), options.storage, metric)
        returned, failed = _go_on(study, space, fixed, launch, options)
        _print_best(study, metric)
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise HydraException(f"the database of the study cannot be used: {first_line(error)}") from None
    for result in failed:
        _ = result.return_value  # raises what the job has raised
    return returned


def _go_on(
    study: optuna.Study, space: Space, fixed: Sequence[str], launch: Launch, options: Options
) -> tuple[list[Sequence[JobReturn]], list[JobReturn]]:
    """(what all jobs of this command returned, those of them that failed)"""
    returned: list[Sequence[JobReturn]] = []
    failed: list[JobReturn] = []
    own: set[int] = set()  # the numbers of this command's trials
    _retry_left(study, own)
    done = len(_of(study, TrialState.COMPLETE))
    print(f"Study {study.study_name}: {done} of {options.n_trials} trials are done.")
    while True:
        at_work = len(_of(study, TrialState.RUNNING))
        free = options.n_trials - len(failed) - len(_of(study, TrialState.COMPLETE)) - at_work
        if free > 0:
            trials = _draw(study, space, min(free, options.n_jobs), options.seed)
            own |= {trial.number for trial in trials}
            overrides = [[*fixed, *(f"{name}={value}" for name, value in trial.params.items())] for trial in trials]
            results = _run(study, trials, launch, overrides, sum(map(len, returned))) if trials else []
            returned.append(results)
            failed += [result for result in results if result.status is not JobStatus.COMPLETED]
        elif at_work:  # by other commands, or left by one that was killed
            _wait()
            _retry_left(study, own)
        else:
            return returned, failed


def _draw(study: optuna.Study, space: Space, count: int, seed: int) -> list[optuna.Trial]:
    """`count` new trials. One that has a finished twin is told its value at once and is not returned.

    The seed goes with the number of trials before, those that are tried again counted once: a search that was stopped
    draws what it would have drawn, where an old seed would draw the first trials once more.
    """
    standing = [trial.params for trial in _of(study, TrialState.COMPLETE, TrialState.RUNNING)]
    before = len(standing) + sum(trial.params not in standing for trial in _of(study, TrialState.FAIL))
    study.sampler = optuna.samplers.TPESampler(seed=seed + before, constant_liar=True)
    finished = {repr(sorted(trial.params.items())): trial.value for trial in _of(study, TrialState.COMPLETE)}
    drawn = []
    for _ in range(count):
        with terminal.sheltered():
            try:
                trial = study.ask(space)
            except ValueError as error:
                raise HydraException(f"study {study.study_name} has searched something else: {error}") from None
            value = finished.get(repr(sorted(trial.params.items())))
            if value is None:
                drawn.append(trial)
            else:
                study.tell(trial, value)
    return drawn


def _run(
    study: optuna.Study, trials: Sequence[optuna.Trial], launch: Launch, overrides: list[list[str]], first: int
) -> Sequence[JobReturn]:
    """Run the trials as jobs, numbered from `first`, and tell the study what came of them."""
    results: Sequence[JobReturn] = []
    try:
        with _said_alive(study, trials):
            results = launch(overrides, first)
        for result in results:
            if result.status is JobStatus.COMPLETED and not math.isfinite(result.return_value):
                metric = f"the metric that the search goes by is {result.return_value}"
                result.status, result.return_value = JobStatus.FAILED, HydraException(metric)
    finally:
        with terminal.sheltered():
            for trial, result in zip_longest(trials, results):
                if result and result.status is JobStatus.COMPLETED:
                    study.tell(trial, result.return_value)
                else:
                    study.tell(trial, state=TrialState.FAIL)
    return results


@contextmanager
def _said_alive(study: optuna.Study, trials: Sequence[optuna.Trial]) -> Iterator[None]:
    """While the block lasts, the database hears that the trials are at work."""
    ended = threading.Event()

    def say() -> None:
        while True:
            with suppress(optuna.exceptions.OptunaError):  # busy or away: it is said again
                for trial in trials:
                    trial.storage.record_heartbeat(trial._trial_id)
            if ended.wait(_ALIVE_SECONDS):
                return

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    try:
        yield
    finally:
        ended.set()
        saying.join()


def _retry_left(study: optuna.Study, own: Container[int]) -> None:
    """Have the trials tried again that other commands have left, failed or killed, unless somebody does or has. own:
    the numbers of this command's trials."""
    optuna.storages.fail_stale_trials(study)
    taken = [trial.params for trial in _of(study, TrialState.COMPLETE, TrialState.RUNNING)]
    taken += [trial.system_attrs.get("fixed_params") for trial in _of(study, TrialState.WAITING)]
    for trial in _of(study, TrialState.FAIL):
        if trial.number not in own and trial.params and trial.params not in taken:
            study.enqueue_trial(trial.params, skip_if_exists=False)
            taken.append(trial.params)


def _wait() -> None:
    for _ in range(_ALIVE_SECONDS):
        terminal.stop_if_asked()
        time.sleep(1)


def _of(study: optuna.Study, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


def _open(name: str, storage: str | None, metric: Metric) -> optuna.Study:
    """Make or find the study.

    Raises:
        HydraException: no such database, or the study goes by another metric.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used")  # `_said_alive` does its part
    direction = "maximize" if metric.higher_is_better else "minimize"
    cache = files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
    url = storage or URL.create("sqlite", database=str(cache / "optuna.db")).render_as_string(hide_password=False)
    try:
        with filelock.FileLock(cache / "optuna.db.lock"):  # two at once would both make the tables
            database = optuna.storages.RDBStorage(url, heartbeat_interval=_ALIVE_SECONDS, grace_period=_SILENT_SECONDS)
            study = optuna.create_study(storage=database, study_name=name, direction=direction, load_if_exists=True)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise HydraException(f"hydra.sweeper.storage={without_password(url)}: {first_line(error)}") from None
    if study.direction.name.lower() != direction:
        raise HydraException(f"study {name} is to {study.direction.name.lower()}, and {metric.name} is to {direction}")
    return study


def _name(config: DictConfig, space: Space) -> str:
    """The same for two searches whose values can be laid together: the data set's name, and a hash over the settings
    that all jobs have, the search space, and what stands in the label file and the split file."""
    part = [str(name) for name in config if name not in _NO_PART]
    settings: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, part), resolve=True)
    read = [settings["data"]["labels"], settings["split"]["file"]]
    texts = [Path(path).expanduser().read_bytes() if path and Path(path).is_file() else b"" for path in read]
    settings["search"] = {name: repr(distribution) for name, distribution in space.items()}
    settings["files"] = [hashlib.sha256(text).hexdigest() for text in texts]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
    return f"{config.data.name}-{digest[:12]}"


def _print_best(study: optuna.Study, metric: Metric) -> None:
    if _of(study, TrialState.COMPLETE):
        found = " ".join(f"{name}={value}" for name, value in study.best_params.items())
        print(f"\nBest of the study by {metric.words} on validation: {found}, {study.best_value:.4f}")
