"""Launchers that run each job of a sweep in a process of a worker.

A worker runs no `main`. It gets a `Job`, which holds all that Hydra needs to compose the job and to run it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from kesikaran.core import share

Options = dict[str, Any]
Launch = Callable[[Sequence["Job"], Options], list[JobReturn]]
_LOOK_SECONDS = 1.0
_CLOSING_SECONDS = 20.0


@dataclass(frozen=True)
class Job:
    """One job of a sweep, on its way to a worker. words: its overrides. singletons: the state of Hydra and of
    OmegaConf's resolvers."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    words: list[str]
    number: int
    singletons: Any

    def __call__(self, own: share.Share | None = None) -> JobReturn:
        """Run the job in this process, which first takes its share of the machine."""
        if own:
            own.take()
        setup_globals()
        Singleton.set_state(self.singletons)
        config = self.context.config_loader.load_sweep_config(self.config, self.words)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = self.number
        return run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


@dataclass(frozen=True)
class Sweep:
    """What the jobs of a sweep have in common."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction

    def job(self, words: list[str], number: int) -> Job:
        """The job with these overrides."""
        return Job(self.context, self.config, self.task, words, number, Singleton.get_state())


def engine(name: str) -> Launch:
    """What runs jobs with the engine joblib, submitit or ray. They come back in the order in which they were given.

    Raises:
        HydraException: the engine is not installed.
    """
    if not find_spec(name):
        raise HydraException(f'this launcher needs the package {name}: pip install "kesikaran[{name}]"')
    if name == "joblib":
        return with_joblib
    if name == "submitit":
        from kesikaran.sweeps import submitit_jobs

        return submitit_jobs.launch
    from kesikaran.sweeps import ray_jobs

    return ray_jobs.launch


def with_joblib(jobs: Sequence[Job], options: Options) -> list[JobReturn]:
    """In several processes of this machine."""
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    own = share_of(options["n_jobs"], len(jobs))
    parallel = joblib.Parallel(n_jobs=own.workers, backend="loky", batch_size=1, pre_dispatch="n_jobs")
    try:
        returned: list[JobReturn] = parallel(joblib.delayed(_run_here)(job, own, os.getpid()) for job in jobs)
    except TerminatedWorkerError:
        raise HydraException(
            f"a worker was killed, most likely because {own.workers} at once take more memory than there is: fewer by "
            "hydra.launcher.n_jobs=1"
        ) from None
    return returned


def _run_here(job: Job, own: share.Share, command: int) -> JobReturn:
    """In a worker of joblib. command: the number of the process that started it."""
    _end_with(command)
    return job(own)


@cache
def _end_with(command: int) -> None:
    """Have this process close its run and end when the command is gone. Joblib's workers outlive a command that was
    killed, and a signal ends their job only."""

    def watch() -> None:
        while os.getppid() == command:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_CLOSING_SECONDS)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def share_of(n_jobs: int | None, jobs: int) -> share.Share:
    """What each worker on this machine takes, of `n_jobs` workers or of as many as there are jobs.

    Raises:
        HydraException: `n_jobs` is no number of processes.
    """
    workers = n_jobs or share.default_workers()
    if not (isinstance(workers, int) and workers >= 1):
        raise HydraException(f"hydra.launcher.n_jobs={workers} is not allowed: null, or at least 1")
    return share.Share(min(workers, jobs))


def lost(job: Job, why: str) -> JobReturn:
    """What a job returns whose worker was lost before the job ended."""
    result = JobReturn()
    result.overrides, result.status = job.words, JobStatus.FAILED
    result.return_value = HydraException(f"the worker of job {job.number} was lost: {why}")
    return result
