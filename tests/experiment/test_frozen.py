"""What a head is trained on, where the images have several views."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Done, Made

from kesikaran.tracking import metric_places
from kesikaran.training.task import FeatureRows, FitResult, HeadTask

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def fitted(train: Callable[..., Done], made: Made, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The task, its result, the training rows and the validation rows of a training with the given words."""
    from kesikaran.training import head_trainer

    seen: list[tuple[HeadTask, FitResult, FeatureRows, FeatureRows]] = []
    fit = head_trainer.fit

    def noted(tasks: Any, *samples: Any) -> Any:
        results = fit(tasks, *samples)
        seen.append((tasks[0], results[0], *samples))
        return results

    monkeypatch.setattr(head_trainer, "fit", noted)

    def call(*words: str) -> Any:
        done = train(*made.words, "tracking.log_model=false", *words)
        assert done.code == 0, done.err
        return seen[-1]

    return call


@pytest.mark.parametrize(
    "words",
    [["imbalance=oversample"], ["imbalance=undersample"], ["imbalance=class_weight"], ["imbalance=logit_adjusted"],
     ["fit.half=1"]],
    ids=" ".join,
)  # fmt: skip
def test_images_are_chosen_first_and_then_each_comes_in_every_view(
    words: list[str], fitted: Callable[..., Any]
) -> None:
    task, _, train, validation = fitted(*words)
    viewed_task, _, viewed, viewed_validation = fitted("augment=flips", *words)
    images = 240
    assert len(train.matrix) == images
    assert len(viewed.matrix) == 3 * images
    np.testing.assert_array_equal(viewed.rows, np.concatenate([train.rows, train.rows + images]))
    np.testing.assert_array_equal(viewed.labels, np.tile(train.labels, 2))
    np.testing.assert_array_equal(viewed.features[: len(train.rows)], train.features)
    assert (viewed.features[len(train.rows) :] != train.features).any(axis=1).all(), "another view, other features"
    np.testing.assert_array_equal(viewed_validation.labels, validation.labels)
    both = (viewed.matrix[:images] + viewed.matrix[images : 2 * images]) / 2
    np.testing.assert_allclose(viewed_validation.features, both[validation.rows], atol=1e-6)
    assert viewed_task.loss == task.loss
    assert viewed_task.prior_shift == task.prior_shift


def test_what_is_scored_is_the_mean_of_the_views(fitted: Callable[..., Any], runs: Callable[[], list[Any]]) -> None:
    from kesikaran.tracking import artifacts
    from kesikaran.training import head_trainer

    _, result, train, _ = fitted("augment=dihedral")
    (run,) = runs()
    found = artifacts.predictions(run.info.run_id)["logit"].to_numpy()
    mean = train.matrix[: 8 * 240].reshape(8, 240, -1).mean(axis=0)
    np.testing.assert_allclose(found, head_trainer.predict(result.weights, mean), atol=1e-4)
    assert np.abs(found - head_trainer.predict(result.weights, train.matrix[:240])).max() > 1e-3, (
        "not of the image as it is"
    )


def test_the_leak_gauge_is_that_of_the_images(fitted: Callable[..., Any], runs: Callable[[], list[Any]]) -> None:
    for words in ([], ["augment=dihedral"]):
        fitted(*words)
    plain, viewed = (metric_places.read(run.data.metrics) for run in runs())
    leaks = [key for key in plain if key.startswith("leak/") and "roc_auc" not in key]
    assert "leak/nearest_cosine" in leaks
    assert [viewed[key] for key in leaks] == [plain[key] for key in leaks]


def test_jobs_on_the_same_views_are_trained_together(
    train: Callable[..., Done], made: Made, together: list[int]
) -> None:
    words = ["-m", "hydra/launcher=vectorized", "tracking.log_model=false", *made.words]
    done = train(*words, "augment=none,flips", "head.l2=0,0.001,0.01")
    assert done.code == 0, done.err
    assert together == [3, 3]
    assert "6 of 6 jobs finished" in done.out


def test_without_averaging_the_image_as_it_is_is_judged(
    fitted: Callable[..., Any], runs: Callable[[], list[Any]]
) -> None:
    from kesikaran.tracking import artifacts

    _, _, viewed, validation = fitted("augment=flips", "augment.average=false")
    assert len(viewed.labels) == 2 * len(np.unique(viewed.rows % 240)), "trained is on both views"
    assert validation.rows.max() < 240
    np.testing.assert_array_equal(validation.features, viewed.matrix[validation.rows])
    fitted("augment=flips")
    alone, averaged = (artifacts.predictions(run.info.run_id)["logit"] for run in runs())
    assert not np.allclose(alone, averaged)
