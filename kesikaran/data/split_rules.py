"""The rules by which a table of images is split. Table in, the same table with a `split` column out.

Every rule takes a table with the columns `object_id` (str, SHA-1 with or without extension) and `label` (0 or 1) in any
order of the rows; further columns are kept. It returns the rows sorted by SHA-1 with a str column `split`, one of
SPLITS. Each image is in exactly one split; that is asserted on every call. The case in which a name writes its SHA-1
decides nothing.
"""

import numpy as np
import pandas as pd

from kesikaran.config.schema import Balance, SplitConfig
from kesikaran.core.errors import InputError
from kesikaran.data.object_store import sha1s

SPLITS = ("train", "validation", "test")


def sha1_low_byte(table: pd.DataFrame, config: SplitConfig, pinned: pd.DataFrame | None = None) -> pd.DataFrame:
    """Split by the low byte of each image's SHA-1, the article's rule.

    Without `group`, the window in which an image lies depends on nothing but its content. Balancing looks at the whole
    set: with new images, a few old ones move between test or validation and train, which `pinned` prevents. The surplus
    is taken by SHA-1, and the article's script takes it in the order of the label file. So for a file that is not
    sorted, the counts are the same and some images that move are others.

    The name up to its first dot is the SHA-1 in hex; its last two digits are a number 0-255. An image is in test where
    the number is in [test[0], test[1]), in validation where it is in [validation[0], validation[1]), else in train.

    Args:
        config: `test` and `validation`, which are these two windows, and

            - `balance`: with `minority`, test and validation each keep as many images of either label as there are of
              the rarer one, the first ones by SHA-1; the surplus goes to train.
            - `group`: a column whose equal values stay together. The smallest SHA-1 of a group decides for the
              whole group; a blank is no group. Balancing moves whole groups that have only the commoner label. So that
              label can end below the rarer one, and above it only by images that share groups with the rarer one.
        pinned: an earlier split (`object_id`, `split`). Its images stay where they were, so that none that was trained
            on comes into test; balancing counts them and chooses among the new images.
    """
    group = config.group
    result = _sorted(table)
    low_byte = _low_byte(result, group)
    earlier = _earlier(result, pinned)
    side = earlier.where(earlier.notna(), "train").to_numpy(dtype=object, copy=True)
    for name, (first, end) in (("test", config.test), ("validation", config.validation)):
        inside = ((low_byte >= first) & (low_byte < end) & earlier.isna()).to_numpy(copy=True)
        if config.balance is Balance.minority:
            inside &= _balanced(result, inside, (earlier == name).to_numpy(), group)
        side[inside] = name
    return _partition(table, result, side)


def sha1_fold(table: pd.DataFrame, fold: int, folds: int, group: str | None = None) -> pd.DataFrame:
    """Fold `fold` (from 0) of `folds` by the article's byte windows, rotated; no seed is involved.

    The test windows of all folds cover every image exactly once. Validation is the window behind test, one `folds`-th
    of what is left. Nothing is balanced: an image moved out of test would never be tested.

    Args:
        group: as in `sha1_low_byte`.
    """
    result = _sorted(table)
    return _partition(table, result, _rotated(_low_byte(result, group).to_numpy(), 256, fold, folds))


def blocks(table: pd.DataFrame, fold: int, folds: int, block_size: int, order: str = "row") -> pd.DataFrame:
    """As `sha1_fold`, with blocks of `block_size` neighbours kept together, for sets whose neighbours are siblings.

    The images are sorted by the column `order` (numbers) and cut into blocks. The folds are windows of the blocks in
    the order of their smallest SHA-1s.

    Raises:
        InputError: the column is not numeric, or there are fewer blocks than three a fold.
    """
    result = _sorted(table)
    block = block_numbers(result, block_size, order)
    smallest = sha1s(result["object_id"]).groupby(block).min()
    if len(smallest) < 3 * folds:
        raise InputError(
            f"split.block_size={block_size} makes {len(smallest)} blocks of {len(result)} images, and {folds} folds "
            f"need at least {3 * folds}: give a smaller block_size or fewer folds"
        )
    slot = block.map(smallest.rank().astype(int) - 1).to_numpy()
    return _partition(table, result, _rotated(slot, len(smallest), fold, folds))


def stratified_random(
    table: pd.DataFrame, test_size: float, validation_size: float, stratify: str = "label", seed: int = 0
) -> pd.DataFrame:
    """Draw test, then validation, at random with the classes of the column `stratify` in proportion.

    Args:
        test_size, validation_size: below 1 a share of all images (rounded), else a number of images. The sizes are
            exact: what the rounded shares of the classes leave open goes to the largest remainders.

    Raises:
        InputError: nothing is left to train on, or a class is too small to be drawn from.
    """
    from sklearn.model_selection import train_test_split

    result = _sorted(table)
    sizes = [round(size * len(result)) if size < 1 else int(size) for size in (test_size, validation_size)]
    side = np.full(len(result), "train", dtype=object)
    left = np.arange(len(result))
    strata = result[stratify].astype(str).to_numpy()
    for name, size in zip(("test", "validation"), sizes, strict=True):
        try:
            left, drawn = train_test_split(left, test_size=size, stratify=strata[left], random_state=seed)
        except ValueError as error:
            raise InputError(
                f"split.{name}_size={size} images cannot be drawn from {len(left)}, stratified by {stratify}: {error}"
            ) from None
        side[drawn] = name
    return _partition(table, result, side)


