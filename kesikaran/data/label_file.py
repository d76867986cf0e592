"""Label files and splits: read, checked in every cell, written."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kesikaran.core import files
from kesikaran.core.errors import InputError, printable
from kesikaran.data import csv_file
from kesikaran.data.csv_file import CsvTable
from kesikaran.data.object_store import OBJECT_ID, sha1s

_COLUMNS = ("objectId", "value")
# What the columns of a table are called here. A user's own column of such a name would be taken for it, or be lost.
_OURS = ("object_id", "label", "split", "row")


@dataclass(frozen=True)
class Labels:
    """table: `object_id` (str), `label` (int, 0 or 1), `row` (int, the row of the file, from 0) and the file's further
    columns (str), sorted by SHA-1. repeated: the number of rows that repeat an earlier one and are left out."""

    table: pd.DataFrame
    repeated: int


def read_labels(path: Path, both_classes: bool = True) -> Labels:
    """Read and check a CSV with the columns `objectId` and `value`; further columns are kept as text.

    Args:
        both_classes: whether both labels must occur.

    Raises:
        InputError: missing file, or as `csv_file.read`; a value that is not 0 or 1, an id that is no SHA-1 file name,
            one image under two labels, only one class where both are needed, a further column whose name has a meaning
            of its own here.
    """
    given = _read(path, "label file", f"give data.labels=PATH of a CSV with {','.join(_COLUMNS)}")
    return _once_each(path, given, both_classes)


def read_split(path: Path) -> pd.DataFrame:
    """Read and check a split: a CSV `objectId,value,type`, as kesikaran data split writes it.

    Returns:
        Columns object_id, label, split.

    Raises:
        InputError: as `read_labels`, or a type that is no split.
    """
    given = _read(path, "split file", "kesikaran data split writes one")
    if "type" not in given.rows.columns:
        raise InputError(f"{path} has no column type: it is no split; kesikaran data split writes one")
    wrong = ~given.rows["type"].isin(["train", "validation", "test"])
    if wrong.any():
        first = int(wrong.argmax())
        kind = given.rows["type"][first][:40]
        raise InputError(f"{path} line {given.lines[first]}: type {kind!r} is not train, validation or test")
    table = _once_each(path, given, both_classes=True).table
    return table[["object_id", "label"]].assign(split=table["type"])


def weights(table: pd.DataFrame, column: str) -> np.ndarray:
    """The weights of the images in a further column of the label file, float64 [n].

    Raises:
        InputError: there is no such column, or it holds what is no number above 0.
    """
    if column not in table.columns or column in _OURS:
        there = ", ".join(name for name in table.columns if name not in _OURS) or "no further one"
        raise InputError(f"data.weight={printable(column)}: the label file has no such column; it has {there}")
    found = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    wrong = ~(np.isfinite(found) & (found > 0))
    if wrong.any():
        first = table.iloc[int(wrong.argmax())]
        raise InputError(
            f"data.weight={printable(column)}: {str(first[column])[:40]!r} of {first['object_id']} is no weight; a "
            "number above 0 is allowed"
        )
    return found


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a label file or a split with the columns of `table`, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        files.write_whole(path, table.to_csv(index=False, lineterminator="\n"))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def data_digest(table: pd.DataFrame) -> str:
    """32 hex digits of a hash of all (object_id, label), the same for any order of the rows and any case of the ids."""
    lines = sorted(table["object_id"].str.lower() + "," + table["label"].astype(str))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _read(path: Path, kind: str, remedy: str) -> CsvTable:
    """The rows of the file in its order: object_id (str), label (int), row (int, from 0), and the further columns.

    Args:
        kind: what the file is, for messages. remedy: what to do where it is missing.
    """
    if os.path.isdir(path):
        raise InputError(f"{kind} {path} is a folder; give the CSV in it, as {path / 'label.csv'}")
    if not os.path.isfile(path):  # of a Path it raises where a name is too long
        raise InputError(f"{kind} {path} does not exist; {remedy}")
    given = csv_file.read(path, f"{kind} {path}", _COLUMNS)
    rows = given.rows
    taken = [column for column in rows.columns if column in _OURS]
    if taken:
        raise InputError(
            f"{kind} {path} has a column {taken[0]}, a name that is used here for something else; rename it (the "
            f"label itself is the column {_COLUMNS[1]})"
        )
    # On whole columns: row by row, a file of two million rows took half a minute.
    values = rows["value"].str.strip()
    no_name, no_value = ~rows["objectId"].str.fullmatch(OBJECT_ID), ~values.isin(["0", "1"])
    if (no_name | no_value).any():
        first = int((no_name | no_value).argmax())
        if no_name[first]:
            raise InputError(
                f"{path} line {given.lines[first]}: objectId {rows['objectId'][first][:80]!r} is not a SHA-1 file name "
                "(40 hex digits and an extension, without folders)"
            )
        value = rows["value"][first]
        raise InputError(f"{path} line {given.lines[first]}: value {value[:40]!r} is not a label; 0 or 1 is allowed")
    further = rows.columns.difference(list(_COLUMNS), sort=False)
    rows = rows[["objectId", *further]].rename(columns={"objectId": "object_id"})
    rows.insert(1, "label", (values == "1").astype(int))
    return CsvTable(rows.assign(row=range(len(rows))), given.lines)


def _once_each(path: Path, given: CsvTable, both_classes: bool) -> Labels:
    """The first row of each image. A later row with the same label is left out; one with the other label is refused."""
    sha1 = sha1s(given.rows["object_id"]).to_numpy(dtype=object).astype("S40")
    order = sha1.argsort(kind="stable")  # rows of one image come together, in the order of the file
    sha1 = sha1[order]
    is_first = np.append(True, sha1[1:] != sha1[:-1])
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    labels = given.rows["label"].to_numpy()[order]
    clash = np.flatnonzero(labels != labels[first])
    if clash.size:
        later = clash[order[clash].argmin()]
        line, origin = given.lines[order[later]], given.lines[order[first[later]]]
        raise InputError(
            f"{path}: image {sha1[later].decode()} has label {labels[first[later]]} on line {origin} and label "
            f"{labels[later]} on line {line}; remove one"
        )
    table = given.rows.iloc[order[is_first]].reset_index(drop=True)
    if both_classes and table["label"].nunique() < 2:
        raise InputError(f"{path}: every row has label {table['label'].iloc[0]}; both 0 and 1 are needed")
    return Labels(table, len(order) - len(table))
