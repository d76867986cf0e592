"""A CSV from a stranger has limits, which hold while it is read."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import refused

from kesikaran.data import csv_file


def read(path: Path) -> csv_file.CsvTable:
    return csv_file.read(path, "label file label.csv", ("a",))


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return tmp_path / "label.csv"


@pytest.mark.parametrize(
    ("limit", "most", "allowed", "too_large", "says"),
    [
        ("MOST_BYTES", 4, "a\n1\n", "a\n12\n", "it has 5 bytes, and 4 are allowed; leave out what no setting names"),
        ("MOST_COLUMNS", 2, "a,b\n1\n", "a,b,c\n1\n", "it has 3 columns, and 2 are allowed"),
        ("MOST_ROWS", 2, "a\n1\n2\n\n\n", "a\n1\n2\n3\n", "it has more than 2 rows of 1 columns, and 2 are allowed"),
        (
            "MOST_ROWS",
            2,
            "a\n1\n\n\n\n",
            "a\n1\n\n\n\n\n",
            "more than 2 blank lines at its end, and no more are allowed",
        ),
        ("MOST_CELLS", 4, "a,b\n1\n2\n", "a,b\n1\n2\n3\n", "it has more than 2 rows of 2 columns, and 2 are allowed"),
        (
            "MOST_CHARACTERS",
            5,
            "a\n1234\n",
            "a\n1\n12345\n",
            "a row of more than 5 characters on line 3 (is a quote op",
        ),
        ("MOST_CHARACTERS", 6, 'a\n"1\n2"\n', 'a\n1\n"1\n234"', "a row of more than 6 characters on line 3"),
    ],
)
def test_a_limit_holds_from_the_first_value_past_it(
    limit: str, most: int, allowed: str, too_large: str, says: str, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, limit, most)
    given.write_text(allowed)
    assert len(read(given).rows)
    given.write_text(too_large)
    refused(says, read, given)


def test_a_table_is_put_together_from_parts(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given.write_text("a,b\n" + "".join(f"{n},{'x' * (n % 3)}\n" for n in range(10)))
    whole = read(given)
    assert whole.lines.tolist() == list(range(2, 12))
    assert whole.rows.to_dict("list") == {"a": [str(n) for n in range(10)], "b": ["x" * (n % 3) for n in range(10)]}
    for most in (1, 3, 5, 10):
        monkeypatch.setattr(csv_file, "_ROWS_TOGETHER", most)
        pd.testing.assert_frame_equal(read(given).rows, whole.rows)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('a,b\n1,"2\n3\n', "is not a readable UTF-8 CSV: line 2: unexpected end of data"),
        ('a,b\n1,2\n"1"2,3\n', "is not a readable UTF-8 CSV: line 3: ',' expected after '\"'"),
        (f"a,b\n1,{'x' * 200_000}\n", "is not a readable UTF-8 CSV: line 2: field larger than field limit (131072)"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, more than its header, which has 2"),
        ("\n \n", "has no header and no rows"),
        ("b\n1\n", "has no column a; it has: b"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(content: str, says: str, given: Path) -> None:
    given.write_text(content)
    refused(says, read, given)
