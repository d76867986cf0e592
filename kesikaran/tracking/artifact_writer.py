"""How a finished file of a run gets to its place in the store.

On a disk of this machine a file is written straight into place, whole or not at all. To a server, or to any other place
that MLflow has a door to, files are sent by a few threads while the run goes on; `wait` tells whether all have arrived.
"""

import math
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import requests
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from kesikaran.core import errors, files, terminal
from kesikaran.core.errors import InputError
from kesikaran.tracking import store_address, store_client, store_file

_THREADS = 4  # a server works at as many files at once; each thread ends when nothing is left to send
_ATTEMPT_SECONDS = 60.0  # a silence of the server
_LONGEST_PAUSE_SECONDS = 8.0  # between two attempts
_LOOK_SECONDS = 0.1  # between two looks for a signal
# What the next attempt may mend: the server starts, its database starts, a proxy before it is busy.
_TEMPORARY = (408, 429, 500, 502, 503, 504)
_ANSWERED_SECONDS = 60.0  # for a server that answers so all the time: its disk may be full, which it does not say
_FULL = "No space left on device"  # what it does not mend

Content = bytes | Path

_given_up = False  # the last file that was sent anywhere was given up: the next is given seconds


class ArtifactWriter:
    """The files of one run or of one model. A file that could not be written is told by the next call."""

    def __init__(self, location: str):
        """location: the artifact location that the store has given the run or the model."""
        self._location = location
        self._folder = store_file.path_of(location)
        self._send: Callable[[str, Content], None] | None = None
        self._waiting: deque[tuple[str, Content]] = deque()
        self._threads = 0
        self._refused: InputError | None = None
        self._closed = False
        self._changed = threading.Condition()

    def write(self, name: str, content: Content) -> None:
        """Write a file, or see to it that it is sent.

        Args:
            name: its path within the location, with / between folders. content: a path is read when it is sent.

        Raises:
            InputError: an earlier file could not be sent.
            OSError: the disk does not take it.
        """
        if self._folder is not None:
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(path, _read(content), durable=False)
            return
        self._send = self._send or sender(self._location)
        with terminal.sheltered(), self._changed:
            if self._refused:
                raise self._refused
            self._waiting.append((name, content))
            if self._threads < _THREADS:
                threading.Thread(target=self._send_all, daemon=True).start()
                self._threads += 1

    def wait(self) -> None:
        """Until all files are where they belong. A signal to stop gives them seconds.

        Raises:
            InputError: a file could not be sent; says which and why.
        """
        end = math.inf
        with self._changed:
            while self._threads and not self._refused and time.monotonic() < end:
                self._changed.wait(_LOOK_SECONDS)
                if terminal.stop_asked():  # in a `sheltered` block the signal raises nothing by itself
                    end = min(end, time.monotonic() + store_client.SHORT_SECONDS)
            if self._refused:
                raise self._refused

    def close(self) -> None:
        """Send nothing more. A file on its way arrives or does not; no further attempt is made."""
        with terminal.sheltered(), self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or self._refused or self._closed:
                    self._threads -= 1
                    self._changed.notify_all()
                    return
                name, content = self._waiting.popleft()
            try:
                self._send_patiently(name, content)
            except Exception as error:
                with self._changed:
                    self._refused = self._refused or self._refusal(name, error)
                    self._changed.notify_all()

    def _send_patiently(self, name: str, content: Content) -> None:
        global _given_up
        began, pause_seconds = time.monotonic(), 1.0
        patience_seconds = store_client.SHORT_SECONDS if _given_up else store_client.patience_seconds()
        while True:
            try:
                assert self._send is not None
                self._send(name, content)
            except Exception as error:
                if not _temporary(error):
                    raise
                answered = isinstance(error, requests.HTTPError)
                limit_seconds = min(patience_seconds, _ANSWERED_SECONDS) if answered else patience_seconds
                if time.monotonic() - began + pause_seconds > limit_seconds:
                    _given_up = True
                    if not answered:  # nobody answered, so nobody will answer a call
                        store_client.give_up(store_address.cause(error))
                    raise
            else:
                _given_up = False
                return
            with self._changed:
                if self._changed.wait_for(lambda: self._closed or self._refused, pause_seconds):
                    return
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _refusal(self, name: str, error: Exception) -> InputError:
        why = store_address.missing(error) or store_address.cause(error)
        return InputError(
            errors.without_password(f"the artifact {name} could not be written to {self._location}: {why}")
        )


def send_folder(location: str, folder: Path) -> None:
    """Write all files of a folder to an artifact location, which is that of a model.

    Raises:
        As `ArtifactWriter.write` and `ArtifactWriter.wait`.
    """
    writer = ArtifactWriter(location)
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                writer.write(path.relative_to(folder).as_posix(), path)
        writer.wait()
    finally:
        writer.close()


def _read(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def sender(location: str) -> Callable[[str, Content], None]:
    """What makes one attempt to send a file to a location that is not on this machine's disks.

    Raises:
        InputError: MLflow has no door to the location, or its library is not installed.
    """
    try:
        repository = get_artifact_repository(location)
    except (MlflowException, ImportError) as error:
        why = store_address.missing(error) or errors.first_line(error)
        raise InputError(errors.without_password(f"artifacts cannot be written to {location}: {why}")) from None
    if isinstance(repository, HttpArtifactRepository):
        return lambda name, content: _put(repository.artifact_uri, name, content)

    def send(name: str, content: Content) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PurePosixPath(name).name
            path.write_bytes(_read(content))
            repository.log_artifact(str(path), str(PurePosixPath(name).parent).removeprefix("."))

    return send


def _put(address: str, name: str, content: Content) -> None:
    """One file to the server, as MLflow's own client sends it, but once: MLflow's attempts hide what the server says,
    and nothing ends them."""
    answer = http_request(
        get_default_host_creds(address), f"/{quote(name)}", "PUT", max_retries=0, raise_on_status=False,
        timeout=_ATTEMPT_SECONDS, data=_read(content), extra_headers={"Content-Type": "application/octet-stream"},
    )  # fmt: skip
    if answer.status_code >= 400:
        said = " ".join(answer.text.split())[:200]
        hint = ", its log says why (a full disk?)" if answer.status_code == 500 else ""
        raise requests.HTTPError(f"the server answers {answer.status_code} {said}{hint}", response=answer)


def _temporary(error: Exception) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in _TEMPORARY and _FULL not in str(error)
    # http_request packs what failed on the way into MLflow's exception.
    return isinstance(error, MlflowException | requests.RequestException | ConnectionError | TimeoutError)
