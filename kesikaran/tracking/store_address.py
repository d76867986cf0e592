"""Whether a store that is no file answers: said in seconds, where MLflow would try for minutes."""

import os
import re
import threading
from collections.abc import Callable
from functools import cache

import sqlalchemy
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from kesikaran.core import errors
from kesikaran.core.errors import InputError

_ANSWERS_SECONDS = 8.0
_WAITED_SECONDS = 10.0  # a name that is looked up, or an answer that comes byte by byte, is in no library's limit
# What is imported -> the package to install.
_PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "psycopg[binary]",
    "MySQLdb": "mysqlclient",
    "pymysql": "PyMySQL",
    "google": "google-cloud-storage",
    "azure": "azure-storage-blob azure-identity",
}


@cache
def need_answer(uri: str, what: str = "store", variable: str = "MLFLOW_TRACKING_URI") -> None:
    """Check once that the server or the database at this address answers, whatever the answer is.

    Args:
        what: is there. variable: gives the address.

    Raises:
        InputError: it does not, or the library that speaks to it is not installed.
    """
    kind = uri.split(":")[0].split("+")[0].lower()
    if kind in ("http", "https"):
        why = _within(lambda: _ask(uri))
    elif kind in DATABASE_ENGINES and kind != "sqlite":
        why = _within(lambda: _connect(uri))
    else:
        why = ""
    if why:
        raise InputError(
            errors.without_password(f"the {what} {uri} cannot be reached: {why}; start it, or change {variable}")
        )


def _ask(uri: str) -> None:
    # One question as MLflow asks it, with the user's certificates and proxies.
    http_request(
        host_creds=get_default_host_creds(uri), endpoint="/health", method="GET", max_retries=0,
        timeout=_ANSWERS_SECONDS, raise_on_status=False,
    )  # fmt: skip


def _connect(uri: str) -> None:
    engine = sqlalchemy.create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _within(call: Callable[[], None]) -> str:
    """Why the call failed or did not end in time; empty where it did neither."""
    raised: list[Exception] = []

    def ask() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_WAITED_SECONDS)
    if raised:
        return missing(raised[0]) or cause(raised[0])
    return f"no answer within {_WAITED_SECONDS:g} s" if asking.is_alive() else ""


def missing(error: BaseException) -> str | None:
    """The package to install, where a library that is not installed is the reason for an error."""
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    if not name and (found := re.search(r"No module named '([\w.]+)'", str(error))):
        name = found.group(1)
    if not name:
        return None
    top = name.split(".")[0]
    return f"the Python package {top} is not installed: pip install {_PACKAGES.get(top, top)}"


def refused(uri: str, error: BaseException) -> str:
    """The line for a server that does not know the user, or does not allow the user what was asked."""
    user, said = os.environ.get("MLFLOW_TRACKING_USERNAME"), str(error)
    if " 401 " in said:
        why = f"does not know the user {user} by this password" if user else "wants to know who asks"
        return errors.without_password(
            f"the store {uri} {why}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    found = re.search(r"endpoint (\S+) .*Response body: '([^']*)'", said)
    what = errors.printable(f"{found.group(1)}: {found.group(2)[:100]}") if found else errors.first_line(error)
    return errors.without_password(
        f"the store {uri} does not allow this to the user {user} ({what}): ask for the permission EDIT, or give "
        "another data.name="
    )


def cause(error: BaseException) -> str:
    """The last of the causes that requests and urllib3 have packed into each other; else the error's first line."""
    words = re.findall(r"(Connection refused|[Nn]ame or service not known|timed out|certificate verify failed|"
                       r"[Nn]o route to host|[Tt]emporary failure in name resolution|Network is unreachable|"
                       r"Connection reset by peer|Remote end closed connection|too many \d+ error responses)",
                       str(error))  # fmt: skip
    return words[-1].lower() if words else errors.first_line(error)
