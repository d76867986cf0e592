"""Treatments of class imbalance in training: weights, or which rows are trained on."""

import numpy as np


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


def treat(labels: np.ndarray, strategy: str, seed: int) -> tuple[np.ndarray, dict[int, float] | None]:
    """The rows to train on and the class weights (None: all 1) of a strategy.

    Args:
        labels: int [n] of 0 and 1, both present: the training split's.
        strategy: none, class_weight, oversample or undersample.
        seed: of the resampling.
    """
    every = np.arange(len(labels))
    if strategy == "none":
        return every, None
    if strategy == "class_weight":
        return every, class_weights(labels)
    return resampled_rows(labels, strategy, seed), None
