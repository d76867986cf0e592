"""What a terminal may see."""

import pytest

from kesikaran.core.errors import first_line, printable, without_password


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:secret@host/db", "postgresql://user:***@host/db"),
        ("mysql+pymysql://user:p%40ss%2Fw%3A@host:3306/db", "mysql+pymysql://user:***@host:3306/db"),
        ("postgresql://user:p/ss:w?r#d@host:5432/db", "postgresql://user:***@host:5432/db"),
        ("postgresql://user:p@ss@host/a@b", "postgresql://user:***@host/a@b"),
        ("postgresql://user:secret@[::1]:5432/db", "postgresql://user:***@[::1]:5432/db"),
        ("postgresql://host/db?user=u&password=s%20t&sslmode=x", "postgresql://host/db?user=u&password=***&sslmode=x"),
        ("http://user:secret@host:5000/api", "http://user:***@host:5000/api"),
        ("HTTPS://:p@ss@host/a@b", "HTTPS://:***@host/a@b"),
        ("not http://u:secret@h/a, not db://u:secret@h.", "not http://u:***@h/a, not db://u:***@h."),
    ],
)
def test_a_password_in_an_address_is_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == without_password(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user@host/db",
        "postgresql://host:5432/db",
        "http://host:5000/a@b/x:y@z",
        "sqlite:////tmp/a:b@c/mlflow.db",
        "sqlite:///a@b:c@d.db",
        "file:///a:b@c",
        "C:/a/b@c",
        "write to name: a@b",
    ],
)
def test_an_address_without_a_password_stays(text: str) -> None:
    assert without_password(text) == text


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("\n one \x1b\ntwo")) == r"'one \x1b'"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 400))) == 300
    cut_within = "x" * 280 + " http://user:" + "secret" * 10 + "@host"
    assert "secret" not in first_line(ValueError(cut_within))
