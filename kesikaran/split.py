"""The split: a pure function of an image's content. Table in, the same table with a `split` column out."""

import hashlib

import numpy as np
import pandas as pd

from kesikaran.config import Balance, SplitConfig
from kesikaran.errors import InputError

SPLITS = ("train", "validation", "test")


def apply(config: SplitConfig, table: pd.DataFrame) -> pd.DataFrame:
    """Split `table` by the configured rule."""
    (t0, t1), (v0, v1) = config.test, config.validation
    return sha1_low_byte(table, (t0, t1), (v0, v1), config.balance is Balance.minority)


def sha1_low_byte(
    table: pd.DataFrame,
    test: tuple[int, int] = (0, 25),
    validation: tuple[int, int] = (25, 50),
    balance: bool = True,
) -> pd.DataFrame:
    """Split by the low byte of each image's SHA-1, the article's rule.

    The name up to its first dot is the SHA-1 in hex; its last two digits are a number 0-255. A
    number in [test[0], test[1]) is test, in [validation[0], validation[1]) validation, else train.
    With `balance`, test and validation each keep as many of either label as the rarer one has, the
    first ones by object id, and the surplus goes to train.

    Args:
        table: columns `object_id` (str, SHA-1 with or without extension) and `label` (0 or 1), in
            any order: the result is sorted by object id, so that it does not depend on it.

    Returns:
        The sorted table with a str column `split` of SPLITS.

    Raises:
        InputError: a split is left without an image of some class.
    """
    result = table.sort_values("object_id", ignore_index=True)
    low_byte = result["object_id"].str.split(".").str[0].str[-2:].map(lambda digits: int(digits, 16))
    side = np.full(len(result), "train", dtype=object)
    for name, (first, end) in (("test", test), ("validation", validation)):
        inside = ((low_byte >= first) & (low_byte < end)).to_numpy()
        if balance:
            ones = result["label"].to_numpy() == 1
            keep = min(int((inside & ones).sum()), int((inside & ~ones).sum()))
            rank = np.where(ones, np.cumsum(inside & ones), np.cumsum(inside & ~ones))
            inside = inside & (rank <= keep)
        side[inside] = name
    result["split"] = side.astype(str)
    _assert_partition(table, result)
    _need_both_classes(result)
    return result


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Images by split (rows, in the order of SPLITS, and `sum`) and label (columns 0, 1, `sum`)."""
    result = pd.crosstab(table["split"], table["label"]).reindex(index=list(SPLITS), columns=[0, 1], fill_value=0)
    result["sum"] = result.sum(axis=1)
    result.loc["sum"] = result.sum()
    return result


def fingerprint(table: pd.DataFrame) -> str:
    """32 hex digits that name the split: who is in it, with which label, on which side. Any order of rows."""
    lines = sorted(table["object_id"] + "," + table["label"].astype(str) + "," + table["split"])
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _assert_partition(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Each image is in exactly one split, and none is lost. Checked on every run."""
    ids = after["object_id"]
    if ids.duplicated().any():
        raise AssertionError(f"an image stands in two splits: {ids[ids.duplicated()].iloc[0]}")
    if len(after) != len(before) or set(ids) != set(before["object_id"]):
        raise AssertionError(f"the split holds {len(after)} images of {len(before)}")
    if not after["split"].isin(SPLITS).all():
        raise AssertionError("an image is in no split")


def _need_both_classes(table: pd.DataFrame) -> None:
    by_split = pd.crosstab(table["split"], table["label"]).reindex(index=list(SPLITS), columns=[0, 1], fill_value=0)
    for name, (zeros, ones) in zip(SPLITS, by_split.to_numpy().tolist(), strict=True):
        if not zeros or not ones:
            raise InputError(
                f"the {name} split is left with {zeros} images of label 0 and {ones} of label 1: "
                "each needs at least one; add images, or widen split.test and split.validation"
            )
