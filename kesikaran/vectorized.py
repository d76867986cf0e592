"""`hydra/launcher=vectorized`: the jobs of a sweep whose heads are alike are trained together, as one model.

A job is a generator (`job.begin`): it yields its training once and is sent what became of it. So all jobs come as
far as their training, each group of trainings that can be one is one, and every job goes on to its own end.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

if TYPE_CHECKING:
    from kesikaran.fitting import Fitted, Training

Job = Generator["Training", "Fitted", float]


class Sweep:
    """Jobs under way. On leaving its block no run of theirs stays open, whatever happened."""

    def __init__(self, begin: Callable[[DictConfig], Job]):
        self._begin = begin
        self._jobs: list[Job] = []
        self._results: list[JobReturn] = []

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            with suppress(SystemExit):
                job.close()

    def start(self, cfg: DictConfig) -> "tuple[Job, Training]":
        """Run one job as far as its training: what Hydra is to call."""
        self._jobs.append(self._begin(cfg))
        return self._jobs[-1], next(self._jobs[-1])

    def started(self, result: JobReturn) -> None:
        """Take what Hydra made of a `start`."""
        self._results.append(result)

    def train(self) -> list[JobReturn]:
        """Train what was started, group by group, and let each job end: what it returns or raises is its result."""
        groups: dict[Any, list[JobReturn]] = {}
        for result in self._results:
            if result.status is JobStatus.COMPLETED:
                groups.setdefault(result.return_value[1].group(), []).append(result)
        for number, group in enumerate(groups.values(), start=1):
            jobs, trainings = zip(*(result.return_value for result in group), strict=True)
            print(f"\nTraining {len(jobs)} of {len(self._results)} jobs together, group {number} of {len(groups)} ...")
            for result, job, outcome in zip(group, jobs, fit(trainings), strict=True):
                try:
                    result.return_value = finish(job, outcome)
                except Exception as error:
                    result.status, result.return_value = JobStatus.FAILED, error
        return self._results


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
