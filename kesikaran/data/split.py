"""A table of images is split by the configured rule; a split is counted, compared and checked."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kesikaran.config.schema import Balance, Rule, SplitConfig
from kesikaran.core.errors import InputError, printable
from kesikaran.data import near_duplicates, split_rules
from kesikaran.data.object_store import sha1s
from kesikaran.data.split_rules import SPLITS


def apply(config: SplitConfig, table: pd.DataFrame, given: pd.DataFrame | None = None) -> pd.DataFrame:
    """Split `table` by the configured rule.

    Args:
        table: as every rule takes it; `config.group`, `stratify` and `order` name further columns of it.
        given: the table of `split.file`, for the rule `from_file`.

    Returns:
        As every rule does.

    Raises:
        InputError: a named column is missing, a split is left without an image, or train without one of a class.
    """
    need_columns(config, table)
    if config.rule is Rule.sha1_low_byte:
        result = split_rules.sha1_low_byte(table, config)
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
                f"{column} (kesikaran data near-duplicates writes one)"
            )
        others = [printable(c) for c in table.columns if c != "object_id"]
        raise InputError(f"split.{setting}={column} is no column of the label file; it has: {', '.join(others)}")


def need_default_similarity(config: SplitConfig) -> None:
    """Raises InputError where a similarity is given and no near-duplicates are looked for."""
    if config.near_duplicate_similarity != SplitConfig().near_duplicate_similarity:
        raise InputError(
            f"split.near_duplicate_similarity={config.near_duplicate_similarity} does nothing here: a run looks for "
            f"near-duplicates where the label file has no column {near_duplicates.COLUMN}, among at most "
            f"{near_duplicates.MOST_IMAGES:,} images"
        )


def groups(config: SplitConfig, table: pd.DataFrame) -> np.ndarray | None:
    """[n], equal for images that the rule keeps together, in one group or block. None: the rule keeps none together."""
    if config.group:
        return split_rules.group_names(table, config.group).to_numpy()
    if config.rule is Rule.blocks:
        return split_rules.block_numbers(table, config.block_size, config.order or "row").to_numpy()
    return None


def fixes_counts(config: SplitConfig, table: pd.DataFrame) -> dict[str, bool]:
    """Side -> whether the rule has fixed how many images of each label the side has, whatever images were drawn.

    Balancing fixes the counts of validation and test, and a draw that is stratified by the label, or by a column that
    tells the label, those of all sides. Every other rule leaves them to chance, and so does balancing by whole groups,
    nearly. Of the rule of a file nothing is known.

    Args:
        table: column label, and those that the rule names.
    """
    balanced = config.rule is Rule.sha1_low_byte and config.balance is Balance.minority and config.group is None
    stratified = config.rule is Rule.stratified_random and (
        config.stratify is None or bool((table.groupby(config.stratify)["label"].nunique() == 1).all())
    )
    return {side: stratified or (balanced and side != "train") for side in SPLITS}


def moves(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The number of images by their side in two splits: rows old, columns new, each SPLITS and `absent`.

    Raises:
        InputError: the two share no image.
    """
    sides = pd.concat(
        {
            "old": old.set_index(sha1s(old["object_id"]))["split"],
            "new": new.set_index(sha1s(new["object_id"]))["split"],
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
    """The number of images by split (rows SPLITS and `sum`) and label (columns 0, 1 and `sum`)."""
    result = pd.crosstab(table["split"], table["label"]).reindex(index=list(SPLITS), columns=[0, 1], fill_value=0)
    result["sum"] = result.sum(axis=1)
    result.loc["sum"] = result.sum()
    return result


def fingerprint(table: pd.DataFrame) -> str:
    """32 hex digits of a hash of all (object_id, label, split), the same for any order of the rows and any case of the
    ids, because names in another case are names of the same images."""
    lines = sorted(table["object_id"].str.lower() + "," + table["label"].astype(str) + "," + table["split"])
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
