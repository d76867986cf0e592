"""Random cuts of the training rows into two halves."""

import numpy as np

from kesikaran.core.errors import InputError

_TRIES = 1000


def rows(labels: np.ndarray, groups: np.ndarray | None, number: int) -> np.ndarray:
    """Row numbers of one half of the training rows, int [m], sorted.

    The numbers 2 k - 1 and 2 k are the two halves of the k-th cut: together they have every row once. With groups every
    group lies in one half, and the halves have equally many groups. A cut is drawn anew until both halves have both
    labels.

    Args:
        labels: int [n] of 0 and 1, both present.
        groups: [n], equal for rows that came together; None: every row is independent.
        number: 0 is every row. The cut of any other number depends on the number and on nothing else that is random.

    Raises:
        InputError: no cut gives both halves both labels.
    """
    if not number:
        return np.arange(len(labels))
    group = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(group.max()) + 1
    random = np.random.default_rng((number + 1) // 2)
    for _ in range(_TRIES):
        second = np.zeros(count, bool)
        second[random.permutation(count)[count // 2 :]] = True
        in_second = second[group]
        if all(set(labels[half].tolist()) == {0, 1} for half in (in_second, ~in_second)):
            return np.flatnonzero(in_second if number % 2 == 0 else ~in_second)
    raise InputError(
        f"fit.half={number}: no cut of the training images gives both halves both labels; train has "
        f"{int((labels == 0).sum())} images of label 0 and {int(labels.sum())} of label 1"
        + ("" if groups is None else f" in {count} groups")
    )
