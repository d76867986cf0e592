"""The state of a fine-tuning after an epoch, on disk, from which a killed run goes on."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kesikaran.core import files, paths
from kesikaran.core.errors import first_line

_REMEDY = "set KESIKARAN_CACHE to another folder; the same command then goes on from the last epoch that was written"


@dataclass(frozen=True)
class Epoch:
    """An epoch that may be kept: the lower `value` the better. weights: of the variables that training changes."""

    value: float
    number: int
    weights: list[np.ndarray]


@dataclass(frozen=True)
class State:
    """After the last epoch of `history`.

    weights: of the variables that training changes. optimizer: of its variables, among them the moving average of the
    weights. best: the epochs that may be kept, best first. history: the metrics of each epoch. probe_epochs: as of
    `TuningTask`.
    Random numbers have no state: all depend on seed, epoch and step alone.
    """

    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[Epoch]
    history: list[dict[str, float]]
    probe_epochs: int


@dataclass(frozen=True)
class Checkpoint:
    """The file of one run's state. fingerprint: of the run."""

    path: Path
    fingerprint: str

    def save(self, state: State) -> None:
        """Write the state in place of the last one, whole or not at all.

        Raises:
            InputError: the cache is not writable or full; the last one stays.
        """
        best = [{"value": epoch.value, "number": epoch.number} for epoch in state.best]
        told = {"best": best, "history": state.history, "probe_epochs": state.probe_epochs}
        note = {"fingerprint": self.fingerprint, **told}
        arrays = {"note": np.frombuffer(json.dumps(note).encode(), np.uint8)}
        parts = {"weights": state.weights, "optimizer": state.optimizer}
        parts |= {f"best{place}": epoch.weights for place, epoch in enumerate(state.best)}
        arrays |= {f"{name}-{n}": value for name, values in parts.items() for n, value in enumerate(values)}
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        folder = files.writable(self.path.parent, "cache folder", _REMEDY)
        with files.disk_space(f"the cache folder {folder}", _REMEDY):
            files.write_whole(self.path, content.getvalue())

    def load(self, like: State) -> State | None:
        """The state that was saved; None where there is none. One that is damaged, or of another run, is told and not
        used.

        Args:
            like: a state of this run: the weights and the optimizer must have its shapes.
        """
        if not self.path.exists():
            return None
        try:
            return self._read(like)
        except Exception as error:  # a damaged file can fail in any way
            print(f"The checkpoint {self.path} is damaged or of another run: it is not used ({first_line(error)}).")
            return None

    def _read(self, like: State) -> State:
        with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            note: dict[str, Any] = json.loads(stored["note"].tobytes())
            if note["fingerprint"] != self.fingerprint:
                raise ValueError("its settings, images or code are others")

            def take(name: str, pattern: list[np.ndarray]) -> list[np.ndarray]:
                found = [stored[f"{name}-{n}"] for n in range(len(pattern))]
                if any(a.shape != b.shape or a.dtype != b.dtype for a, b in zip(found, pattern, strict=True)):
                    raise ValueError("its weights have other shapes")
                return found

            weights, optimizer = take("weights", like.weights), take("optimizer", like.optimizer)
            best = [
                Epoch(float(epoch["value"]), int(epoch["number"]), take(f"best{place}", like.weights))
                for place, epoch in enumerate(note["best"])
            ]
            history = [{str(name): float(value) for name, value in epoch.items()} for epoch in note["history"]]
        return State(weights, optimizer, best, history, int(note["probe_epochs"]))

    def remove(self) -> None:
        """Remove the file and its folder."""
        files.remove(self.path.parent)


def of(fingerprint: str) -> "Checkpoint":
    """Where the state of a run with this identity is kept until the run is finished."""
    return Checkpoint(paths.cache_dir() / "finetune" / fingerprint / "checkpoint.npz", fingerprint)
