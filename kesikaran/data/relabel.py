"""Corrections of labels, as the page of label doubts saves them, into a label file."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kesikaran.core import files
from kesikaran.core.errors import InputError, printable
from kesikaran.data import csv_file, label_file, object_store

COLUMNS = ("object_id", "label", "corrected")
DERIVED = ("near_duplicates.csv", "split_label.csv")  # from the label.csv beside them, by the commands of the same name


@dataclass(frozen=True)
class Corrected:
    """changed: columns object_id (str, as in the label file), label and corrected (int). kept: the file with the labels
    as they were. rows: label -> images of the new file. stale: label files and splits beside it that still have the
    old labels."""

    changed: pd.DataFrame
    kept: Path
    rows: dict[int, int]
    stale: list[Path]


def relabel(labels: Path, corrections: Path) -> Corrected:
    """Give the images of `corrections` their corrected label in the label file `labels`, all of them or none.

    The old file stays beside it as `label.before-20260131-175900.csv`. Everything else of the file, its further columns
    and the order of its rows, is as before.

    Args:
        corrections: a CSV with the columns object_id, label (the old one) and corrected.

    Raises:
        InputError: either file is missing or malformed, an image that the label file has not, an old label that is not
            the file's, one image corrected in two ways, nothing to correct; the file is made of the label.csv beside
            it; the folder is not writable or in use. No label is changed then.
    """
    if not os.path.isfile(labels):
        raise InputError(f"label file {labels} does not exist; give the folder of a data set, which has a label.csv")
    whole = labels.parent / "label.csv"
    if labels.name in DERIVED and whole.is_file():
        raise InputError(
            f"{labels} is made of {whole} and would get the old labels back; give {labels.parent}, then make "
            f"{labels.name} anew"
        )
    asked = _read(corrections)
    with object_store.alone(labels.parent):
        table = label_file.read_labels(labels, both_classes=False).table
        before = labels.read_bytes()
        ids = table.set_index(object_store.sha1s(table["object_id"]))
        _check(asked, ids["label"], corrections, labels)
        rows = csv_file.read(labels, f"label file {labels}", ("objectId", "value")).rows
        corrected = object_store.sha1s(rows["objectId"]).map(asked["corrected"])
        rows["value"] = rows["value"].where(corrected.isna(), corrected)
        kept = _free_name(labels)
        try:
            files.write_whole(kept, before)
        except OSError as error:
            raise InputError(f"{kept} cannot be written: {error.strerror or error}; no label was changed") from None
        label_file.write(rows, labels)
    changed = asked[["label", "corrected"]].astype(int)
    changed.insert(0, "object_id", ids.loc[asked.index, "object_id"])
    new = ids["label"].copy()
    new[changed.index] = changed["corrected"]
    stale = [path for name in DERIVED if (path := labels.parent / name).is_file()]
    counts = {label: int((new == label).sum()) for label in (0, 1)}
    return Corrected(changed.reset_index(drop=True), kept, counts, [path for path in stale if path != labels])


def _read(corrections: Path) -> pd.DataFrame:
    """label, corrected (str, 0 or 1) and line (int, of the file) of each image, by its SHA-1, in the file's order."""
    if not os.path.isfile(corrections):
        raise InputError(
            f"{corrections} does not exist; the page of kesikaran data label-doubts saves a corrections.csv"
        )
    given = csv_file.read(corrections, f"corrections {corrections}", COLUMNS)
    found = given.rows[list(COLUMNS)].apply(lambda column: column.str.strip()).assign(line=given.lines)
    for row in found.itertuples():
        where = f"corrections {corrections} line {row.line}"
        if not object_store.is_object_id(row.object_id):
            raise InputError(
                f"{where}: object_id {printable(row.object_id[:80])} is no name of an image (40 hex digits)"
            )
        for column in ("label", "corrected"):
            value = getattr(row, column)
            if value not in ("0", "1"):
                raise InputError(f"{where}: {column} {value[:40]!r} is not a label; 0 or 1 is allowed")
        if row.label == row.corrected:
            raise InputError(f"{where}: label and corrected are both {row.label}; leave out what is right")
    found.index = pd.Index(object_store.sha1s(found["object_id"]))
    first = found[~found.index.duplicated()]
    clash = found[found["corrected"] != first.loc[found.index, "corrected"]]
    if len(clash):
        one, other = clash.iloc[0], first.loc[clash.index[0]]
        raise InputError(
            f"corrections {corrections}: {one['object_id']} is corrected to {other['corrected']} on line "
            f"{other['line']} and to {one['corrected']} on line {one['line']}; keep one"
        )
    return first


def _check(asked: pd.DataFrame, labels: pd.Series, corrections: Path, path: Path) -> None:
    """Raises InputError where the corrections do not fit the labels (int, by SHA-1)."""
    unknown = asked[~asked.index.isin(labels.index)]
    if len(unknown):
        raise InputError(
            f"corrections {corrections} line {unknown['line'].iloc[0]}: {path} has no image "
            f"{unknown['object_id'].iloc[0]} ({len(unknown)} of {len(asked)} are not there): they are of another data "
            "set. No label was changed"
        )
    now = labels[asked.index].astype(str)
    wrong = asked[asked["label"] != now]
    if len(wrong) == len(asked):
        raise InputError(
            f"corrections {corrections}: all {len(asked)} images have the corrected label in {path} already. No label "
            "was changed"
        )
    if len(wrong):
        one = wrong.iloc[0]
        raise InputError(
            f"corrections {corrections} line {one['line']}: the label of {one['object_id']} is {one['corrected']} in "
            f"{path}, not {one['label']} ({len(wrong)} of {len(asked)} are like that): they were made for other "
            "labels. No label was changed; make the page of label doubts anew, or leave these lines out"
        )


def corrected(labels: Path, now: dict[str, int]) -> set[str]:
    """The object ids whose label in the label file `labels` was another before a correction. now: the labels in it."""
    found = set()
    for kept in labels.parent.glob(f"{labels.stem}.before-*.csv"):
        before = label_file.read_labels(kept, both_classes=False).table
        found |= {name for name, label in zip(before["object_id"], before["label"], strict=True)
                  if now.get(name, label) != label}  # fmt: skip
    return found


def _free_name(labels: Path) -> Path:
    """A name for the old file that nothing has. The second of the clock tells two corrections apart, else a number."""
    stem = f"{labels.stem}.before-{time.strftime('%Y%m%d-%H%M%S')}"
    names = [labels.with_name(f"{stem}{more}.csv") for more in ("", *(f"-{number}" for number in range(2, 1000)))]
    return next(name for name in names if not os.path.lexists(name))


if __name__ == "__main__":
    from kesikaran.core import process

    process.elsewhere("kesikaran data relabel")
