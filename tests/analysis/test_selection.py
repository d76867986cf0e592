"""What validation has chosen is named, and the optimism of the best of several jobs is what it is on average."""

import numpy as np
import pytest

from kesikaran.analysis import selection
from kesikaran.metrics.predictions import Predictions


@pytest.mark.parametrize(
    ("params", "chosen"),
    [
        ({}, []),
        ({"fit.patience": "None", "decision.rule": "plain", "decision.temperature": "False"}, []),
        ({"fit.patience": "None", "finetune.trains": "none"}, []),
        ({"fit.patience": "None", "finetune.trains": "all"}, ["epoch"]),
        ({"finetune.trains": "all", "augment.name": "flips", "augment.average": "True"}, ["epoch", "views"]),
        ({"finetune.trains": "all", "augment.name": "flips", "augment.average": "False"}, ["epoch"]),
        ({"finetune.trains": "all", "augment.name": "standard", "augment.average": "True"}, ["epoch"]),
        ({"fit.patience": "None", "augment.name": "flips", "augment.average": "True"}, []),
        ({"fit.patience": "10", "decision.rule": "prior_shift"}, ["epoch"]),
        (
            {"fit.patience": "3", "decision.rule": "tuned", "decision.temperature": "True"},
            ["epoch", "temperature", "threshold"],
        ),
    ],
)
def test_what_was_chosen_on_validation(params: dict[str, str], chosen: list[str]) -> None:
    assert selection.chosen_on_validation(params) == chosen
    assert len(selection.mark_sentence(chosen)) == bool(chosen)


def test_few_looks_are_not_told() -> None:
    assert selection.looks(19) == []
    assert selection.looks(1234)[0].startswith("1,234 finished runs of this store were scored on this very split")


def samples(centres: np.ndarray, noise: float, count: int = 400) -> tuple[float, float]:
    """(mean of the true optimism, mean of its estimate) of values with independent normal errors."""
    random = np.random.default_rng(1)
    true, estimate = [], []
    units = np.arange(100)
    for _ in range(count):
        influences = random.normal(size=(len(centres), 100)) * noise / 10
        values = centres + random.normal(size=len(centres)) * noise
        best = values.argmax()
        true.append(values[best] - centres[best])
        estimate.append(selection.optimism(values, influences, units))
    return float(np.mean(true)), float(np.mean(estimate))


@pytest.mark.parametrize("centres", [np.zeros(16), np.linspace(-0.2, 0, 16), np.r_[np.zeros(12), -np.ones(4)]])
def test_the_estimate_is_the_optimism_on_average(centres: np.ndarray) -> None:
    true, estimate = samples(centres, 0.1)
    assert estimate == pytest.approx(true, rel=0.12)


def test_a_clear_best_is_not_flattered() -> None:
    true, estimate = samples(np.r_[1.0, np.zeros(15)], 0.1)
    assert (true, estimate) == pytest.approx((0, 0), abs=0.01)


def test_jobs_that_are_the_same_flatter_nothing() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=200) / 200
    for jobs in (2, 3, 5, 8):
        found = selection.optimism(np.full(jobs, 0.9), np.tile(one, (jobs, 1)), np.arange(200))
        assert found == pytest.approx(0, abs=1e-6), jobs


def test_images_that_came_together_are_one_unit() -> None:
    random = np.random.default_rng(0)
    influences = np.repeat(random.normal(size=(8, 20)), 10, axis=1) / 200
    alone = selection.optimism(np.zeros(8), influences, np.arange(200))
    together = selection.optimism(np.zeros(8), influences, np.repeat(np.arange(20), 10))
    assert together == pytest.approx(alone * np.sqrt(10), rel=0.05)


@pytest.mark.parametrize(("metric", "direction"), [("roc_auc", 1), ("log_loss", -1)])
def test_the_correction_goes_against_the_metric(metric: str, direction: int) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(100) % 2
    several = [Predictions.from_logits(labels, labels - 0.5 + random.normal(size=100)) for _ in range(8)]
    found = selection.corrected(several, metric, 0.95)
    assert found.optimism > 0
    assert found.expected.value == pytest.approx(found.seen - direction * found.optimism)
    assert found.expected.low < found.expected.value < found.expected.high
    assert selection.corrected(several, metric, 0.95) == found, "no chance in it"
