"""Every metric against numbers worked out by hand, and where it is undefined."""

import math

import numpy as np
import pytest

from kesikaran.metrics import scores
from kesikaran.metrics.predictions import Predictions

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
LOGITS = np.array([-3.0, -1.0, -0.5, 2.0, 3.0, 1.5, 1.0, 0.0, -0.25, -2.0], np.float32)


def test_every_metric_by_hand() -> None:
    found = scores.score(Predictions.from_logits(LABELS, LOGITS))
    assert [found[cell] for cell in ("n", "tn", "fp", "fn", "tp")] == [10, 3, 1, 2, 4]
    assert found["accuracy"] == pytest.approx(7 / 10)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert found["precision"] == pytest.approx(4 / 5)
    assert found["recall"] == pytest.approx(4 / 6)
    assert found["specificity"] == pytest.approx(3 / 4)
    assert found["f1"] == pytest.approx(8 / 11)
    # Pairs (1, 0) in which the 1 scores higher: 4 + 3 + 3 + 3 + 3 + 1 of 24
    assert found["roc_auc"] == pytest.approx(17 / 24)
    # Precision at each 1, from the highest score down: 1/1, 2/3, 3/4, 4/5, 5/6, then rank 9 of 10
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 5 + 5 / 6 + 6 / 9) / 6)
    p = [1 / (1 + math.exp(-x)) for x in LOGITS.tolist()]
    pairs = list(zip(LABELS.tolist(), p, strict=True))
    assert found["log_loss"] == pytest.approx(-sum(math.log(q if y else 1 - q) for y, q in pairs) / 10)
    assert found["brier"] == pytest.approx(sum((q - y) ** 2 for y, q in pairs) / 10)


UNDEFINED = {
    "nothing predicted 1": (([0, 1], [-1, -1]), {"precision"}),
    "only ones": (([1, 1], [1, -1]), {"specificity", "balanced_accuracy", "roc_auc"}),
    "only zeros": (([0, 0], [1, -1]), {"recall", "balanced_accuracy", "roc_auc", "pr_auc"}),
    "one image": (
        ([0], [-1]),
        {"precision", "recall", "balanced_accuracy", "f1", "roc_auc", "pr_auc", "calibration_error"},
    ),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_what_is_undefined_is_no_number_and_no_warning(case: str) -> None:
    (labels, logits), undefined = UNDEFINED[case]
    found = scores.score(Predictions.from_logits(np.array(labels), np.array(logits, float)))
    assert {name for name, value in found.items() if math.isnan(value)} == undefined
