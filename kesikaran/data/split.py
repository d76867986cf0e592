"""The split: a pure function of a table. Table in, the same table with a `split` column out.

Every rule takes columns `object_id` (str, SHA-1 with or without extension) and `label` (0 or 1), in any
order of the rows, and returns the rows sorted by object id with a str column `split` of SPLITS. Each
image is in exactly one split; that is asserted on every call.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kesikaran.config.schema import Balance, Rule, SplitConfig
from kesikaran.core.errors import InputError, printable
from kesikaran.data import near_duplicates, split_rules
from kesikaran.data.split_rules import SPLITS


def apply(config: SplitConfig, table: pd.DataFrame, given: pd.DataFrame | None = None) -> pd.DataFrame:
    """Split `table` by the configured rule.

    Args:
        table: further columns are kept; `config.group`, `stratify` and `order` name some of them.
        given: the table of `split.file`, for `from_file`.

    Raises:
        InputError: a named column is missing, a split is left without an image, or train without one of a class.
    """
    need_columns(config, table)
    if config.rule is Rule.sha1_low_byte:
        (t0, t1), (v0, v1) = config.test, config.validation
        result = split_rules.sha1_low_byte(table, (t0, t1), (v0, v1), config.balance is Balance.minority, config.group)
    elif config.rule is Rule.sha1_fold:
        result = split_rules.sha1_fold(table, config.fold, config.folds, config.group)
    elif config.rule is Rule.blocks:
        result = split_rules.blocks(table, config.fold, config.folds, config.block_size, config.order or "row")
    elif config.rule is Rule.stratified_random:
        sizes = config.test_size, config.validation_size
        result = split_rules.stratified_random(table, *sizes, config.stratify or "label", config.seed)
    else:
        assert given is not None
        result = split_rules.from_table(table, given)
    need_both_classes(result)
    return result


def need_columns(config: SplitConfig, table: pd.DataFrame) -> None:
    """Raises InputError where the rule names a column that `table` lacks."""
    for setting in ("group", "stratify", "order"):
        column = getattr(config, setting)
        if column is None or column in table.columns:
            continue
        if column == near_duplicates.COLUMN:
            raise InputError(
                f"split.{setting}={column}: a run looks for near-duplicates among at most "
                f"{near_duplicates.MOST_IMAGES:,} images, and here are {len(table):,}; give a label file with a column "
                f"{column} "
                "(scripts/near_duplicates.py writes one)"
            )
        others = [printable(c) for c in table.columns if c != "object_id"]
        raise InputError(f"split.{setting}={column} is no column of the label file; it has: {', '.join(others)}")


def groups(config: SplitConfig, table: pd.DataFrame) -> np.ndarray | None:
    """What the rule keeps together of `table`: [n], equal for images of one group or block. None: every image stands
    alone."""
    if config.group:
        return split_rules.group_names(table, config.group).to_numpy()
    if config.rule is Rule.blocks:
        return split_rules.block_numbers(table, config.block_size, config.order or "row").to_numpy()
    return None


def moves(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Images by their side in two splits: rows old, columns new, each SPLITS and `absent`.

    Raises:
        InputError: the two share no image.
    """
    sides = pd.concat(
        {
            "old": old.set_index(split_rules.sha1s(old["object_id"]))["split"],
            "new": new.set_index(split_rules.sha1s(new["object_id"]))["split"],
        },
        axis=1,
    )
    if not sides.notna().all(axis=1).any():
        raise InputError("the two splits share no image: they are of different data sets")
    every = [*SPLITS, "absent"]
    sides = sides.astype(object).where(sides.notna(), "absent")
    return pd.crosstab(sides["old"], sides["new"]).reindex(index=every, columns=every, fill_value=0)


def rows(table: pd.DataFrame, side: str) -> np.ndarray:
    """Row numbers of one split, int [n]."""
    return np.flatnonzero(table["split"] == side)


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


def need_both_classes(table: pd.DataFrame, sides: Sequence[str] = ("train",)) -> None:
    """Raises InputError where a split has no image, or one of `sides` lacks a class."""
    by_split = pd.crosstab(table["split"], table["label"]).reindex(index=list(SPLITS), columns=[0, 1], fill_value=0)
    for name, (zeros, ones) in zip(SPLITS, by_split.to_numpy().tolist(), strict=True):
        if not (zeros and ones if name in sides else zeros or ones):
            raise InputError(
                f"the {name} split is left with {zeros} images of label 0 and {ones} of label 1: it needs at least "
                f"one{' of each' if name in sides else ''}; add images, or give the split more room (split.test and "
                "split.validation, fewer folds)"
            )


if __name__ == "__main__":
    from kesikaran.core import process

    process.elsewhere("kesikaran data split")
