"""Treatments of class imbalance in training: another loss, or other training rows."""

import math

import numpy as np
from scipy.special import logit

from kesikaran.config.schema import ImbalanceConfig, Strategy
from kesikaran.training.losses import Loss


def class_weights(labels: np.ndarray) -> dict[int, float]:
    """Weights n / (2 n_class), so that both classes carry the same total and the mean weight is 1.

    The heuristic is scikit-learn's `class_weight="balanced"`, after King and Zeng 2001.

    Args:
        labels: int [n] of 0 and 1, both present.
    """
    n_by_class = np.bincount(labels, minlength=2)
    return {label: len(labels) / (2 * int(n)) for label, n in enumerate(n_by_class)}


def resampled_rows(labels: np.ndarray, strategy: str, seed: int) -> np.ndarray:
    """Row numbers to train on, both classes equally often.

    Args:
        labels: int [n] of 0 and 1, both present.
        strategy: `oversample` keeps every row and draws the rarer class's missing rows with
            replacement; `undersample` draws as many of the commoner class as the rarer has, without.
        seed: of the draw, which is made once, before training.

    Returns:
        int [m], sorted.
    """
    random = np.random.default_rng(seed)
    rows = [np.flatnonzero(labels == label) for label in (0, 1)]
    rarer, commoner = sorted(rows, key=len)
    if strategy == "oversample":
        extra = random.choice(rarer, size=len(commoner) - len(rarer), replace=True)
        return np.sort(np.concatenate([rarer, extra, commoner]))
    if strategy == "undersample":
        return np.sort(np.concatenate([rarer, random.choice(commoner, size=len(rarer), replace=False)]))
    raise ValueError(f"no resampling strategy {strategy!r}")


def log_odds(labels: np.ndarray) -> float:
    """The log-odds of label 1, log(n_1 / n_0). labels: int [n] of 0 and 1, both present."""
    n_0, n_1 = np.bincount(labels, minlength=2)
    return math.log(n_1 / n_0)


def treat(labels: np.ndarray, config: ImbalanceConfig, seed: int) -> tuple[np.ndarray, Loss]:
    """The rows to train on, int [m], and their loss.

    `focal` is focal loss without its alpha (Lin et al. 2017). `logit_adjusted` adds tau log(pi_1 / pi_0) to the logit
    in training only, where pi are the classes' shares of the rows. The logit of validation and prediction, to which
    nothing is added, then does not depend on these shares (Menon et al. 2021).

    Args:
        labels: of the training split, int [n] of 0 and 1, both present.
        seed: of the resampling.
    """
    every = np.arange(len(labels))
    match config.strategy:
        case Strategy.none:
            return every, Loss()
        case Strategy.class_weight:
            weights = class_weights(labels)
            return every, Loss(weights[0], weights[1])
        case Strategy.focal:
            return every, Loss(focal_gamma=config.focal_gamma)
        case Strategy.logit_adjusted:
            return every, Loss(logit_offset=config.tau * log_odds(labels))
        case Strategy.oversample | Strategy.undersample:
            return resampled_rows(labels, config.strategy.name, seed), Loss()


def learned_log_odds(train_labels: np.ndarray, config: ImbalanceConfig) -> float:
    """The log-odds of label 1, in nats, of the share for which the logits of a trained head stand.

    A logit is the log-likelihood ratio of the image plus these log-odds.

    - none: those of the training split.
    - focal: the same, as an approximation. Focal loss shrinks log-odds towards 0 (Charoenphakdee et al. 2021).
    - class_weight, oversample, undersample: 0, because both labels weigh the same.
    - logit_adjusted: training fits logit + tau log(pi_1 / pi_0) to the log-odds under the share pi_1, so the logit
      alone stands for (1 - tau) log(pi_1 / pi_0), which is 0 for tau = 1 (Menon et al. 2021).

    Args:
        train_labels: int [n] of 0 and 1, both present, before any resampling.
    """
    match config.strategy:
        case Strategy.none | Strategy.focal:
            return log_odds(train_labels)
        case Strategy.class_weight | Strategy.oversample | Strategy.undersample:
            return 0.0
        case Strategy.logit_adjusted:
            return (1 - config.tau) * log_odds(train_labels)


def prior_shift(train_labels: np.ndarray, validation_labels: np.ndarray, config: ImbalanceConfig) -> float:
    """What to add to the logits of a trained head, in nats, so that they stand for the share of label 1 in validation.

    Epochs and jobs are selected by the log loss of logits that are shifted so. Without the shift a treatment that moves
    the logits to other shares would be preferred for that alone. The shift is Bayes' rule where only the shares of the
    labels differ (Saerens, Latinne and Decaestecker 2002). Where validation has one label only, no share is known, and
    the shift is 0.

    Args:
        train_labels: int [m] of 0 and 1, both present, before any resampling. validation_labels: int [n] of 0 and 1.
    """
    share = float(np.mean(validation_labels))
    return float(logit(share)) - learned_log_odds(train_labels, config) if 0 < share < 1 else 0.0
