"""Tables for the terminal: as they are, turned, or in blocks, and 80 columns wide at most."""

import pandas as pd
import pytest

from kesikaran.reports import columns


@pytest.fixture(autouse=True)
def terminal_of_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def table(rows: int, names: int, width: int = 20) -> pd.DataFrame:
    cells = [[f"{row}.{name}".ljust(width, "x") for name in range(names)] for row in range(rows)]
    return pd.DataFrame(cells, [f"row{row}" for row in range(rows)], [f"name{name}" for name in range(names)])


def test_a_table_that_fits_stays_as_it_is() -> None:
    lines = columns.fitted(table(9, 3)).splitlines()
    assert lines[0].split() == ["name0", "name1", "name2"]
    assert len(lines) == 10


def test_a_table_that_is_too_wide_turns() -> None:
    lines = columns.fitted(table(3, 9)).splitlines()
    assert lines[0].split() == ["row0", "row1", "row2"]
    assert len(lines) == 10
    assert max(map(len, lines)) <= 80


def test_a_table_that_is_too_wide_both_ways_goes_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    given = table(9, 5)
    shown = columns.fitted(given)
    assert max(map(len, shown.splitlines())) <= 80
    for cell in given.to_numpy().ravel():
        assert shown.count(str(cell)) == 1, "no cell is lost, none comes twice"
    assert shown.count("row8") == 2, "each block has the names of the rows"
    monkeypatch.setenv("COLUMNS", "200")
    assert len(columns.fitted(given).splitlines()) == 10, "a wide terminal needs no blocks"


def test_one_column_that_is_too_wide_is_shown_all_the_same() -> None:
    assert "0.0x" in columns.fitted(table(1, 1, 120))
