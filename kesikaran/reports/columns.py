"""A table for the terminal, as wide as the terminal at most."""

import shutil

import pandas as pd

NARROWEST = 80


def fitted(table: pd.DataFrame) -> str:
    """A table as text whose lines fit the terminal, 80 columns where it is narrower or there is none.

    A table that is too wide is turned, so that its rows are columns; where that is too wide as well, its columns go
    into several blocks below each other, each with the names of the rows.
    """
    width = max(shutil.get_terminal_size((NARROWEST, 24)).columns, NARROWEST)
    for one in (table, table.T):
        if _width(one) <= width:
            return _text(one)
    blocks: list[list[int]] = [[]]
    for place in range(len(table.columns)):
        if blocks[-1] and _width(table.iloc[:, [*blocks[-1], place]]) > width:
            blocks.append([])
        blocks[-1].append(place)
    return "\n\n".join(_text(table.iloc[:, block]) for block in blocks)


def _text(table: pd.DataFrame) -> str:
    # The names of the columns on the right, above their numbers; trailing blanks of an empty header would wrap.
    lines = table.to_string(na_rep="-", max_colwidth=40).splitlines()
    return "\n".join(line.rstrip() for line in lines)


def _width(table: pd.DataFrame) -> int:
    return max(len(line) for line in _text(table).splitlines())
