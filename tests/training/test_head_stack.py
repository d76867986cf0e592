"""How heads are laid out on the device, and features that do not fit there."""

from typing import Any

import numpy as np
import pytest
from test_head_trainer import sample, task

from kesikaran.config.schema import HeadConfig, OptimizerConfig, OptimizerName, Schedule
from kesikaran.training.losses import Loss

pytestmark = pytest.mark.tensorflow


def test_streams() -> None:
    from kesikaran.training import head_stack

    assert head_stack.streams(["a", "b", "a", "b"]).tolist() == [[0, 2], [1, 3]]
    assert head_stack.streams(["a", "a"]).tolist() == [[0, 1]]
    assert head_stack.streams(["a", "b", "a"]).tolist() == [[0], [1], [2]]


def test_a_layout_is_cut_into_equal_parts_and_between_streams_first() -> None:
    from kesikaran.training import head_stack

    layout = np.arange(12).reshape(4, 3)
    for most, shapes in {0: [(4, 3)], 1: [(4, 3)], 2: [(2, 3)] * 2, 3: [(4, 1)] * 3, 64: [(1, 3)] * 4}.items():
        parts = head_stack.cut(layout, most)
        assert [part.shape for part in parts] == shapes
        assert sorted(np.concatenate([part.flat for part in parts])) == list(range(12))
    assert [part.shape for part in head_stack.cut(np.arange(7)[None], 4)] == [(1, 7)]
    assert [part.shape for part in head_stack.cut(np.arange(8).reshape(2, 4), 2)] == [(1, 4)] * 2


class Watched(np.ndarray):
    """A matrix that notes how many bytes of it are copied at once."""

    copied: list[int]

    def __getitem__(self, rows: Any) -> Any:
        part = np.asarray(self)[rows]
        self.copied.append(part.nbytes)
        return part


@pytest.mark.parametrize("head", [HeadConfig(l2=0.01), HeadConfig([5, 4], dropout=0.3)], ids=["linear", "hidden"])
def test_features_that_are_not_held_train_the_same(head: HeadConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two orders at once, 13 steps an epoch, the last of them of 16 rows, in chunks of 2 steps; the rows lie elsewhere
    in a larger matrix. Every loss, every weight; compiled once, and never more than a chunk copied."""
    from kesikaran.training import head_epoch, head_stack, head_trainer
    from kesikaran.training.task import FeatureRows

    both = sample(400, 1), sample(200, 2)
    order = np.random.default_rng(0).permutation(700)
    matrix = np.zeros((700, 6), np.float32).view(Watched)
    matrix.copied = []
    labels = np.zeros(700, int)
    rows = order[:400], order[400:600]
    for mine, one in zip(rows, both, strict=True):
        matrix[mine], labels[mine] = one.features, one.labels
    outcomes: list[Any] = []
    monkeypatch.setattr(head_stack, "_CHUNK_BYTES", 4000)
    for held_bytes, chosen in ((2**20, both), (14_399, [FeatureRows(matrix, labels).take(mine) for mine in rows])):
        monkeypatch.setattr(head_stack, "_RESIDENT_BYTES", held_bytes)
        head_epoch.program.cache_clear()
        cosine = OptimizerConfig(OptimizerName.adam, lr=0.05, schedule=Schedule.cosine)
        tasks = [task(head, cosine, Loss(2.0, 0.7, 1.5), seed, epochs=4) for seed in (0, 7)]
        fitted = head_trainer.fit([one for one, _ in tasks], *chosen)
        assert head_epoch.program(cosine.name, 32, head.dropout > 0, True).experimental_get_tracing_count() == 1
        outcomes.append((fitted, tasks))
    (expected, held), (found, streamed) = outcomes
    assert found == expected
    for (_, history), (_, its), one, other in zip(held, streamed, expected, found, strict=True):
        assert [epoch == pytest.approx(mine, rel=1e-5) for epoch, mine in zip(its, history, strict=True)] == [True] * 4
        for weight, same in zip(one.weights, other.weights, strict=True):
            np.testing.assert_allclose(same, weight, rtol=1e-5, atol=1e-6)
    assert max(matrix.copied) <= 4000
