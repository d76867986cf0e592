"""The decision from logits to labels after training: the correction of a prior shift, the threshold, the temperature.

Only the labels of train and validation and the logits of validation are read. The test split chooses nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit

from kesikaran.config.schema import DecisionConfig, DecisionRule, TunedMetric
from kesikaran.core.errors import InputError
from kesikaran.metrics import conformal
from kesikaran.metrics.conformal import Band

TEMPERATURES = (0.05, 20.0)  # the bounds of the search: labels that the logits separate perfectly have no best one
_CORRECTS_THE_PRIOR = (DecisionRule.prior_shift, DecisionRule.cost)


@dataclass(frozen=True)
class Decision:
    """log-odds = logit / temperature + shift, in nats; the predicted label is 1 where log-odds >= threshold. band: the
    log-odds of images that the classifier is not sure of; None: it is sure of all."""

    temperature: float
    shift: float
    threshold: float
    band: Band | None = None


def decide(
    config: DecisionConfig, train_labels: np.ndarray, validation_labels: np.ndarray, validation_logits: np.ndarray
) -> Decision:
    """The decision that a rule makes.

    - plain: shift 0, threshold 0.
    - prior_shift: shift = `prior_shift` to `decision.prevalence`, or else to the share of label 1 in validation, which
      the rule of the split has made; threshold 0.
    - tuned: shift 0, threshold = `tuned_threshold`.
    - cost: the shift of prior_shift, threshold = ln(cost of a false positive / cost of a false negative). Above it
      label 1 has the lower expected cost (Elkan 2001, equation 2).

    The band in which the classifier is not sure is `conformal.band` of validation's log-odds at `decision.error`.

    The temperature is always fitted under the share of label 1 in validation, whatever `decision.prevalence` is.

    Args:
        train_labels: int [m] of 0 and 1, both present. validation_labels: int [n]. validation_logits: float [n].

    Raises:
        InputError: see `need_labels`.
    """
    need_labels(config, validation_labels)
    rule = config.rule
    share = float(np.mean(validation_labels))
    corrects = rule in _CORRECTS_THE_PRIOR
    temperature, shift, threshold = 1.0, 0.0, 0.0
    if config.temperature:
        on_validation = prior_shift(train_labels, share) if corrects else 0.0
        temperature = fitted_temperature(validation_labels, validation_logits, on_validation)
    if corrects:
        shift = prior_shift(train_labels, config.prevalence or share)
    if rule is DecisionRule.cost:
        threshold = math.log(config.cost_false_positive / config.cost_false_negative)
    log_odds = np.asarray(validation_logits, np.float64) / temperature + shift
    if rule is DecisionRule.tuned:
        threshold = tuned_threshold(validation_labels, log_odds, config.metric, config.max_false_positive_rate)
    band = None if config.error is None else conformal.band(validation_labels, log_odds, config.error, threshold)
    return Decision(temperature, shift, threshold, band)


def need_labels(config: DecisionConfig, validation_labels: np.ndarray) -> None:
    """Check that validation has the labels that the rule needs. No logits are needed, so that a run is refused before
    its training.

    Args:
        validation_labels: int [n] of 0 and 1.

    Raises:
        InputError: the rule needs both labels in validation, and one is missing.
    """
    rule, corrects = config.rule, config.rule in _CORRECTS_THE_PRIOR
    share = float(np.mean(validation_labels))
    needs_both = rule is DecisionRule.tuned or config.temperature or (corrects and config.prevalence is None)
    if needs_both and share in (0, 1):
        setting = "decision.temperature=true" if config.temperature else f"decision={rule.name}"
        way_out = "; or give decision.prevalence" if corrects and not config.temperature else ""
        raise InputError(f"{setting} needs both labels in validation, which has only label {share:.0f}{way_out}")


def prior_shift(train_labels: np.ndarray, prevalence: float) -> float:
    """What to add to log-odds learned under the share of label 1 in training, for use under `prevalence`, in nats.

    It is logit(prevalence) - logit(share in training). This is Bayes' rule where the images of each label are alike in
    both places and only the shares of the labels differ (Elkan 2001, theorem 2; Saerens, Latinne and Decaestecker
    2002).
    """
    return float(logit(prevalence) - logit(np.mean(train_labels)))


def fitted_temperature(labels: np.ndarray, logits: np.ndarray, shift: float = 0.0) -> float:
    """The T within `TEMPERATURES` with the lowest log loss of logits / T + shift (Guo et al. 2017).

    The loss is convex in 1 / T, so the root of its derivative is its minimum. Where the logits separate the labels
    perfectly, the loss falls with T without end, and T is the lower bound. Where the logits are worse than none, the
    loss falls with rising T, and T is the upper bound.
    """
    scores = np.asarray(logits, np.float64)

    def slope(inverse: float) -> float:
        return float(np.mean(scores * (expit(scores * inverse + shift) - labels)))

    lowest, highest = TEMPERATURES
    if slope(1 / highest) >= 0:
        return highest
    if slope(1 / lowest) <= 0:
        return lowest
    return 1 / float(brentq(slope, 1 / highest, 1 / lowest))


def tuned_threshold(
    labels: np.ndarray, log_odds: np.ndarray, metric: TunedMetric, max_false_positive_rate: float | None = None
) -> float:
    """The threshold that is best on these images, as log-odds.

    The candidates are the midpoints between neighbouring different log-odds, one nat below the lowest and one nat above
    the highest. Of equally good candidates the nearest to 0, which is the threshold of plain, is taken, and of two that
    are equally near the lower. With a `max_false_positive_rate` the lowest candidate that keeps it is taken, which has
    the highest recall.

    Args:
        labels: int [n] of 0 and 1, both present. log_odds: float64 [n].
    """
    values, place = np.unique(log_odds, return_inverse=True)
    candidates = np.concatenate([[values[0] - 1], (values[:-1] + values[1:]) / 2, [values[-1] + 1]])
    ones, zeros = int(np.sum(labels == 1)), int(np.sum(labels == 0))
    # The k lowest values are below threshold k.
    fn = np.concatenate([[0], np.cumsum(np.bincount(place[labels == 1], minlength=len(values)))])
    tn = np.concatenate([[0], np.cumsum(np.bincount(place[labels == 0], minlength=len(values)))])
    tp, fp = ones - fn, zeros - tn
    if max_false_positive_rate is not None:
        return float(candidates[np.argmax(fp / zeros <= max_false_positive_rate)])
    reached = {
        TunedMetric.balanced_accuracy: (tp / ones + tn / zeros) / 2,
        TunedMetric.accuracy: (tp + tn) / (ones + zeros),
        TunedMetric.f1: 2 * tp / (2 * tp + fp + fn),
    }[metric]
    best = candidates[np.isclose(reached, reached.max(), rtol=0, atol=1e-12)]
    return float(best[np.argmin(np.abs(best))])


def apply(decision: Decision, rows: pd.DataFrame) -> pd.DataFrame:
    """`rows`, which have a column logit, with the columns log_odds (float64), probability (of label 1), predicted
    (0 or 1) and sure (bool) by the decision."""
    log_odds = rows["logit"].to_numpy(np.float64) / decision.temperature + decision.shift
    predicted = (log_odds >= decision.threshold).astype(int)
    sure = conformal.is_sure(decision.band, log_odds)
    return rows.assign(log_odds=log_odds, probability=expit(log_odds), predicted=predicted, sure=sure)


def fold(decision: Decision, weights: list[np.ndarray]) -> list[np.ndarray]:
    """The weights of a head whose logits are the log-odds of the decision. The last two of `weights` are the kernel and
    the bias of its last layer."""
    *earlier, kernel, bias = weights
    return [*earlier, kernel / decision.temperature, bias / decision.temperature + decision.shift]


def sentence(
    config: DecisionConfig, decision: Decision, train_labels: np.ndarray, validation_labels: np.ndarray
) -> str | None:
    """What was decided, and from what; None where the decision is plain without a temperature."""
    rule, parts = config.rule, []
    if rule in _CORRECTS_THE_PRIOR:
        there = "decision.prevalence is" if config.prevalence else "validation has"
        shares = [np.mean(train_labels), config.prevalence or np.mean(validation_labels)]
        trained, decided = (f"{100 * share:.3g}%" for share in shares)
        parts.append(f"training has {trained} of label 1, {there} {decided}")
    scaled = f" / {decision.temperature:.3g}" if config.temperature else ""
    shifted = f" {'-' if decision.shift < 0 else '+'} {abs(decision.shift):.2f}" if decision.shift else ""
    if scaled or rule in _CORRECTS_THE_PRIOR:
        parts.append(f"log-odds = logit{scaled}{shifted}")
    if rule is DecisionRule.cost:
        costs = f"{config.cost_false_positive:g} and {config.cost_false_negative:g}"
        parts.append(f"1 from {decision.threshold:.2f} up, as false positives and negatives cost {costs}")
    if rule is DecisionRule.tuned:
        most = config.max_false_positive_rate
        why = f"{config.metric.name} is highest" if most is None else f"the false-positive rate is within {most:g}"
        parts.append(f"1 from log-odds {decision.threshold:.2f} up, where {why} on validation")
    if config.temperature and decision.temperature in TEMPERATURES:
        parts.append(f"the temperature is at its bound of {decision.temperature:g}: validation does not determine it")
    return f"Decision: {rule.name}: {'; '.join(parts)}." if parts else None