def from_table(table: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    """The split of `given` (columns object_id, label, split), whose images are found by SHA-1.

    Raises:
        InputError: an image of `table` is not in `given`, or has another label there.
    """
    result = _sorted(table)
    by_sha1 = given.set_index(sha1s(given["object_id"]))
    sha1 = sha1s(result["object_id"])
    missing = ~sha1.isin(by_sha1.index)
    if missing.any():
        first = result["object_id"][int(missing.to_numpy().argmax())]
        raise InputError(
            f"split.file does not know {int(missing.sum())} of {len(result)} images (the first: {first}): "
            "it is of another data set, or of an earlier state of this one"
        )
    other = result["label"].to_numpy() != by_sha1["label"].loc[sha1].to_numpy()
    if other.any():
        raise InputError(
            f"split.file has another label for {int(other.sum())} of {len(result)} images "
            f"(the first: {result['object_id'][int(other.argmax())]})"
        )
    return _partition(table, result, by_sha1["split"].loc[sha1].to_numpy())


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("object_id", ignore_index=True, key=sha1s)


def group_names(result: pd.DataFrame, group: str) -> pd.Series:
    """The group of each image: the value of the column, or the image's own object id where that is blank."""
    names = result[group].astype(str)
    return names.where(names.str.strip() != "", result["object_id"])


def block_numbers(table: pd.DataFrame, block_size: int, order: str) -> pd.Series:
    """The number of each image's block, int from 0, in the order of the column `order`."""
    position = pd.to_numeric(table[order], errors="coerce")
    if position.isna().any():
        raise InputError(f"split.order={order} must hold a number for every image")
    return position.rank(method="first").astype(int).sub(1) // block_size


def _low_byte(result: pd.DataFrame, group: str | None) -> pd.Series:
    """0-255: the low byte of the image's SHA-1, or of the smallest SHA-1 in its group."""
    sha1 = sha1s(result["object_id"])
    decides = sha1 if group is None else sha1.groupby(group_names(result, group)).transform("min")
    return decides.str[-2:].map(lambda digits: int(digits, 16))


def _earlier(result: pd.DataFrame, pinned: pd.DataFrame | None) -> pd.Series:
    """The side of each image in the earlier split; None for a new image."""
    if pinned is None:
        return pd.Series([None] * len(result), dtype=object)
    return sha1s(result["object_id"]).map(pinned.set_index(sha1s(pinned["object_id"]))["split"]).astype(object)


def _balanced(result: pd.DataFrame, inside: np.ndarray, pinned: np.ndarray, group: str | None) -> np.ndarray:
    """bool [n]: the images of `inside` that a split keeps beside those `pinned` to it. See `sha1_low_byte`."""
    ones = result["label"].to_numpy() == 1
    both = inside | pinned
    keep = min(int((both & ones).sum()), int((both & ~ones).sum()))
    kept = inside.copy()
    for label in (ones, ~ones):
        budget = keep - int((pinned & label).sum())
        candidates = inside & label
        if group is None:
            kept &= ~candidates | (np.cumsum(candidates) <= budget)
            continue
        groups = group_names(result, group)
        pure = candidates & ~groups.isin(set(groups[inside & ~label])).to_numpy()
        budget -= int((candidates & ~pure).sum())
        fit = set()
        # In the order of the smallest SHA-1s; a group larger than what is left of the budget is passed over.
        for name, size in groups[pure].value_counts(sort=False).reindex(groups[pure].drop_duplicates()).items():
            if size <= budget:
                fit.add(name)
                budget -= int(size)
        kept &= ~pure | groups.isin(fit).to_numpy()
    return kept


def _rotated(slot: np.ndarray, slots: int, fold: int, folds: int) -> np.ndarray:
    """The side of each position on a ring of `slots`: test is the fold's arc, validation the arc behind it."""
    first, end = slots * fold // folds, slots * (fold + 1) // folds
    validation = max(1, (slots - (end - first)) // folds)
    behind = (slot - end) % slots
    side = np.where((slot >= first) & (slot < end), "test", np.where(behind < validation, "validation", "train"))
    return side.astype(object)


def _partition(before: pd.DataFrame, after: pd.DataFrame, side: np.ndarray) -> pd.DataFrame:
    """`after` with the column `split`. Asserts that each image of `before` is in exactly one split."""
    after = after.assign(split=side.astype(str))
    ids = after["object_id"]
    if ids.duplicated().any():
        raise AssertionError(f"an image stands in two splits: {ids[ids.duplicated()].iloc[0]}")
    if len(after) != len(before) or not _sorted(before)["object_id"].equals(ids):
        raise AssertionError(f"the split holds {len(after)} images of {len(before)}")
    if not after["split"].isin(SPLITS).all():
        raise AssertionError("an image is in no split")
    return after
