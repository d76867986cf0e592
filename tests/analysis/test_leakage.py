"""The leak gauge sees planted leaks, and is silent where there are none."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from kesikaran.analysis import leakage


def test_agreement_by_hand() -> None:
    table = pd.DataFrame({"label": [1, 0, 0, 1], "row": [3, 0, 1, 2], "name": list("abcd"), "twice": [1, 1, 2, 3]})
    found = leakage.order(table)  # along row: 0 0 1 1
    assert found == leakage.Order("row", 2 / 3, 0.5, False)


@pytest.mark.parametrize(("run", "informative"), [(1, False), (40, True)])
def test_runs_of_siblings_are_noticed_and_chance_is_not(run: int, informative: bool) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat((random.random(2000 // run) < 0.3).astype(int), run)
    found = leakage.order(pd.DataFrame({"label": labels, "row": range(2000), "shuffled": random.permutation(2000)}))
    assert found is not None
    assert found.informative == informative
    assert found.chance == pytest.approx(labels.mean() ** 2 + (1 - labels.mean()) ** 2)
    if informative:
        assert found.column == "row"


@pytest.mark.parametrize(("same", "informative"), [(54, False), (56, True)])
def test_many_images_do_not_make_a_small_difference_matter(same: int, informative: bool) -> None:
    """Of 40,000 images chance agreement has a standard error of 0.0025: 0.04 is far beyond it, and still small."""
    turns = np.random.default_rng(0).permutation(np.repeat([0, 1], [400 * same, 400 * (100 - same)]))
    found = leakage.order(pd.DataFrame({"label": np.append(0, turns).cumsum() % 2, "row": range(40_001)}))
    assert found is not None
    assert found.agreement - found.chance == pytest.approx(same / 100 - 0.5, abs=0.001)
    assert found.informative == informative


def test_no_column_lines_the_images_up() -> None:
    assert leakage.order(pd.DataFrame({"label": [0, 1], "module": ["a", "b"], "same": [1, 1]})) is None


@pytest.mark.parametrize("rows_at_once", [700, leakage._ROWS])
def test_a_copy_in_train_is_as_near_as_can_be(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "_ROWS", rows_at_once)
    random = np.random.default_rng(0)
    train, test = (random.random((n, 50), dtype=np.float32) + 3 for n in (3000, 1500))
    test[7] = train[2911]
    test[8] = train[12] + random.normal(0, 0.01, 50).astype(np.float32)
    found = leakage.nearest(np.concatenate([test, train]), np.arange(1500, 4500), np.arange(1500))
    assert found.shape == (1500,)
    assert set(np.argsort(found)[-2:]) == {7, 8}
    assert found[7] == pytest.approx(1, abs=1e-5)
    others = np.delete(found, [7, 8])
    assert others.max() < 0.8, "independent noise is far, although all features are positive"
    by_hand = [((t - train.mean(0)) / np.linalg.norm(t - train.mean(0))) for t in (test[0], train[5])]
    assert found[0] >= float(by_hand[0] @ by_hand[1]) - 1e-5


def test_the_jobs_of_a_sweep_look_for_neighbours_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the same features and rows, and anew where either is another's."""
    looked: list[int] = []
    look = leakage._nearest

    def counted(features: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        looked.append(len(test))
        return look(features, train, test)

    monkeypatch.setattr(leakage, "_nearest", counted)
    features = np.random.default_rng(0).random((20, 5), dtype=np.float32)
    train, test = np.arange(10), np.arange(10, 20)
    first = leakage.nearest(features, train, test)
    assert leakage.nearest(features, train.copy(), test.copy()).tolist() == first.tolist()
    assert len(looked) == 1
    for others in [(features, train, test[1:]), (features, train[1:], test), (features[::-1].copy(), train, test)]:
        assert leakage.nearest(*others).tolist() == look(*others).tolist()
    assert len(looked) == 4


def test_constant_features_are_no_division_by_zero() -> None:
    assert leakage.nearest(np.ones((5, 2), np.float32), np.arange(3), np.arange(3, 5)).tolist() == [0, 0]


def test_the_gauge_copies_blocks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).random((40_000, 100), np.float32)
    monkeypatch.setattr(leakage, "_ROWS", 512)
    tracemalloc.start()
    try:
        leakage.nearest(features, np.arange(1000, 40_000), np.arange(1000))
        assert tracemalloc.get_traced_memory()[1] < features.nbytes / 3
    finally:
        tracemalloc.stop()


def test_of_too_many_test_images_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    test = np.arange(5, 1000, 5)
    assert leakage.sample(test, 2**30 // len(test)) is test
    monkeypatch.setattr(leakage, "_PAIRS", 1000)
    drawn = leakage.sample(test, 20)
    assert len(np.unique(drawn)) == 50
    assert set(drawn) < set(test)
    assert (np.diff(drawn) > 0).all()
    assert drawn.max() > 500, "not the first ones"
    assert (leakage.sample(test, 20) == drawn).all()
    assert len(leakage.sample(test, 10**6)) == 1


def test_halves_by_hand() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    logits = np.array([0.0, 1, 0, 1, 1, 0, 1, 0])
    similarity = np.array([0.9, 0.8, 0.9, 0.8, 0.1, 0.2, 0.1, 0.2])
    assert leakage.halves(similarity, labels, logits) == {"near": 1.0, "far": 0.0}
    assert leakage.halves(similarity, np.array([0] * 4 + [0, 1] * 2), logits) == {}
