"""The jobs of a sweep in this process: one after the other, or those whose heads are alike trained as one model.

Hydra's own launcher composes each job from its files and copies its configuration several times: 0.15 s a job.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from kesikaran.experiment.job import Job, finish, fit, run_alone
from kesikaran.sweeps import others
from kesikaran.tracking import context

if TYPE_CHECKING:
    from kesikaran.experiment.outcome import Verdict
    from kesikaran.training.task import TrainingJob


Begin = Callable[[list[str], int], Job]  # makes a job from its overrides and its number
Numbered = tuple[list[str], int]


def in_turn(jobs: Sequence[Numbered], begin: Begin, sweeper: Any) -> list[JobReturn]:
    """Run the jobs one after the other. The objective of a job, or what it raises, is its result.

    Args:
        sweeper: its configuration.
    """
    returned = []
    for words, number in jobs:
        print(f"\nJob {number}: {' '.join(f'{key}={value}' for key, value in context.job_overrides(words).items())}")
        result = JobReturn(overrides=words)
        try:
            _end(result, _ended(words, number, begin, sweeper))
        except Exception as error:
            _end(result, error)
        returned.append(result)
    return returned


def _ended(words: list[str], number: int, begin: Begin, sweeper: Any) -> "Verdict":
    while True:
        verdict: Verdict = run_alone(begin(words, number))
        if verdict.elsewhere is None or others.leaves_for_later(sweeper):
            return verdict
        others.pause()


def together(jobs: Sequence[Numbered], begin: Begin) -> list[JobReturn]:
    """Run every job as far as its training (`experiment.job`), train as one model what can be one, and let every job go
    on to its own end."""
    with _JobBatch(begin) as batch:
        for words, number in jobs:
            batch.start(words, number)
        return batch.train()


class _JobBatch:
    """The jobs of one sweep. When its block ends, no run of a job stays open, whatever happened."""

    def __init__(self, begin: Begin):
        self._begin = begin
        self._jobs: list[Job] = []
        self._results: list[JobReturn] = []
        self._trainings: list[tuple[JobReturn, Job, TrainingJob]] = []

    def __enter__(self) -> "_JobBatch":
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
            _end(self._results[-1], end.value)
        except Exception as error:
            _end(self._results[-1], error)

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
                    _end(result, finish(job, outcome))
                except Exception as error:
                    _end(result, error)
        return self._results


def _end(result: JobReturn, ended: "Verdict | Exception") -> None:
    if isinstance(ended, Exception):
        result.status, result.return_value = JobStatus.FAILED, ended
    else:
        result.status, result.return_value = JobStatus.COMPLETED, ended.objective
