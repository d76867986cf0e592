"""What a terminal may see."""

import time

import pytest

from kesikaran.core.errors import first_line, printable, without_password, without_passwords


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
        ("https://ghp_secret@host/m.git", "https://***@host/m.git"),
        ("git+https://secretsecretsecret12:x-oauth-basic@host/", "git+https://***@host/"),
        ("https://secret:@host/", "https://***@host/"),
        ("https:/user:secret@host/", "https:/user:***@host/"),
        ("https://user%3Asecret@host/", "https://***@host/"),
        ("https://h/m?a=1&token=secret&b=2", "https://h/m?a=1&token=***&b=2"),
        ("https://h/m?X-Amz-Signature=s%2F&x=1", "https://h/m?X-Amz-Signature=***&x=1"),
        ("az://c?se=2&sp=r&SIG=s%2B&sv=1", "az://c?se=2&sp=r&SIG=***&sv=1"),
        ("url: /api/2.0?api_key=secret (Caused by", "url: /api/2.0?api_key=*** (Caused by"),
        ("https://h/#access_token=secret", "https://h/#access_token=***"),
        ("https://h/?%74oken=secret", "https://h/?%74oken=***"),
        (
            "https://h/?u=https%3A%2F%2Fuser%3Ase%2540cret%40i%2Fp%3Ftoken%3Dsecret%26b%3D2&c=1",
            "https://h/?u=https%3A%2F%2Fuser%3A***%40i%2Fp%3Ftoken%3D***%26b%3D2&c=1",
        ),
        ("https://h/?u=https%3A%2F%2Fsecret%40i/", "https://h/?u=https%3A%2F%2F***%40i/"),
        ("{'Authorization': 'Bearer secret1'}", "{'Authorization': 'Bearer ***'}"),
        ('["https://h/?key=secret", 1]', '["https://h/?key=***", 1]'),
        ("<a href='https://h/?key=secret'>", "<a href='https://h/?key=***>"),
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
        "https://host/m?design=b&tf-hub-format=compressed#/experiments/1",
        "optimizer.lr=0.1 token=3",
        "(then http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=5e3277)",
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


@pytest.mark.parametrize(
    "piece", ["a.", "a://b:", "http://", "?a=b&", "?token=", "%3F", "http%3A%2F%2F", "x://b:@", "@", "bearer ", "?a%41"]
)
def test_no_text_takes_long(piece: str) -> None:
    """A stranger's text of 100 kB had taken minutes: each place was searched to the end."""
    began = time.monotonic()
    without_password(piece * (100_000 // len(piece)))
    assert time.monotonic() - began < 20


def test_the_secrets_in_the_variables_of_mlflow_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-secret-token")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "run")
    assert without_password("run with a-secret-token") == "run with ***"


def test_nested_texts() -> None:
    found = without_passwords({"a": ["http://u:secret@h", 1, None], "https://secret@h": {"b": (True, 0.5)}})
    assert found == {"a": ["http://u:***@h", 1, None], "https://***@h": {"b": [True, 0.5]}}
