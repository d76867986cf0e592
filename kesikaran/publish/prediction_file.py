"""A table of predictions written piece by piece, and there under its name when it is whole: Parquet or CSV."""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from kesikaran.core import files, scratch
from kesikaran.core.errors import InputError, printable

Write = Callable[[pd.DataFrame], None]

_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha1", pa.string()),
        ("probability", pa.float32()),
        ("log_odds", pa.float32()),
        ("label", pa.int64()),
        ("sure", pa.bool_()),
        ("refused", pa.string()),
    ]
)


def check(path: Path, force: bool) -> None:
    """Raises InputError where the file may not be written: another ending, there already and not `force`, a folder, no
    folder to write to."""
    if path.suffix.lower() not in (".parquet", ".csv"):
        raise InputError(f"--out {printable(str(path))} is not allowed: a name that ends in .parquet or .csv")
    if os.path.isdir(path):
        raise InputError(f"--out {printable(str(path))} is a folder; give a file in it")
    if os.path.lexists(path) and not force:
        raise InputError(f"--out {printable(str(path))} is there already; give another name, or --force to replace it")
    files.writable(path.absolute().parent, "folder of --out", "give another with --out")
    if len(os.fsencode(path.name)) > os.pathconf(path.absolute().parent, "PC_NAME_MAX"):
        raise InputError(f"--out {printable(str(path))} has a name that is too long; give a shorter one")


@contextmanager
def opened(place: Path | IO[str]) -> Iterator[Write]:
    """A function that appends the rows of `publish.predict.predict` to a file that appears when the block has ended
    well.

    Args:
        place: of the file; or a stream, which gets CSV at once.

    Raises:
        InputError: the disk is full; nothing is left of the file then, and one that was there before stays.
    """
    if not isinstance(place, Path):
        yield _csv(place)
        return
    folder = place.absolute().parent
    with (
        files.disk_space(f"the folder {folder}", "or give another file with --out"),
        scratch.held_folder(folder, ".predicting-") as making,
    ):
        temporary = making / place.name
        if place.suffix.lower() == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as file:
                yield _csv(file)
        else:
            with parquet.ParquetWriter(temporary, _SCHEMA) as writer:
                yield lambda rows: writer.write_table(_arrow(rows))
        os.replace(temporary, place)


def _csv(file: IO[str]) -> Write:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_SCHEMA.names)

    def write(rows: pd.DataFrame) -> None:
        for row in _arrow(rows).to_pylist():
            writer.writerow(["" if value is None else _text(value) for value in row.values()])

    return write


def _text(value: object) -> object:
    """A probability with the digits that a float32 has; true and false as numbers, as the label is one."""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.9g}" if isinstance(value, float) else value


def _arrow(rows: pd.DataFrame) -> pa.Table:
    # A file name may hold bytes that are no UTF-8, which neither format can.
    readable = [os.fsencode(path).decode("utf-8", "backslashreplace") for path in rows["path"]]
    return pa.Table.from_pandas(rows.assign(path=readable), _SCHEMA, preserve_index=False)
