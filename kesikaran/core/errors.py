"""The exception for a mistake in what the program was given, and how an error quotes what was given."""

import re


class InputError(ValueError):
    """One line for the person at the terminal: what was given, what is allowed, what to do.

    A command prints it without a traceback and exits with 1. Any other exception is a defect of this program and
    keeps its traceback. Line ends that came with a foreign name are shown as such, so that the line stays one.
    """

    def __str__(self) -> str:
        return super().__str__().replace("\n", r"\n").replace("\r", r"\r")


# A password in an http address ends at the last @ before the path. In a database's address SQLAlchemy takes all up to
# the first @ for the password, a / too; a further @ before the path is most likely a password's that is not escaped.
_PASSWORDS = (
    re.compile(r"(\bhttps?://[^\s/?#:@]*:)[^\s/?#]*(?=@)", re.IGNORECASE),
    re.compile(r"(\b(?!https?://)[a-z][\w+.-]*://[^\s/:@]*:)[^\s@]*(?:@[^\s/?#@]*)*(?=@)", re.IGNORECASE),
    re.compile(r"(://\S*[?&]\w*passw(?:or)?d=)[^\s&#]*", re.IGNORECASE),
)


def without_password(text: str) -> str:
    """`text` with *** in place of the password in each address in it: `postgresql://user:***@host/db`. Replaced are a
    password before the host, escaped or not (but for blanks), and the value of an option `password` or `passwd`."""
    for password in _PASSWORDS:
        text = password.sub(r"\1***", text)
    return text


def printable(text: str) -> str:
    """`text`; its Python literal where it holds line ends or control characters, which a terminal should not get."""
    return text if text.isprintable() else ascii(text)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, printable, without passwords of addresses, at most 300 characters; the error's
    type where the error has no text."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return printable(without_password(line))[:300]  # in this order: half an address would keep its password
