"""Better, at most a margin worse, or neither: by the lower end of the paired interval, in every metric's direction."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import refused

from kesikaran.analysis import promotion, run_predictions
from kesikaran.analysis.promotion import Judgement
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.metrics import paired


def of(
    name: str, wrong: range, params: dict[str, str] | None = None, count: int = 400, **columns: Any
) -> RunPredictions:
    """A run on `count` test images, wrong in those of these numbers."""
    labels = np.arange(count) % 2
    logits = np.where(np.isin(np.arange(count), wrong) == (labels == 1), -1.0, 1.0)
    rows = pd.DataFrame({"object_id": [f"{i:040x}.png" for i in range(count)], "split": "test", "label": labels})
    rows = rows.assign(**{"logit": logits, **columns})
    rows = rows.assign(probability=1 / (1 + np.exp(-rows["logit"])))
    tags = {"split_fingerprint": "s", "data_digest": "d"}
    return run_predictions.run_predictions(name, name, tags, params or {}, rows, "test")


OLD_WRONG = range(40)
OLD = of("old", OLD_WRONG)


@pytest.mark.parametrize(
    ("wrong", "margin", "passes", "is_better"),
    [
        (range(20), None, True, True),
        (range(20), 0.0, True, True),
        (range(1, 41), None, True, False),  # as many wrong, one each in which they differ
        (range(1, 41), 0.005, False, False),
        (range(1, 41), 0.0, False, False),
        (range(60), None, False, False),
        (range(44), None, False, False),  # worse by 0.01, and by 0.02 within noise
    ],
)
def test_the_lower_end_decides(wrong: range, margin: float | None, passes: bool, is_better: bool) -> None:
    new = of("new", wrong)
    found = promotion.judge(OLD, new, margin=margin)
    before, after = run_predictions.aligned([OLD, new], "test")
    difference = paired.compare(before, after, 0.95, metrics=("accuracy",))["accuracy"]
    assert (found.low, found.high, found.gain) == (difference.low, difference.high, difference.difference)
    assert (found.metric, found.n, found.margin) == ("accuracy", 400, 0.02 if margin is None else margin)
    assert (found.passes, found.is_better) == (passes, is_better)


def test_where_less_is_better_the_interval_is_turned() -> None:
    new = of("new", range(40), logit=OLD.rows["logit"] * 1.5)  # surer, and mostly right
    for a, b, sign in ((OLD, new, 1), (new, OLD, -1)):
        found = promotion.judge(a, b, "log_loss", 0.001)
        assert (found.passes, found.is_better) == ((sign > 0,) * 2)
        assert found.low < found.gain < found.high
        assert math.copysign(1, found.gain) == sign
        assert "(less is better): a gain of" in promotion.figures(found)


def test_groups_widen_the_interval() -> None:
    alone = promotion.judge(OLD, of("new", range(1, 41)))
    group = np.arange(400) // 40
    grouped = promotion.judge(of("old", range(40), group=group), of("new", range(400 - 40, 400), group=group))
    assert (alone.groups, grouped.groups) == (None, 10)
    assert "the units are 10 groups" in grouped.remarks[0]
    assert not grouped.passes


def test_the_higher_confidence_of_the_two_holds() -> None:
    for old, new in (("0.5", "0.99"), ("0.99", "0.5")):
        a, b = (of(name, OLD_WRONG, {"evaluation.confidence": c}) for name, c in (("old", old), ("new", new)))
        assert promotion.judge(a, b).confidence == 0.99


def test_refusals() -> None:
    by_auc = of("new", range(20), {"evaluation.verdict": "roc_auc"})
    both = "(evaluation.verdict): accuracy of run old (old) and roc_auc of run new (new); give --metric"
    refused(both, promotion.judge, OLD, by_auc)
    assert promotion.judge(OLD, by_auc, "accuracy").metric == "accuracy"
    other_images = of("new", range(20), count=399)
    refused("were not scored on the same test images: 1 only in the first, 0 only", promotion.judge, OLD, other_images)
    other_labels = of("new", range(20), label=1 - OLD.rows["label"])
    refused("give different labels to 400 of 400 test images", promotion.judge, OLD, other_labels)
    refused("calibration_error cannot judge a promotion; give --metric with one of accuracy,", promotion.judge, OLD,
            by_auc, "calibration_error")  # fmt: skip
    refused(r"'\x1b[31m' cannot judge a promotion", promotion.judge, OLD, by_auc, "\x1b[31m")
    refused("weighted_accuracy is not defined for these runs", promotion.judge, OLD, by_auc, "weighted_accuracy")


@pytest.mark.parametrize("margin", [-0.01, 0.11, math.nan, math.inf])
def test_a_margin_out_of_range(margin: float) -> None:
    refused("is not allowed: 0 (must be better) to 0.1", promotion.judge, OLD, OLD, None, margin)


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
def test_a_loss_has_no_margin_of_itself(metric: str) -> None:
    refused("give --margin in its own unit, 0 for really better", promotion.judge, OLD, OLD, metric)
    assert not promotion.judge(OLD, OLD, metric, 0.0).passes


def judgement(gain: float, low: float, margin: float = 0.02) -> Judgement:
    return Judgement("accuracy", margin, 0.95, 150, None, 0.84, 0.84 + gain, gain, low, 2 * gain - low, [])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (judgement(0.04, 0.005), "The lower end is above 0: the new run is really better."),
        (
            judgement(0.0, -0.013),
            "The lower end, -0.013, is above -0.02: the new run is at most 0.02 worse. The interval is two-sided, the "
            "conservative form: a run that is 0.02 worse passes about 2.5 times in 100.",
        ),
        (
            judgement(0.0, -0.04),
            "The lower end, -0.040, is not above -0.02: that the new run is at most 0.02 worse is not shown. Needed "
            "would be a gain of +0.020 on these images or, with the gain that it has, about 600 test images.",
        ),
        (
            judgement(0.01, -0.03, 0.0),
            "The lower end, -0.030, is not above 0: that the new run is better is not shown. Needed would be a gain "
            "of +0.040 on these images or, with the gain that it has, about 2,400 test images.",
        ),
        (
            judgement(-0.04, -0.09),
            "The lower end, -0.090, is not above -0.02: that the new run is at most 0.02 worse is not shown. A better "
            "run would be needed (a gain of +0.030 on these images); more test images would not help this one.",
        ),
        (judgement(0.0, math.nan), "Nothing can be said of it; other test images, or another --metric, would be"),
    ],
    ids=["better", "not worse", "too few", "margin 0", "worse", "undefined"],
)
def test_why(found: Judgement, says: str) -> None:
    assert promotion.reason(found).startswith(says)
    assert found.passes == ("is not shown" not in says and "Nothing" not in says)


def test_the_figures() -> None:
    assert promotion.figures(judgement(0.04, 0.005)) == (
        "On the 150 test images the new run has accuracy 0.880, the old one 0.840: a gain of +0.040 [+0.005, "
        "+0.075] (95 % interval, image by image)."
    )
    assert "has no interval: new 0.840, old 0.840." in promotion.figures(judgement(0.0, math.nan))
