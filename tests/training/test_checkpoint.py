"""A state on disk: the same bits again, or none; and the last good one where a write fails."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import refused

from kesikaran.core import files
from kesikaran.training.checkpoint import Checkpoint, Epoch, State


def state(seed: int = 0, width: int = 3) -> State:
    random = np.random.default_rng(seed)

    def arrays() -> list[np.ndarray]:
        return [random.normal(size=(width, 2)).astype(np.float32), np.array(random.normal(), np.float32)]

    optimizer = [np.array(7), *arrays()]
    best = [Epoch(-0.1 - seed, 2, arrays()), Epoch(0.3, 1, arrays())]
    return State(arrays(), optimizer, best, [{"train/loss": 1 / 3}, {"validation/auc": float("nan")}], 58)


def same(one: State, other: State) -> bool:
    def flat(of: State) -> Any:
        arrays = [*of.weights, *of.optimizer, *(weight for epoch in of.best for weight in epoch.weights)]
        notes = [(epoch.value, epoch.number) for epoch in of.best]
        return [np.asarray(array).tobytes() for array in arrays], notes, str(of.history)

    return bool(flat(one) == flat(other))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "f" / "checkpoint.npz", "f")


def test_the_last_state_comes_back_bit_for_bit(checkpoint: Checkpoint) -> None:
    assert checkpoint.load(state()) is None
    for seed in (1, 2):
        checkpoint.save(state(seed))
    found = checkpoint.load(state())
    assert found is not None
    assert same(found, state(2))
    assert not same(found, state(1))
    checkpoint.remove()
    assert not checkpoint.path.parent.exists()


def test_a_damaged_state_is_told_and_not_used(checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.save(state())
    whole = checkpoint.path.read_bytes()
    at = whole.index(state().weights[0].tobytes())
    for content in (whole[:-30], whole[: at + 5], b"", b"nothing", whole[:at] + b"\0\1" + whole[at + 2 :]):
        checkpoint.path.write_bytes(content)
        assert checkpoint.load(state()) is None
        out = capsys.readouterr().out
        assert "is damaged or of another run: it is not used" in out
        assert out.count("\n") == 1
    checkpoint.path.write_bytes(whole)
    assert checkpoint.load(state())


def test_a_state_of_another_run_is_told_and_not_used(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save(state())
    assert Checkpoint(checkpoint.path, "another").load(state()) is None
    assert "its settings, images or code are others" in capsys.readouterr().out
    assert checkpoint.load(state(width=4)) is None
    assert "its weights have other shapes" in capsys.readouterr().out


def test_the_last_good_state_stays_where_the_disk_is_full(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(state(1))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "replace", full)
    refused("set KESIKARAN_CACHE to another folder; the same command then goes on", checkpoint.save, state(2))
    found = checkpoint.load(state())
    assert found is not None
    assert same(found, state(1))
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["checkpoint.npz"]
