"""Decisions against numbers by hand, against every other threshold, and under a known prior shift."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from kesikaran.config.schema import DecisionConfig, DecisionRule, SplitConfig, TunedMetric
from kesikaran.core.errors import InputError
from kesikaran.metrics import binary, decisions, scores
from kesikaran.metrics.conformal import Band
from kesikaran.metrics.decisions import Decision
from kesikaran.metrics.predictions import Predictions

TRAIN = np.array([0, 1, 1, 1])  # 75 % of label 1
VALIDATION = np.array([0, 0, 0, 1, 1, 1])
LOGITS = np.array([-1.0, 0.5, 2.0, 1.0, 3.0, 4.0])


def decide(rule: str, **settings: Any) -> Decision:
    return decisions.decide(DecisionConfig(DecisionRule[rule], **settings), TRAIN, VALIDATION, LOGITS)


def test_each_rule_by_hand() -> None:
    assert decide("plain", error=None) == Decision(1.0, 0.0, 0.0)
    # Odds of 3 to 1 in training, of 1 to 1 in validation, of 1 to 4 at a prevalence of 0.2
    assert decide("prior_shift").shift == pytest.approx(-math.log(3))
    assert decide("prior_shift", prevalence=0.2).shift == pytest.approx(-math.log(4) - math.log(3))
    assert decide("prior_shift").threshold == 0
    cost = decide("cost", cost_false_positive=5.0, cost_false_negative=2.0)
    assert (cost.shift, cost.threshold) == pytest.approx((-math.log(3), math.log(5 / 2)))
    # Correct are 3 + 2 from 0.5 or 1.0 up, 2 + 3 from 2.0 or 3.0 up; 0.75 is the midpoint nearest to 0
    assert decide("tuned", error=None) == Decision(1.0, 0.0, 0.75)


def test_the_band_is_of_the_log_odds_of_validation_and_holds_the_threshold() -> None:
    """A half lets go of the most unusual of three images: label 1 is possible from 2.0 up, label 0 up to 1.25."""
    assert decide("plain", error=0.5).band == Band(0.0, 2.0, 0.5)
    band = decide("prior_shift", error=0.5).band
    assert band
    assert (band.low, band.high) == pytest.approx((0.0, 2.0 - math.log(3)))


def test_what_is_applied_tells_what_is_not_sure() -> None:
    decision = Decision(2.0, 1.0, 0.5, Band(-1.0, 1.0, 0.05))
    applied = decisions.apply(decision, pd.DataFrame({"logit": [-4.2, -4.0, 0.0, 0.2]}))
    assert applied["sure"].tolist() == [True, False, False, True]
    assert decisions.apply(Decision(2.0, 1.0, 0.5), pd.DataFrame({"logit": [0.0]}))["sure"].all()


def test_cost_predicts_what_is_cheaper() -> None:
    decision = decide("cost", cost_false_positive=5.0, cost_false_negative=2.0)
    applied = decisions.apply(decision, pd.DataFrame({"logit": np.linspace(-3, 5, 100)}))
    cost_of_one = 5 * (1 - applied["probability"])
    cost_of_zero = 2 * applied["probability"]
    assert list(applied["predicted"]) == list((cost_of_one <= cost_of_zero).astype(int))
    assert 0 < applied["predicted"].sum() < 100


def test_what_is_applied_is_what_a_folded_head_computes() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 8)).astype(np.float32)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((8, 4), (4,), (4, 1), (1,))]

    def head(first: np.ndarray, bias: np.ndarray, last: np.ndarray, final: np.ndarray) -> np.ndarray:
        return (np.maximum(features @ first + bias, 0) @ last + final)[:, 0]

    decision = Decision(temperature=2.5, shift=0.9, threshold=0.4)
    applied = decisions.apply(decision, pd.DataFrame({"logit": head(*weights)}))
    folded = decisions.fold(decision, weights)
    assert {value.dtype for value in folded} == {np.dtype(np.float32)}
    np.testing.assert_allclose(head(*folded), applied["log_odds"], atol=1e-5)
    assert applied["log_odds"].dtype == np.float64
    np.testing.assert_allclose(applied["log_odds"], applied["logit"] / 2.5 + 0.9, atol=1e-6)
    np.testing.assert_allclose(applied["probability"], expit(applied["log_odds"]))
    assert list(applied["predicted"]) == [int(x >= 0.4) for x in applied["log_odds"]]


def test_prior_shift_is_bayes_rule_under_a_known_shift() -> None:
    """One normal for each label, at -1 and 1: the log-odds are 2 x + logit(share of label 1)."""
    random = np.random.default_rng(1)

    def draw(n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        labels = (random.random(n) < share).astype(int)
        return labels, random.normal(2 * labels - 1.0)

    (train_labels, train_x), (validation_labels, validation_x), (labels, x) = (
        draw(n, share) for n, share in ((20_000, 0.2), (20_000, 0.7), (50_000, 0.7))
    )
    learned = LogisticRegression(C=1e6).fit(train_x[:, None], train_labels).decision_function
    bayes = 2 * x + math.log(0.7 / 0.3)
    right = {}
    for rule in ("plain", "prior_shift"):
        config = DecisionConfig(DecisionRule[rule])
        decision = decisions.decide(config, train_labels, validation_labels, learned(validation_x[:, None]))
        applied = decisions.apply(decision, pd.DataFrame({"label": labels, "logit": learned(x[:, None])}))
        right[rule] = scores.score(Predictions.from_table(applied))["accuracy"]
    assert np.abs(applied["log_odds"] - bayes).mean() < 0.1
    assert np.mean(applied["predicted"] == (bayes >= 0)) > 0.98
    assert right["prior_shift"] == pytest.approx(np.mean(labels == (bayes >= 0)), abs=0.002)
    assert right["prior_shift"] > right["plain"] + 0.03


def reached(metric: str, labels: np.ndarray, log_odds: np.ndarray, threshold: float) -> float:
    predicted = (log_odds >= threshold).astype(int)
    return scores.score(Predictions(labels, log_odds, predicted))[metric]


@pytest.fixture(scope="module")
def scored() -> list[tuple[np.ndarray, np.ndarray, pd.DataFrame]]:
    """Six times labels, log-odds with ties, and of every threshold between all tenths a row of all metrics."""
    found = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        labels = np.array([0, 1, *random.integers(0, 2, 30)])
        log_odds = np.round(random.normal(size=32) + labels, 1)
        decided = [(log_odds >= x).astype(int) for x in np.arange(-5.05, 6, 0.1)]
        every = pd.DataFrame([scores.score(Predictions(labels, log_odds, one)) for one in decided])
        found.append((labels, log_odds, every))
    return found


@pytest.mark.parametrize("metric", [metric.name for metric in TunedMetric])
def test_no_threshold_is_better_than_the_tuned_one(
    metric: str, scored: list[tuple[np.ndarray, np.ndarray, pd.DataFrame]]
) -> None:
    for labels, log_odds, every in scored:
        found = decisions.tuned_threshold(labels, log_odds, TunedMetric[metric])
        assert reached(metric, labels, log_odds, found) == pytest.approx(every[metric].max())
        assert np.abs(log_odds - found).min() > 0.01, "a midpoint, on no image"


def test_of_equal_thresholds_the_nearest_to_plain_and_of_two_as_near_the_lower() -> None:
    labels = np.array([0, 1, 0, 1])
    # From -2 or 2 up each makes one mistake
    assert decisions.tuned_threshold(labels, np.array([-3.0, -1, 1, 3]), TunedMetric.accuracy) == -2
    assert decisions.tuned_threshold(labels, np.array([-5.0, -1, 1, 3]), TunedMetric.accuracy) == 2
    # One value for all: everything 1, or everything 0
    assert decisions.tuned_threshold(labels, np.full(4, 2.0), TunedMetric.accuracy) == 1
    assert decisions.tuned_threshold(labels, np.full(4, -2.0), TunedMetric.accuracy) == -1
    assert decisions.tuned_threshold(labels, np.full(4, -2.0), TunedMetric.f1) == -3


@pytest.mark.parametrize(
    ("most", "threshold", "recall"),
    [(0.2, 4.5, 1 / 4), (0.25, 1.5, 3 / 4), (0.49, 1.5, 3 / 4), (0.5, -0.5, 1), (0.75, -1.5, 1), (0.9, -1.5, 1)],
)
def test_a_false_positive_rate_is_kept_with_the_highest_recall(most: float, threshold: float, recall: float) -> None:
    labels = np.array([0, 0, 1, 0, 1, 0, 1, 1])
    log_odds = np.array([-2.0, -1, 0, 1, 2, 4, 3, 5])
    assert decisions.tuned_threshold(labels, log_odds, TunedMetric.accuracy, most) == threshold
    assert reached("recall", labels, log_odds, threshold) == recall
    assert 1 - reached("specificity", labels, log_odds, threshold) <= most


def test_the_temperature_is_the_one_with_the_lowest_loss() -> None:
    random = np.random.default_rng(2)
    log_odds = random.normal(0.5, 2, 5000)
    labels = (random.random(5000) < expit(log_odds)).astype(int)
    found = decisions.fitted_temperature(labels, (log_odds - 0.7) * 3, 0.7)
    assert found == pytest.approx(3, rel=0.1)
    loss = [binary.log_loss(labels, (log_odds - 0.7) * 3 / t + 0.7) for t in (found * 0.999, found, found * 1.001)]
    assert loss[1] < min(loss[0], loss[2])


def test_labels_that_the_logits_part_perfectly_end_at_a_bound() -> None:
    labels = np.array([0, 0, 1, 1])
    assert decisions.fitted_temperature(labels, np.array([-2.0, -1, 1, 2])) == 0.05
    assert decisions.fitted_temperature(labels, np.array([2.0, 1, -1, -2])) == 20
    config = DecisionConfig(DecisionRule.plain, temperature=True)
    sentence = decisions.sentence(config, Decision(0.05, 0, 0), TRAIN, labels)
    assert sentence is not None
    assert sentence.endswith("the temperature is at its bound of 0.05: validation does not determine it.")


def test_the_temperature_is_validations_whatever_the_prevalence() -> None:
    here, there = (decide("prior_shift", temperature=True, prevalence=p) for p in (None, 0.01))
    assert here.temperature == there.temperature == decide("cost", temperature=True).temperature
    assert here.temperature == decisions.fitted_temperature(VALIDATION, LOGITS, -math.log(3)) != 1
    assert there.shift == pytest.approx(-math.log(99) - math.log(3))
    # It scales the threshold too
    assert decide("tuned", temperature=True).threshold == pytest.approx(
        0.75 / decide("tuned", temperature=True).temperature
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rule": "plain"}, None),
        (
            {"rule": "prior_shift"},
            "prior_shift: training has 75% of label 1, validation has 50%; log-odds = logit - 1.10",
        ),
        (
            {"rule": "prior_shift", "prevalence": 0.875},
            "prior_shift: training has 75% of label 1, decision.prevalence is 87.5%; log-odds = logit + 0.85",
        ),
        (
            {"rule": "cost", "cost_false_negative": 4.0},
            "cost: training has 75% of label 1, validation has 50%; log-odds = logit - 1.10; "
            "1 from -1.39 up, as false positives and negatives cost 1 and 4",
        ),
        ({"rule": "tuned"}, "tuned: 1 from log-odds 0.75 up, where balanced_accuracy is highest on validation"),
        (
            {"rule": "tuned", "max_false_positive_rate": 0.1},
            "tuned: 1 from log-odds 2.50 up, where the false-positive rate is within 0.1 on validation",
        ),
        ({"rule": "plain", "temperature": True}, "plain: log-odds = logit / 1.97"),
    ],
    ids=str,
)
def test_what_was_decided_is_said(settings: dict[str, Any], says: str | None) -> None:
    rule = DecisionRule[settings.pop("rule")]
    decision = decide(rule.name, **settings)
    sentence = decisions.sentence(DecisionConfig(rule, **settings), decision, TRAIN, VALIDATION)
    assert sentence == (says and f"Decision: {says}.")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"rule": "prior_shift"},
            "decision=prior_shift needs both labels in validation, which has only label 1; or give",
        ),
        ({"rule": "cost"}, "decision=cost needs both labels"),
        ({"rule": "tuned"}, "decision=tuned needs both labels in validation, which has only label 1"),
        (
            {"rule": "prior_shift", "prevalence": 0.2, "temperature": True},
            "decision.temperature=true needs both labels",
        ),
    ],
    ids=str,
)
def test_a_label_that_validation_lacks(settings: dict[str, Any], says: str) -> None:
    rule = DecisionRule[settings.pop("rule")]
    ones = np.ones(3, int)
    with pytest.raises(InputError, match=says):
        decisions.decide(DecisionConfig(rule, **settings), TRAIN, ones, np.zeros(3))
    if rule is DecisionRule.prior_shift:
        decisions.decide(DecisionConfig(rule, prevalence=0.2), TRAIN, ones, np.zeros(3))


@pytest.mark.parametrize("words", [["decision=tuned"], ["decision=prior_shift", "decision.temperature=true"]])
def test_the_test_split_chooses_nothing(
    words: list[str], train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Any
) -> None:
    """With every label of the test split turned round, all but the test scores stays as it was."""
    from kesikaran.data import label_file, split_rules
    from kesikaran.tracking import artifacts

    table = split_rules.sha1_low_byte(label_file.read_labels(made.labels).table, SplitConfig())
    turned = table.assign(label=np.where(table["split"] == "test", 1 - table["label"], table["label"]))
    for name, rows in (("as_made", table), ("turned", turned)):
        rows = rows[["object_id", "label", "split"]]
        rows.columns = pd.Index(["objectId", "value", "type"])
        rows.to_csv(tmp_path / f"{name}_split.csv", index=False)
        rows.drop(columns="type").to_csv(tmp_path / f"{name}.csv", index=False)
        given = [f"data.labels={tmp_path / name}.csv", "split=from_file", f"split.file={tmp_path / name}_split.csv"]
        done = train(*made.words, *given, *words, "tracking.log_model=false")
        assert done.code == 0, done.err
    first, second = runs()
    for name in ("temperature", "shift", "threshold"):
        here, there = (run.data.metrics[f"workings/decision/{name}"] for run in (first, second))
        assert here == pytest.approx(there, abs=1e-3), name
    ours, theirs = (artifacts.predictions(run.info.run_id) for run in (first, second))
    assert np.mean(ours["predicted"] == theirs["predicted"]) > 0.99
    areas = [run.data.metrics["test/roc_auc"] for run in (first, second)]
    assert areas == pytest.approx([areas[0], 1 - areas[0]], abs=0.01)
    assert areas[0] > 0.7, "the labels of test were turned"
