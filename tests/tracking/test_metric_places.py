"""What a person compares comes first in MLflow's alphabet, and every metric is read by its name without the prefix."""

import pytest

from kesikaran.tracking import metric_places


@pytest.mark.parametrize(
    "name",
    ["test/accuracy", "validation/selection_log_loss", "train/loss", "test/unsure", "oof/n", "oof/f1", "seeds/f1_std"],
)
def test_what_is_compared_keeps_its_name(name: str) -> None:
    assert metric_places.stored(name) == name


@pytest.mark.parametrize(
    "name",
    ["test/accuracy_low", "validation/f1_high", "train/n", "test/tp", "data/images", "decision/threshold", "best_epoch",
     "learning_rate", "leak/nearest_cosine", "features/largest_deviation",
     "oof/accuracy_low", "nested/f1_high", "oof/f1_fold_std", "oof/tp"],
)  # fmt: skip
def test_what_is_not_stands_behind_it_and_is_read_by_its_name(name: str) -> None:
    stored = metric_places.stored(name)
    assert stored > "validation/selection_log_loss"
    assert metric_places.read({stored: 1.0, "test/accuracy": 0.5}) == {name: 1.0, "test/accuracy": 0.5}
    assert metric_places.read({name: 1.0}) == {name: 1.0}, "of a run of an older version"
