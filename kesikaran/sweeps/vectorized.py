"""`hydra/launcher=vectorized`: the jobs of a sweep whose heads are alike are trained together, as one model.

Every job runs as far as its training (`experiment.job`). Trainings that can be one model are trained as one, and then
every job goes on to its own end.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from kesikaran.experiment.job import Job, Shared, finish, fit

if TYPE_CHECKING:
    from kesikaran.training.task import TrainingJob


class JobBatch:
    """The jobs of one sweep. When its block ends, no run of a job stays open, whatever happened."""

    def __init__(self, begin: Callable[[DictConfig, Shared], Job], shared: Shared):
        """begin: makes a job from its configuration and from what all jobs share."""
        self._begin, self._shared = begin, shared
        self._jobs: list[Job] = []
        self._results: list[JobReturn] = []

    def __enter__(self) -> "JobBatch":
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            with suppress(SystemExit):
                job.close()

    def start(self, cfg: DictConfig) -> "tuple[Job, TrainingJob]":
        """Run one job as far as its training. Hydra calls this as the task of the job."""
        self._jobs.append(self._begin(cfg, self._shared))
        return self._jobs[-1], next(self._jobs[-1])

    def add(self, result: JobReturn) -> None:
        """Take what Hydra returns for a `start`."""
        self._results.append(result)

    def train(self) -> list[JobReturn]:
        """Train the started jobs, group by group, and let each job end. What a job returns or raises is its result."""
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
