"""Cuts of the training rows into two halves."""

import numpy as np
import pytest

from kesikaran.core.errors import InputError
from kesikaran.training import halves

LABELS = (np.arange(101) % 3 == 0).astype(int)


def test_two_halves_are_the_whole_and_no_cut_is_another() -> None:
    assert halves.rows(LABELS, None, 0).tolist() == list(range(101))
    cuts = [[halves.rows(LABELS, None, number) for number in pair] for pair in ((1, 2), (3, 4))]
    for first, second in cuts:
        assert sorted([*first, *second]) == list(range(101))
        assert (len(first), len(second)) == (50, 51)
        assert list(first) == sorted(first)
    assert cuts[0][0].tolist() != cuts[1][0].tolist()
    assert cuts[0][0].tolist() == halves.rows(LABELS, None, 1).tolist()


def test_a_group_lies_in_one_half() -> None:
    groups = np.array([f"g{i}" for i in np.arange(101) // 7])
    first, second = (halves.rows(LABELS, groups, number) for number in (5, 6))
    assert sorted([*first, *second]) == list(range(101))
    assert not set(groups[first]) & set(groups[second])


def test_both_halves_have_both_labels_or_are_refused() -> None:
    rare = np.zeros(12, int)
    rare[:2] = 1
    for number in range(1, 41):
        assert rare[halves.rows(rare, None, number)].sum() == 1
    with pytest.raises(InputError, match=r"fit.half=1: .* 10 images of label 0 and 2 of label 1 in 11 groups"):
        halves.rows(rare, np.array([0, 0, *range(1, 11)]), 1)
