"""Jobs of a sweep on which another command is at work: they are left for the end, and then waited for.

Several identical commands, on one machine or on many, share one sweep. Each takes the jobs in order and leaves out what
another has claimed (`tracking.claims`). A command ends when all jobs have ended, whoever trained them. A job whose
process has died in between is trained here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from kesikaran.core import terminal
from kesikaran.core.errors import printable
from kesikaran.experiment.job import TooManyFailures
from kesikaran.sweeps.composition import Composer

if TYPE_CHECKING:
    from kesikaran.experiment.outcome import Verdict
    from kesikaran.tracking.queries import Record

_PAUSE_SECONDS = 2.0
_LEAVES = "hydra_plugins.kesikaran_grid.GridSweeper"


@dataclass
class _Left:
    """The jobs that this command has left out: number -> its overrides."""

    composer: Composer | None = None
    jobs: dict[int, list[str]] = field(default_factory=dict)


_left = _Left()


def leave(composer: Composer, number: int, words: Sequence[str]) -> None:
    """Keep a job for `train_left`."""
    _left.composer = composer
    _left.jobs[number] = list(words)


def leaves_for_later(sweeper: Any) -> bool:
    """Whether a sweeper, by its configuration, calls `leave`. Others may choose the next job by the value of this."""
    return bool(sweeper["_target_"] == _LEAVES)


def pause() -> None:
    """Wait for a while. A signal to stop ends it."""
    time.sleep(_PAUSE_SECONDS)
    terminal.stop_if_asked()


def train_left(train: "Callable[[DictConfig, list[str], int], Verdict]") -> None:
    """Wait until every job that was left out has ended, and train those that are given up.

    Args:
        train: trains a job, of its configuration, its overrides and its number, unless it is done or at work elsewhere.

    Raises:
        The first error of a job that was trained here, once all have ended.
    """
    composer, jobs = _left.composer, dict(sorted(_left.jobs.items()))
    if composer is None or not jobs:
        return
    from kesikaran.tracking import liveness

    _left.jobs.clear()
    errors: list[Exception] = []
    watch = liveness.Watch()
    told = False
    while jobs:
        at_work: list[Record] = []
        for number, words in list(jobs.items()):
            try:
                verdict = train(composer.compose(words), words, number)
            except TooManyFailures as error:
                raise errors[0] if errors else error from None
            except Exception as error:
                errors.append(error)
            else:
                if verdict.elsewhere is not None:
                    at_work.append(verdict.elsewhere)
                    continue
            del jobs[number]
        watch.close_silent(at_work)
        if jobs:
            if not told:
                told = True
                print(f"\nWaiting for {_named(at_work)}. Ctrl-C ends the waiting; what is finished stays.")
            pause()
    if errors:
        raise errors[0]


def _named(at_work: "Sequence[Record]") -> str:
    hosts = sorted({printable(run.tags.get("host", "another process")) for run in at_work})
    jobs = "1 job that is" if len(at_work) == 1 else f"{len(at_work)} jobs that are"
    return f"{jobs} at work on {', '.join(hosts)}"
