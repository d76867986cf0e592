"""A CSV file from a stranger: read in one stream, row by row, within limits that hold whatever the file is."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import pyarrow as pa

from kesikaran.core.errors import InputError, printable

# A label file at any of these limits is read or refused with less than 1 GB of memory and in less than 10 seconds of a
# core (measured on files of blanks, of commas, of open quotes, and of two million good rows).
MOST_BYTES = 200_000_000
MOST_ROWS = 2_000_000
MOST_COLUMNS = 1_000
MOST_CELLS = 10_000_000  # rows times columns
MOST_CHARACTERS = 1_000_000  # of one row; of one cell csv allows 131,072
# Of what is held as Python's strings before it becomes a part of the table
_ROWS_TOGETHER, _CELLS_TOGETHER = 10_000, 200_000


@dataclass(frozen=True)
class CsvTable:
    """rows: str, with the columns of the header, without the blank rows at the end. lines: the line of the file on
    which each row begins, from 1, int [n]."""

    rows: pd.DataFrame
    lines: np.ndarray


def read(path: Path, name: str, needed: tuple[str, ...]) -> CsvTable:
    """Read a CSV in UTF-8 with a header. A row that is shorter than the header is filled up with blanks.

    A row without any text, such as a line of nothing, blanks or commas, is passed over at the end of the file, where
    editors and spreadsheets leave such rows, and refused elsewhere. A column without a name is called `Unnamed: 2`, by
    its place from 0, as pandas calls it.

    Args:
        name: of the file, for messages. needed: the columns that the header must have.

    Raises:
        InputError: an empty file, one that is larger than the limits above, no CSV in UTF-8, a needed column that is
            missing, a column that is there twice, no rows, a row with more fields than the header, a blank row.
    """
    if path.stat().st_size == 0:
        raise InputError(f"{name} is empty; a CSV with the columns {','.join(needed)} is needed")
    if path.stat().st_size > MOST_BYTES:
        raise _too_large(name, f"{path.stat().st_size:,} bytes", f"{MOST_BYTES:,}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _Lines(file)
        try:
            return _table(name, lines, needed)
        except csv.Error as error:
            raise InputError(f"{name} is not a readable UTF-8 CSV: line {lines.row_begins}: {error}") from None
        except (UnicodeDecodeError, OSError) as error:
            raise InputError(f"{name} is not a readable UTF-8 CSV: {error}") from None
        except _RowTooLongError:
            found = f"a row of more than {MOST_CHARACTERS:,} characters on line {lines.row_begins} (is a quote open?)"
            raise _too_large(name, found, f"{MOST_CHARACTERS:,}") from None


def _too_large(name: str, found: str, most: str) -> InputError:
    return InputError(
        f"{name} is too large: it has {found}, and {most} are allowed; leave out what no setting names, or divide it"
    )


class _RowTooLongError(Exception):
    """The row that is being read has more than MOST_CHARACTERS."""


class _Lines:
    """The lines of a file. Whoever puts rows together from them says after each where the next one begins."""

    def __init__(self, file: TextIO):
        self._readline = file.readline
        self.characters = 0  # of the row that is being read
        self.row_begins = 1  # its first line

    def __iter__(self) -> Iterator[str]:
        while line := self._readline(MOST_CHARACTERS + 1):
            self.characters += len(line)
            if self.characters > MOST_CHARACTERS:
                raise _RowTooLongError
            yield line


def _table(name: str, lines: _Lines, needed: tuple[str, ...]) -> CsvTable:
    """The rows and their lines, as `read` gives them. Python's own reader: it alone tells the line of a row."""
    reader = csv.reader(lines, strict=True)
    columns: list[str] = []
    begins: list[int] = []
    fresh: list[list[str]] = []
    parts: list[pa.Table] = []
    most_rows = together = width = first_blank = 0
    for fields in reader:
        line = lines.row_begins
        lines.row_begins, lines.characters = reader.line_num + 1, 0
        if not (fields and fields[0].strip()) and not any(map(str.strip, fields)):
            first_blank = first_blank or line
            if line - first_blank > MOST_ROWS:
                raise _too_large(name, f"more than {MOST_ROWS:,} blank lines at its end", "no more")
            continue
        if first_blank:
            raise InputError(f"{name} line {first_blank} is blank; remove it")
        if not columns:
            columns = _columns(name, fields, needed)
            width = len(columns)
            most_rows, together = min(MOST_ROWS, MOST_CELLS // width), min(_ROWS_TOGETHER, _CELLS_TOGETHER // width)
            continue
        if len(fields) != width:
            if len(fields) > width:
                raise InputError(
                    f"{name} line {line} has {len(fields)} fields, more than its header, which has {width}"
                )
            fields += [""] * (width - len(fields))
        if len(begins) == most_rows:
            raise _too_large(name, f"more than {most_rows:,} rows of {width} columns", f"{most_rows:,}")
        begins.append(line)
        fresh.append(fields)
        if len(fresh) == together:
            parts.append(_part(columns, fresh))
            fresh = []
    if not begins:
        raise InputError(f"{name} has {'a header and no rows' if columns else 'no header and no rows'}")
    return CsvTable(pa.concat_tables([*parts, _part(columns, fresh)]).to_pandas(), np.array(begins))


def _part(columns: list[str], rows: list[list[str]]) -> pa.Table:
    cells = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pa.table([pa.array(column, pa.large_string()) for column in cells], names=columns)


def _columns(name: str, header: list[str], needed: tuple[str, ...]) -> list[str]:
    """The names of the columns."""
    if len(header) > MOST_COLUMNS:
        raise _too_large(name, f"{len(header):,} columns", f"{MOST_COLUMNS:,}")
    missing = [column for column in needed if column not in header]
    if missing:
        found = ", ".join(printable(column[:40]) for column in header[:10])
        raise InputError(f"{name} has no column {', '.join(missing)}; it has: {found}")
    columns = [column if column.strip() else f"Unnamed: {place}" for place, column in enumerate(header)]
    first: dict[str, int] = {}
    for place, column in enumerate(columns, start=1):
        earlier = first.setdefault(column.strip(), place)
        if earlier != place:
            raise InputError(
                f"{name} has the column {printable(column.strip()[:40])} twice, as columns {earlier} and {place}; "
                "rename or remove one"
            )
    return columns
