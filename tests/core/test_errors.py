"""What a terminal may see."""

import pytest

from kesikaran.core.errors import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Kesikaran é 1", "Kesikaran é 1"),
        ("it's", "it's"),
        ("two\nlines", r"'two\nlines'"),
        ("\x1b[31mred é", r"'\x1b[31mred \xe9'"),
        ("\udcff", r"'\udcff'"),
    ],
)
def test_what_a_terminal_should_not_see_is_quoted(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()
