"""Label files and splits: read, checked in every cell, written."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kesikaran.core import files
from kesikaran.core.errors import InputError, printable
from kesikaran.data.object_store import OBJECT_ID, sha1s

_COLUMNS = ("objectId", "value")


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
        InputError: missing or unreadable file, missing column, no rows, a value that is not 0 or 1, an id that is no
            SHA-1 file name, one image under two labels, only one class where both are needed.
    """
    rows = _read(path)
    # On whole columns: row by row, a file of two million rows took half a minute.
    values = rows["value"].str.strip()
    no_name, no_value = ~rows["objectId"].str.fullmatch(OBJECT_ID), ~values.isin(["0", "1"])
    if (no_name | no_value).any():
        first = int((no_name | no_value).argmax())
        if no_name[first]:
            raise InputError(
                f"{path} line {first + 2}: objectId {rows['objectId'][first][:80]!r} is not a SHA-1 file name "
                "(40 hex digits and an extension, without folders)"
            )
        value = rows["value"][first]
        raise InputError(f"{path} line {first + 2}: value {value[:40]!r} is not a label; 0 or 1 is allowed")
    rows["value"] = (values == "1").astype(int)
    table = _once_each(path, rows)
    if both_classes and table["label"].nunique() < 2:
        raise InputError(f"{path}: every row has label {table['label'].iloc[0]}; both 0 and 1 are needed")
    return Labels(table.sort_values("object_id", ignore_index=True, key=sha1s), len(rows) - len(table))


def read_split(path: Path) -> pd.DataFrame:
    """Read and check a split: a CSV `objectId,value,type`, as kesikaran data split writes it.

    Returns:
        Columns object_id, label, split.

    Raises:
        InputError: as `read_labels`, or a type that is no split.
    """
    table = read_labels(path).table
    if "type" not in table.columns:
        raise InputError(f"{path} has no column type: it is no split; kesikaran data split writes one")
    wrong = ~table["type"].isin(["train", "validation", "test"])
    if wrong.any():
        first = table[wrong].iloc[0]
        raise InputError(
            f"{path} line {first['row'] + 2}: type {first['type'][:40]!r} is not train, validation or test"
        )
    return table[["object_id", "label"]].assign(split=table["type"])


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


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"label file {path} does not exist; give data.labels=PATH of a CSV with {','.join(_COLUMNS)}")
    if path.stat().st_size == 0:
        raise InputError(f"label file {path} is empty; a CSV with the columns {','.join(_COLUMNS)} is needed")
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
    except (ValueError, csv.Error, OSError) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise InputError(f"label file {path} is not a readable UTF-8 CSV: {' '.join(str(error).split())}") from None
    missing = [c for c in _COLUMNS if c not in rows.columns]
    if missing:
        found = ", ".join(printable(str(c)[:40]) for c in rows.columns[:10])
        raise InputError(f"label file {path} has no column {', '.join(missing)}; it has: {found}")
    if rows.empty:
        raise InputError(f"label file {path} has a header and no rows")
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes the surplus field for an index and shifts the others
        raise InputError(f"label file {path} has rows with more fields than its header")
    further = [c for c in rows.columns if c not in (*_COLUMNS, "object_id", "label", "split", "row")]
    # A short row leaves holes in spite of keep_default_na.
    return rows[[*_COLUMNS, *further]].fillna("").assign(row=range(len(rows)))


def _once_each(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """The first row of each image. A later row with the same label is left out; one with the other label is refused."""
    sha1 = sha1s(rows["objectId"])
    image = pd.Series(pd.factorize(sha1)[0])  # numbered in the order of their first rows
    first = image.drop_duplicates().index
    labels = rows["value"].to_numpy()
    clash = labels != labels[first][image]
    if clash.any():
        later = int(clash.argmax())
        origin = int(first[image[later]])
        raise InputError(
            f"{path}: image {sha1[later]} has label {labels[origin]} on line {origin + 2} "
            f"and label {labels[later]} on line {later + 2}; remove one"
        )
    return rows.loc[first].rename(columns={"objectId": "object_id", "value": "label"}).reset_index(drop=True)
