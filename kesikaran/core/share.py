"""The share of a machine that belongs to one worker of several: cores of its own, and a GPU where there are some."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_MOST_WORKERS = 8  # without GPUs: each holds TensorFlow, nearly a gigabyte
_GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The names of the GPUs that this process may use, found without TensorFlow: the process that starts the workers
    would take memory of each."""
    allowed = os.environ.get(_GPU_VARIABLE)
    if allowed is not None:
        return [name for name in allowed.split(",") if name not in ("", "-1")]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def default_workers() -> int:
    """How many workers this machine gets: one a GPU; without GPUs one a core, at most eight."""
    return len(gpus()) or min(cores(), _MOST_WORKERS)


@dataclass(frozen=True)
class Share:
    """What one worker of a machine takes. sweep: what the workers of one command have in common, and no other's.
    workers: how many of them the machine has. gpus: the names to share out; empty where the engine does so itself."""

    sweep: str
    workers: int
    gpus: Sequence[str] = field(default_factory=gpus)

    def take(self) -> None:
        """Keep this process to the cores and the GPU of a place that no other worker of the sweep has. Before TensorFlow
        is loaded, which looks once. A second call changes nothing."""
        _take(self.sweep, self.workers, tuple(self.gpus))


@cache
def _take(sweep: str, workers: int, gpus: tuple[str, ...]) -> None:
    place = _free_place(sweep, workers)
    if gpus:
        os.environ[_GPU_VARIABLE] = gpus[place % len(gpus)]
    if hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, own[place::workers] or [own[place % len(own)]])


_held: list[socket.socket] = []


def _free_place(sweep: str, workers: int) -> int:
    """The first place without a holder. It is held by a socket with a name and no file, which the system takes back when
    the process ends, however it ends."""
    for place in range(workers):
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0kesikaran-{sweep}-{place}")
        except OSError:  # another worker holds it; or the system has no such names, and everybody shares
            holder.close()
            continue
        _held.append(holder)
        return place
    return os.getpid() % workers
