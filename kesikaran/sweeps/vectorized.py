"""`hydra/launcher=vectorized`: the jobs of a sweep whose heads are alike are trained together, as one model.

Every job runs as far as its training (`experiment.job`). Trainings that can be one model are trained as one, and then
every job goes on to its own end.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from kesikaran.experiment.job import Job, finish, fit

if TYPE_CHECKING:
    from kesikaran.experiment.outcome import Verdict
    from kesikaran.training.task import TrainingJob


class JobBatch:
    """The jobs of one sweep. When its block ends, no run of a job stays open, whatever happened."""

    def __init__(self, begin: Callable[[list[str], int], Job]):
        """begin: makes a job from its overrides and its number."""
        self._begin = begin
        self._jobs: list[Job] = []
        self._results: list[JobReturn] = []
        self._trainings: list[tuple[JobReturn, Job, TrainingJob]] = []

    def __enter__(self) -> "JobBatch":
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            with suppress(SystemExit):
                job.close()

    def start(self, words: list[str], number: int) -> None:
        """Run one job as far as its training, or to its end where it has none."""
        self._results.append(JobReturn(overrides=words))
        try:
            job = self._begin(words, number)
            self._jobs.append(job)
            self._trainings.append((self._results[-1], job, next(job)))
        except StopIteration as end:
            self._end(self._results[-1], end.value)
        except Exception as error:
            self._end(self._results[-1], error)

    def train(self) -> list[JobReturn]:
        """Train the started jobs, group by group, and let each job end. The objective of a job,
        or what it raises, is its result."""
        groups: dict[Any, list[tuple[JobReturn, Job, TrainingJob]]] = {}
        for one in self._trainings:
            groups.setdefault(one[2].group(), []).append(one)
        for number, group in enumerate(groups.values(), start=1):
            print(f"\nTraining {len(group)} of {len(self._results)} jobs together, group {number} of {len(groups)} ...")
            for (result, job, _), outcome in zip(group, fit([training for *_, training in group]), strict=True):
                try:
                    self._end(result, finish(job, outcome))
                except Exception as error:
                    self._end(result, error)
        return self._results

    def _end(self, result: JobReturn, ended: "Verdict | Exception") -> None:
        if isinstance(ended, Exception):
            result.status, result.return_value = JobStatus.FAILED, ended
        else:
            result.status, result.return_value = JobStatus.COMPLETED, ended.objective
