"""One interval over images, training sets and seeds."""

import numpy as np
import pandas as pd
import pytest

from kesikaran.analysis import uncertainty
from kesikaran.metrics import intervals
from kesikaran.metrics.predictions import Predictions


def made(training: float, seed: float, cuts: int = 4, seeds: int = 3, images: int = 400) -> dict:
    """Models whose log-odds of the right label are moved, all images alike, by training set and by seed."""
    random = np.random.default_rng(1)
    labels = np.arange(images) % 2
    sign, base = 2 * labels - 1, random.normal(1.0, 1.0, images)
    models = {}
    by_seed = random.normal(size=seeds)
    for half in range(2 * cuts + 1):
        move = 0.0 if half == 0 else training * random.normal()
        for number in range(seeds):
            models[half, number] = Predictions.from_logits(labels, sign * (base + move + seed * by_seed[number]))
    return models


def test_where_nothing_but_the_images_varies_it_is_the_interval_of_the_run() -> None:
    models = made(0.0, 0.0)
    table = uncertainty.estimate(models, 0.95).to_dict("index")
    for name, found in intervals.intervals(models[0, 0]).items():
        if name in table:
            limits = [found.value, found.low, found.high]
            assert list(table[name].values()) == pytest.approx([*limits, 1, 0, 0])
    assert {"accuracy", "roc_auc", "log_loss", "f1", "brier", "pr_auc"} <= set(table)


def test_each_source_has_its_share() -> None:
    quiet = uncertainty.estimate(made(0.0, 0.0), 0.95).loc["log_loss"]
    training = uncertainty.estimate(made(0.5, 0.0), 0.95).loc["log_loss"]
    seeds = uncertainty.estimate(made(0.0, 0.5), 0.95).loc["log_loss"]
    assert training["training"] > 0.5
    assert training["seeds"] == pytest.approx(0, abs=1e-9)
    assert seeds["seeds"] > 0.5
    assert seeds["training"] == pytest.approx(0, abs=1e-9)
    for row in (training, seeds):
        assert row["high"] - row["low"] > 1.2 * (quiet["high"] - quiet["low"])
        assert row[list(uncertainty.SOURCES)].sum() == pytest.approx(1)


def test_images_that_differ_by_chance_are_no_effect_of_the_training_set() -> None:
    """Models of one population quality, whose logits differ from image to image: training and seeds stay small."""
    random = np.random.default_rng(2)
    labels = np.arange(2000) % 2
    shares = []
    for _ in range(20):
        common = random.normal(size=2000)
        models = {
            (half, seed): Predictions.from_logits(labels, 2 * labels - 1 + common + random.normal(size=2000))
            for half in range(9)
            for seed in range(3)
        }
        shares.append(uncertainty.estimate(models, 0.95).loc["log_loss", list(uncertainty.SOURCES)])
    assert np.mean([share["images"] for share in shares]) > 0.8


def test_the_parts_by_hand() -> None:
    """Two cuts: the difference of the halves, less what their means spread. The images add nothing here."""
    units = uncertainty.Units(np.arange(2), 2)
    nothing, cell = np.zeros((2, 2)), np.zeros(2, int)
    first, second = (uncertainty._Values(np.array(value), nothing, cell) for value in ([0.9, 0.8], [0.7, 0.7]))
    apart, middle = (0.1**2 + 0.05**2) / 2, np.var([0.8, 0.75], ddof=1)
    assert uncertainty._training(first, second, units).variance == pytest.approx(2 * (apart - middle))
    seed = uncertainty._seed(first, units)
    assert seed.variance == pytest.approx(1.5 * np.var([0.9, 0.8], ddof=1))


def jobs(halves: int, seeds: int) -> pd.DataFrame:
    rows = [(half, seed) for half in range(halves) for seed in range(seeds)]
    columns = {f"{kind}.{name}": [str(row[n]) for row in rows] for kind in ("params", "overrides")
               for n, name in enumerate(("fit.half", "seed"))}  # fmt: skip
    return pd.DataFrame({"run_id": "r", "status": "FINISHED", "split_fingerprint": "s", **columns})


def test_which_sweeps_have_it() -> None:
    assert uncertainty.applies(jobs(5, 2))
    assert not uncertainty.applies(jobs(5, 1)), "seeds do not vary"
    assert not uncertainty.applies(jobs(5, 2).assign(split_fingerprint=list("ababababab")))
    assert uncertainty.lacking(jobs(5, 2)) is None
    assert "even" in str(uncertainty.lacking(jobs(4, 2)))
    assert "4 or more" in str(uncertainty.lacking(jobs(3, 2)))
    failed = jobs(5, 2)
    failed.loc[3, "status"] = "FAILED"
    assert "every half" in str(uncertainty.lacking(failed))
