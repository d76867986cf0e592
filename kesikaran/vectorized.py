"""`hydra/launcher=vectorized`: the jobs of a sweep whose heads are alike are trained together, as one model.

A job is a generator (`train.begin`): it yields its training once and is sent what became of it. So all jobs come as
far as their training, each group of trainings that can be one is one, and every job goes on to its own end.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

if TYPE_CHECKING:
    from kesikaran.fitting import Fitted, Training

Job = Generator["Training", "Fitted", float]


def launcher(begin: Callable[[DictConfig], Job]) -> type[Launcher]:
    """The launcher class of jobs that `begin` makes, for `Plugins.register`."""

    class VectorizedLauncher(Launcher):
        __module__ = "hydra_plugins.kesikaran"  # Hydra takes launchers from this namespace only

        def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
            self._context, self._config = hydra_context, config

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            setup_globals()
            configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
            Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
            jobs: list[Job] = []

            def start(cfg: DictConfig) -> "tuple[Job, Training]":
                jobs.append(begin(cfg))
                return jobs[-1], next(jobs[-1])

            try:
                results = [self._run(start, list(words), initial_job_idx + n) for n, words in enumerate(job_overrides)]
                _train_together(results)
            finally:  # whatever stopped us, no run stays open
                for job in jobs:
                    with suppress(SystemExit):
                        job.close()
            return results

        def _run(self, start: TaskFunction, overrides: list[str], number: int) -> JobReturn:
            config = self._context.config_loader.load_sweep_config(self._config, overrides)
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            result = run_job(
                hydra_context=self._context,
                task_function=start,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
            return result

    return VectorizedLauncher


def _train_together(results: list[JobReturn]) -> None:
    """Train the jobs that came as far, group by group, and let each end; what it returns or raises is its result."""
    groups: dict[Any, list[JobReturn]] = {}
    for result in results:
        if result.status is JobStatus.COMPLETED:
            groups.setdefault(result.return_value[1].group(), []).append(result)
    for number, group in enumerate(groups.values(), start=1):
        jobs, trainings = zip(*(result.return_value for result in group), strict=True)
        print(f"\nTraining {len(jobs)} of {len(results)} jobs together (group {number} of {len(groups)}) ...")
        outcomes = fit(trainings)
        for result, job, outcome in zip(group, jobs, outcomes, strict=True):
            try:
                result.return_value = finish(job, outcome)
            except Exception as error:
                result.status, result.return_value = JobStatus.FAILED, error


def fit(trainings: "Sequence[Training]") -> "Sequence[Fitted | BaseException]":
    """What becomes of trainings of one group. It raises nothing: a job hears itself of what stopped it."""
    from kesikaran import fitting

    first = trainings[0]
    try:
        samples = first.every.take(first.train), first.every.take(first.validation)
        return fitting.fit([training.task for training in trainings], *samples)
    except BaseException as stopped:
        return [stopped] * len(trainings)


def finish(job: Job, outcome: "Fitted | BaseException") -> float:
    """Send a job what became of its training; the value that it returns.

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
