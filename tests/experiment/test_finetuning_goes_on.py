"""A fine-tuning that is stopped goes on in its own run, and ends as one that was not."""

from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from conftest import Done, Made

from kesikaran.core import terminal
from kesikaran.tracking import artifacts
from kesikaran.training.checkpoint import Checkpoint

pytestmark = pytest.mark.tensorflow
TUNED = ["finetune=probe_then_all", "finetune.epochs=4", "finetune.lr=0.01", "finetune.ema=0.9", "augment=standard",
         "deterministic=true", "tracking.log_model=false"]  # fmt: skip


def history(run_id: str, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in mlflow.MlflowClient().get_metric_history(run_id, name)]


def test_a_killed_run_goes_on_and_ends_the_same(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*made.words, *TUNED]
    assert train(*words).code == 0
    (whole,) = runs()
    save, saves = Checkpoint.save, []

    def stopped(self: Checkpoint, state: Any) -> None:
        save(self, state)
        saves.append(len(state.history))
        if len(saves) == 2:
            monkeypatch.setattr(terminal, "_stop_signal", 15)
            terminal.stop_if_asked()

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", stopped)
        assert train(*words).code == 143
    done = train(*words)
    assert done.code == 0, done.err
    assert "Going on after epoch 2 of 4, where a run was stopped." in done.out
    before, after = runs()
    assert before.info.run_id == whole.info.run_id
    assert after.info.status == "FINISHED"
    for name in ("train/loss", "validation/loss"):
        assert history(after.info.run_id, name) == history(whole.info.run_id, name), "each epoch once, the same numbers"
    first, second = (artifacts.predictions(run.info.run_id) for run in (whole, after))
    assert first.equals(second)
    kept = {key: value for key, value in after.data.metrics.items() if not key.startswith("system")}
    assert kept == whole.data.metrics


def test_a_run_of_other_settings_is_another(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Checkpoint, state: Any) -> None:
        save(self, state)
        raise KeyboardInterrupt

    save = Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(*made.words, *TUNED)
    done = train(*made.words, *TUNED, "seed=1")
    assert done.code == 0
    assert "Going on" not in done.out
    assert [run.info.status for run in runs()] == ["KILLED", "FINISHED"]
