"""The exception for a mistake in what the program was given, how an error quotes what was given, and without which
secrets anything is printed or written."""

import os
import re
from typing import Any
from urllib.parse import unquote


class InputError(ValueError):
    """One line for the person at the terminal: what was given, what is allowed, what to do.

    A command prints it without a traceback and exits with 1. Any other exception is a defect of this program and
    keeps its traceback. Line ends that came with a foreign name are shown as such, so that the line stays one.
    """

    def __str__(self) -> str:
        return super().__str__().replace("\n", r"\n").replace("\r", r"\r")


class StoreGone(InputError):
    """The store of runs does not answer any more: no further job can be of use, and no run can be closed."""


class NotInstalled(InputError):
    """A package that the demo needs is not installed: nothing can be tried before it is."""


# Each pattern looks for one kind of secret; group 1 stays, the rest becomes ***. All lengths have a bound, so that no
# text takes long. In an http address the password ends at the last @ before the path. In a database's address
# SQLAlchemy takes all up to the first @ for the password, a / too; a further @ before the path is most likely a
# password's that is not escaped. An http address without a password, or with one that services put there for form, has
# a token for its user. A path that was made of an address has one / less.
_HTTP, _SCHEME = r"https?:/{1,2}", r"(?!https?://)[a-z][\w+.-]{0,40}://"
_SECRETS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(\b{_HTTP})[^\s/?#:@]{{1,2000}}(?::(?:x-oauth-basic)?)?(?=@)",
        rf"(\b{_HTTP})[^\s/?#:@]{{20,2000}}:[^\s/?#]{{0,2000}}(?=@)",
        rf"(\b{_HTTP}[^\s/?#:@]{{0,200}}:)[^\s/?#]{{1,2000}}(?=@)",
        rf"(\b{_SCHEME}[^\s/:@]{{0,200}}:)[^\s@]{{0,400}}+(?:@[^\s/?#@]{{0,400}}+){{0,9}}(?=@)",
        # The same in an address that is itself part of an address.
        r"(\bhttps?(?::|%3A)%2F%2F(?:(?!%3A|%40|%2F)[^\s/?#&]){0,200}%3A)(?:(?!%2F)[^\s/?#&]){1,2000}(?=%40)",
        r"(\bhttps?(?::|%3A)%2F%2F)(?:(?!%2F|%3A)[^\s/?#&]){1,2000}(?=%40)",
        r"(\b(?:proxy-)?authorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:(?:basic|bearer|token)\s{1,3})?+)(?!\*\*\*)[^\s'\",]{4,4000}",
        r"(\bbearer\s)(?!\*\*\*)[^\s'\",]{16,4000}",
    )
]
_OPTION = re.compile(r"([?&#]|%3F|%26|%23)((?:[\w.~[\]-]|%(?!3F|26|23|3D)[0-9a-f]{2}){1,100}?)(=|%3D)", re.IGNORECASE)
_SECRET_OPTION = re.compile(
    r"token|secret|passw|pwd|passphrase|credential|signature|auth|access|session|jwt|(?:^|[-_.])sig$"
    r"|(?<!viewstateshare)key(?:[-_.]?id)?$"  # a viewStateShareKey names a view of MLflow's page, see tracking.views
    r"|^x-amz-|^x-goog-|^code$"
)
_HIDDEN_ALREADY = re.compile(r"\*\*\*(?![^\s'\",;)}\]&#<>])")
_KEPT_IN_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SHORTEST = 8  # a shorter value of a variable is too likely to be a word of the text


def without_password(text: str) -> str:
    """`text` with *** in place of each secret in it: `postgresql://user:***@host/db`.

    Replaced are what stands before the host of an address, except a user's name; the value of each option of an address
    whose name says that it is a secret (`?token=`, `&X-Amz-Signature=`, `password=`, ...); both also where the address
    is escaped with %XX; what an Authorization header carries; and the values of MLflow's own variables for a password
    and a token. A second call changes nothing.
    """
    for name in _KEPT_IN_VARIABLES:
        if len(value := os.environ.get(name, "")) >= _SHORTEST:
            text = text.replace(value, "***")
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return _without_options(text)


def _without_options(text: str) -> str:
    parts, done = [], 0
    for option in _OPTION.finditer(text):
        if option.start() < done or not _SECRET_OPTION.search(unquote(option[2]).lower()):
            continue
        ends = r"\s&#\"<>" if option[3] == "=" else r"\s&#\"<>%"
        value = re.compile(rf"[^{ends}]*" if option[3] == "=" else rf"(?:[^{ends}]|%(?!26|23))*", re.IGNORECASE)
        if _HIDDEN_ALREADY.match(text, option.end()):
            continue
        found = value.match(text, option.end())
        if found and found.end() > option.end():
            parts += [text[done : option.end()], "***"]
            done = found.end()
    return "".join([*parts, text[done:]])


def without_passwords(content: Any) -> Any:
    """`without_password` of every text in nested dicts and lists."""
    if isinstance(content, str):
        return without_password(content)
    if isinstance(content, dict):
        return {without_passwords(key): without_passwords(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_passwords(value) for value in content]
    return content


def printable(text: str) -> str:
    """`text`; its Python literal where it holds line ends or control characters, which a terminal should not get."""
    return text if text.isprintable() else ascii(text)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, printable, without passwords of addresses, at most 300 characters; the error's
    type where the error has no text."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return printable(without_password(line))[:300]  # in this order: half an address would keep its password
