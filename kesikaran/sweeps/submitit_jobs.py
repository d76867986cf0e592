"""The jobs of a sweep by submitit: in a Slurm queue, or in processes of this machine that stand in for one."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import submitit
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

from kesikaran.core import files, paths, scratch, terminal
from kesikaran.sweeps import workers

_LOOK_SECONDS = {"local": 0.2, "slurm": 5.0}  # submitit asks the queue once a minute, and looks for results in between
_CLOSING_SECONDS = 20.0  # a worker that is told to stop closes its run
_SUBMITITS_OWN = "submitit "  # begins the lines that submitit prints before the job is there

Submit = Callable[[Sequence[workers.Job]], list[Any]]


def launch(jobs: Sequence[workers.Job], options: workers.Options) -> list[JobReturn]:
    """Run the jobs. What a job has printed is printed when it has ended. Where the wait is interrupted, the jobs that
    have not ended are cancelled.

    Raises:
        HydraException: submitit or the queue does not take the jobs.
    """
    cluster, n_jobs = options.pop("cluster"), options.pop("n_jobs")
    settings = {key: value for key, value in options.items() if value is not None}
    cache = files.writable(paths.cache_dir() / "hydra", "cache folder", "set KESIKARAN_CACHE to one that is")
    with scratch.held_folder(cache, "submitit-") as folder:
        if cluster == "local":
            own = workers.share_of(n_jobs, len(jobs))
            executor = _executor(cluster, folder, settings)
            return _wait(jobs, own.workers, cluster, lambda some: _start_here(executor, some, own))
        executor = _executor(cluster, folder, {**settings, "slurm_array_parallelism": n_jobs})
        return _wait(jobs, len(jobs), cluster, lambda some: _submit(executor, some))


def _executor(cluster: str, folder: Path, settings: workers.Options) -> submitit.AutoExecutor:
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster)
        executor.update_parameters(name="kesikaran", **settings)
    except (RuntimeError, NameError, ValueError, AssertionError) as error:
        raise HydraException(f"submitit does not take the settings of hydra.launcher: {error}") from None
    return executor


def _submit(executor: submitit.AutoExecutor, jobs: Sequence[workers.Job], *share: Any) -> list[Any]:
    try:
        with executor.batch():
            submitted = [executor.submit(_run, job, *share) for job in jobs]
    except (FailedSubmissionError, FailedJobError) as error:
        raise HydraException(f"the queue does not take the jobs: {error}") from None
    return submitted


def _run(job: workers.Job, *share: Any) -> JobReturn:
    """In a worker."""
    logging.getLogger("submitit").setLevel(logging.WARNING)  # it would tell that the job went well
    return job(*share)


def _start_here(executor: submitit.AutoExecutor, jobs: Sequence[workers.Job], *share: Any) -> list[Any]:
    """Start processes of this machine. They do not hear a Ctrl-C at the terminal: this process hears it and tells them
    to stop, so that each closes its run."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by what starts now
    try:
        return _submit(executor, jobs, *share)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _wait(jobs: Sequence[workers.Job], at_once: int, cluster: str, submit: Submit) -> list[JobReturn]:
    returned: dict[int, JobReturn] = {}  # place of the job in `jobs` -> what it returned
    running: dict[int, Any] = {}
    with _stopped_together(running, cluster):
        while len(returned) < len(jobs):
            first = len(returned) + len(running)
            if some := jobs[first : first + at_once - len(running)]:
                with terminal.sheltered():
                    running.update(enumerate(submit(some), first))
            for place in [place for place, task in running.items() if task.done()]:
                task = running.pop(place)
                _print_output(task)
                returned[place] = _result(task, jobs[place])
            terminal.stop_if_asked()
            time.sleep(_LOOK_SECONDS[cluster])
    return [returned[place] for place in range(len(jobs))]


@contextmanager
def _stopped_together(running: dict[int, Any], cluster: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for task in running.values():
            with suppress(OSError):
                # Of this machine: the process that started the worker hands the signal on.
                os.kill(int(task.job_id), signal.SIGTERM) if cluster == "local" else task.cancel()
        end = time.monotonic() + _CLOSING_SECONDS
        while cluster == "local" and time.monotonic() < end and not all(task.done() for task in running.values()):
            time.sleep(_LOOK_SECONDS[cluster])
        raise


def _print_output(task: Any) -> None:
    for text, stream in ((task.stdout(), sys.stdout), (task.stderr(), sys.stderr)):
        lines = (line for line in (text or "").splitlines() if not line.startswith(_SUBMITITS_OWN))
        for line in lines:
            print(line, file=stream)


def _result(task: Any, job: workers.Job) -> JobReturn:
    try:
        returned: JobReturn = task.result()
    except (UncompletedJobError, FailedJobError):
        return workers.lost(job, "it was killed, or it took longer than hydra.launcher.timeout_min")
    return returned
