"""MLflow's client, as every room here takes it: a server that does not answer is waited for, within a limit.

MLflow asks a server again that refuses the connection, is silent or answers 500: in all for four minutes, six where it
is silent (`patience_seconds`; `core.process` sets MLflow's variables). While MLflow waits no signal would come through,
and each further call would wait as long again. So a call of a server runs in a thread of its own, and a signal to stop
ends the wait for it in seconds. Once a call was given up the next ones fail at once for a while, so that a sweep of
many jobs ends; later ones have seconds.
"""

import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

import mlflow
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException

from kesikaran.core import errors, terminal
from kesikaran.core.errors import InputError, StoreGone
from kesikaran.tracking import store_address

Result = TypeVar("Result")

_LONGEST_PAUSE_SECONDS = 120  # urllib3's, between two attempts
SHORT_SECONDS = 3.0  # for a call after a signal to stop, and after a call that was given up
_LOOK_SECONDS = 0.1  # between two looks for a signal
_TOLD_SECONDS = 10.0  # a longer wait is told
_REST_SECONDS = 10.0  # after a call that was given up no other is tried

_given_up: tuple[float, str] | None = None  # when the last call was, and why; None: the last one was answered


def client() -> mlflow.MlflowClient:
    """MLflow's client of the store that `mlflow.set_tracking_uri` has named.

    The calls of a server's raise, besides what MLflow raises:
        StoreGone: the server does not answer, within the limit.
        InputError: it refuses the user.
    """
    return _client(mlflow.get_tracking_uri())


@lru_cache(maxsize=1)  # making one takes 3 ms, and a job asks for several
def _client(uri: str) -> mlflow.MlflowClient:
    found = mlflow.MlflowClient(uri)
    return cast(mlflow.MlflowClient, _Patient(found)) if of_server(uri) else found


def of_server(uri: str) -> bool:
    """Whether an address is that of a server, and not of a file or a database."""
    return uri.lower().startswith(("http:", "https:"))


class _Patient:
    """A client each of whose calls is a `patiently`."""

    def __init__(self, found: mlflow.MlflowClient):
        self._found = found

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._found, name)
        return lambda *args, **kwargs: patiently(lambda: method(*args, **kwargs))


def patience_seconds() -> float:
    """How long a call may take in all: MLflow's pauses between its attempts, and once its limit of a silence. The
    user's own values of MLflow's three variables count. After a call that was given up: `SHORT_SECONDS`.

    urllib3 asks again at once, and then after 2, 4, 8, ... times the factor.
    """
    if _given_up is not None:
        return SHORT_SECONDS
    factor = MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get()
    pauses = [factor * 2**n for n in range(1, MLFLOW_HTTP_REQUEST_MAX_RETRIES.get())]
    return float(sum(min(pause, _LONGEST_PAUSE_SECONDS) for pause in pauses) + MLFLOW_HTTP_REQUEST_TIMEOUT.get())


def give_up(why: str) -> StoreGone:
    """The server does not answer: the next calls fail at once, later ones in seconds, until one is answered. Returns
    the error for all of them, with the reason of the first, which had most time."""
    global _given_up
    _given_up = time.monotonic(), _given_up[1] if _given_up else why
    return _gone(_given_up[1])


def patiently(work: Callable[[], Result]) -> Result:
    """`work()`, which calls the server, within the limit. It raises what the work raises, and what `client` tells."""
    global _given_up
    began = time.monotonic()
    if _given_up is not None and began - _given_up[0] < _REST_SECONDS:
        raise _gone(_given_up[1])
    results: list[Result] = []
    raised: list[BaseException] = []
    done = threading.Event()

    def attempt() -> None:
        try:
            results.append(work())
        except BaseException as error:
            raised.append(error)
        finally:
            done.set()

    limit_seconds = patience_seconds()
    threading.Thread(target=attempt, daemon=True).start()
    is_told = False
    while not done.wait(_LOOK_SECONDS):
        if not is_told and time.monotonic() - began >= _TOLD_SECONDS:
            is_told = True
            print(_waiting(limit_seconds), file=sys.stderr)
        if terminal.stop_asked():  # in a `sheltered` block the signal raises nothing by itself
            limit_seconds = min(limit_seconds, time.monotonic() - began + SHORT_SECONDS)
        if time.monotonic() - began >= limit_seconds:
            raise give_up(f"no answer within {limit_seconds:.0f} s")
    if raised:
        raise _told(raised[0], time.monotonic() - began) or raised[0]
    _given_up = None
    return results[0]


def _waiting(limit_seconds: float) -> str:
    uri, seconds = errors.without_password(mlflow.get_tracking_uri()), f"{_TOLD_SECONDS:.0f} s"
    return f"The store {uri} has not answered for {seconds}; it is waited for, {limit_seconds:.0f} s at most."


def _gone(why: str) -> StoreGone:
    return StoreGone(
        errors.without_password(
            f"the store {mlflow.get_tracking_uri()} does not answer any more ({why}): start it, then the same command "
            "again, which closes what is open there"
        )
    )


def _told(error: BaseException, seconds: float) -> InputError | None:
    """The line for an error of the connection or of the user's rights; None for every other."""
    if not isinstance(error, MlflowException):
        return None
    if error.get_http_status_code() in (401, 403):
        return InputError(store_address.refused(mlflow.get_tracking_uri(), error))
    if not str(error).startswith("API request to http"):
        return None
    return give_up(f"{store_address.cause(error)}, asked for {seconds:.0f} s")
