"""Metrics against numbers worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kesikaran import scores

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
LOGITS = np.array([-3.0, -1.0, -0.5, 2.0, 3.0, 1.5, 1.0, 0.0, -0.25, -2.0], np.float32)


def test_every_metric_by_hand() -> None:
    found = scores.score(scores.plain(LABELS, LOGITS))
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


def test_the_matrix_has_true_rows_and_predicted_columns() -> None:
    assert scores.confusion(scores.plain(LABELS, LOGITS)).matrix() == [[3, 1], [2, 4]]


def test_a_logit_of_zero_is_predicted_one() -> None:
    counts = scores.confusion(scores.plain(np.array([0, 1]), np.zeros(2)))
    assert (counts.fp, counts.tp) == (1, 1)


def test_extreme_logits_are_not_clipped() -> None:
    assert scores.log_loss(np.array([1, 0]), np.array([-1000.0, -1000.0])) == pytest.approx(500)


def test_ties_count_half() -> None:
    assert scores.roc_auc(np.array([0, 1, 0, 1]), np.zeros(4)) == 0.5


UNDEFINED = {
    "nothing predicted 1": (([0, 1], [-1, -1]), {"precision"}),
    "only ones": (([1, 1], [1, -1]), {"specificity", "balanced_accuracy", "roc_auc"}),
    "only zeros": (([0, 0], [1, -1]), {"recall", "balanced_accuracy", "roc_auc", "pr_auc"}),
    "one image": (([0], [-1]), {"precision", "recall", "balanced_accuracy", "f1", "roc_auc", "pr_auc"}),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_what_is_undefined_is_no_number_and_no_warning(case: str) -> None:
    (labels, logits), undefined = UNDEFINED[case]
    found = scores.score(scores.plain(np.array(labels), np.array(logits, float)))
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_is_a_defect(bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 logits are not finite"):
        scores.plain(np.array([0, 1]), np.array([bad, 0.0]))


def test_roc_auc_is_scikit_learns_with_many_ties() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    logits = np.round(random.normal(size=300) + labels, 1).astype(np.float32)
    assert scores.roc_auc(labels, logits) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
