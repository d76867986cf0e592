"""The share of a machine that belongs to one worker of several: cores of its own, and a GPU where there are some."""

import os
import socket
import uuid
from collections.abc import Sequence
from contextlib import suppress
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


@cache
def _command() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Share:
    """What one worker of a machine takes. workers: how many of them the machine has at once. gpus: the names to share
    out; empty where the engine does so itself. command: a word that the workers of one command have in common, and
    those of no other."""

    workers: int
    gpus: Sequence[str] = field(default_factory=gpus)
    command: str = field(default_factory=_command)

    def take(self) -> None:
        """Keep this process to the cores and the GPU of a place that no other worker of the command has. Before
        TensorFlow is loaded, which looks once. A process keeps its first place: a second call changes nothing."""
        if _held:
            return
        place = self._free_place()
        if self.gpus:
            os.environ[_GPU_VARIABLE] = self.gpus[place % len(self.gpus)]
        if hasattr(os, "sched_setaffinity"):
            own = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, own[place :: self.workers] or [own[place % len(own)]])

    def _free_place(self) -> int:
        """The first place without a holder. It is held by a socket that has a name and no file: the system takes it
        back when the process ends, however it ends."""
        for place in range(self.workers):
            _held.append(socket.socket(socket.AF_UNIX))
            with suppress(OSError):  # another worker holds it; or the system has no such names
                _held[-1].bind(f"\0kesikaran-{self.command}-{place}")
                return place
        return os.getpid() % self.workers


_held: list[socket.socket] = []
