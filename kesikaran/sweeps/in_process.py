"""The jobs of a sweep in this process: one after the other, or those whose heads are alike trained as one model.

Hydra's own launcher composes each job from its files and copies its configuration several times: 0.15 s a job.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from kesikaran.experiment.job import Job, finish, fit, run_alone
from kesikaran.sweeps import job_lines, others

if TYPE_CHECKING:
    from kesikaran.experiment.outcome import Verdict
    from kesikaran.training.task import FitResult, TrainingJob


Begin = Callable[[list[str], int], Job]  # makes a job from its overrides and its number
Numbered = tuple[list[str], int]


def in_turn(jobs: Sequence[Numbered], begin: Begin, sweeper: Any) -> list[JobReturn]:
    """Run the jobs one after the other. The objective of a job, or what it raises, is its result.

    Args:
        sweeper: its configuration.
    """
    returned = []
    for words, number in jobs:
        result, started = JobReturn(overrides=words), time.monotonic()
        try:
            verdict = _ended(words, number, begin, sweeper)
            job_lines.print_done(number, words, verdict, time.monotonic() - started)
            _end(result, verdict)
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


@dataclass
class _Started:
    """A job that waits for its training. seconds: that it took so far."""

    words: list[str]
    number: int
    result: JobReturn
    job: Job
    training: "TrainingJob"
    seconds: float

    def finish(self, outcome: "FitResult | BaseException") -> None:
        """Let the job end, and print its line."""
        started = time.monotonic()
        try:
            verdict = finish(self.job, outcome)
        except Exception as error:
            _end(self.result, error)
        else:
            seconds = self.seconds + time.monotonic() - started
            job_lines.print_done(self.number, self.words, verdict, seconds)
            _end(self.result, verdict)


class _JobBatch:
    """The jobs of one sweep. When its block ends, no run of a job stays open, whatever happened."""

    def __init__(self, begin: Begin):
        self._begin = begin
        self._jobs: list[Job] = []
        self._results: list[JobReturn] = []
        self._started: list[_Started] = []

    def __enter__(self) -> "_JobBatch":
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            with suppress(SystemExit):
                job.close()

    def start(self, words: list[str], number: int) -> None:
        """Run one job as far as its training, or to its end where it has none."""
        self._results.append(JobReturn(overrides=words))
        began = time.monotonic()
        try:
            job = self._begin(words, number)
            self._jobs.append(job)
            training = next(job)
            seconds = time.monotonic() - began
            self._started.append(_Started(words, number, self._results[-1], job, training, seconds))
        except StopIteration as end:
            job_lines.print_done(number, words, end.value, time.monotonic() - began)
            _end(self._results[-1], end.value)
        except Exception as error:
            _end(self._results[-1], error)

    def train(self) -> list[JobReturn]:
        """Train the started jobs, group by group, and let each job end. The objective of a job,
        or what it raises, is its result."""
        groups: dict[Any, list[_Started]] = {}
        for one in self._started:
            groups.setdefault(one.training.group(), []).append(one)
        for group in groups.values():
            began = time.monotonic()
            outcomes = fit([one.training for one in group])
            share = (time.monotonic() - began) / len(group)
            for one, outcome in zip(group, outcomes, strict=True):
                one.seconds += share
                one.finish(outcome)
        return self._results


def _end(result: JobReturn, ended: "Verdict | Exception") -> None:
    if isinstance(ended, Exception):
        result.status, result.return_value = JobStatus.FAILED, ended
    else:
        result.status, result.return_value = JobStatus.COMPLETED, ended.objective
