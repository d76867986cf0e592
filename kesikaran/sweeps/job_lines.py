"""The one line that each job of a sweep prints, whatever launcher runs it."""

import sys
from collections.abc import Sequence

from kesikaran.config.metric_names import METRICS
from kesikaran.core.errors import printable
from kesikaran.experiment.outcome import Verdict
from kesikaran.tracking import context


def print_heading(planned: int | None, metric: str, confidence: float) -> None:
    """Print what the lines of the jobs show.

    Args:
        planned: the number of jobs; None where the sweeper finds them on its way. metric, confidence: of the verdict.
    """
    count = "Sweep" if planned is None else f"Sweep of {planned:,} jobs" if planned > 1 else "Sweep of 1 job"
    name = METRICS[metric].words if metric in METRICS else metric  # each job refuses a metric that there is not
    print(f"{count}. A line for each: {name} on the validation images [{confidence:.0%} interval], seconds.")


def print_done(number: int, words: Sequence[str], verdict: Verdict, seconds: float) -> None:
    """Print the line of a job that has ended; nothing where another command is at work on it.

    Args:
        number: of the job, from 0. words: its overrides. seconds: that it took.
    """
    if verdict.elsewhere is None:
        gate = "" if verdict.passed else "  gate failed"
        print(f"{_head(number, words)}  {verdict.words}  {seconds:.1f} s{gate}", flush=True)


def print_failed(number: int, words: Sequence[str], why: str) -> None:
    """Print why a job has failed, in one line, on stderr."""
    print(f"{_head(number, words)}  error: {why}", file=sys.stderr, flush=True)


def _head(number: int, words: Sequence[str]) -> str:
    varied = context.job_overrides(list(words))
    return printable(f"Job {number}  {' '.join(f'{key}={value}' for key, value in varied.items())}")
