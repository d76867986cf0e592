"""A module from a hub: one request, checked redirects, an archive within limits, unpacked file by file.

The protocol is TF Hub's: the address with `?tf-hub-format=compressed` leads to a tar, compressed by gzip, of a
SavedModel folder. The archive is a stranger's, so it is taken for hostile until it lies unpacked.
"""

import contextlib
import errno
import gzip
import http.client
import itertools
import json
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from kesikaran.core import errors, files, terminal, waiting
from kesikaran.core.errors import InputError
from kesikaran.models.module_files import GRAPH, LARGEST_DOWNLOAD_BYTES, LARGEST_MODULE_BYTES, MOST_FILES, digest

ANSWER_SECONDS = 20  # a server that has not answered by then, or sends nothing for so long, is given up
_SLOWEST_BYTES = 10_000  # that have to come in this time
_MOST_REDIRECTS = 5
_CHUNK_BYTES = 10**6
_LONGEST_HEADER_BYTES = 10**6  # of one member of the archive. Python's tarfile reads a header into memory whole
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Unfit(Exception):
    """What the server gives is no module, or one beyond the limits. The same bytes would fail again."""


def need_safe_address(url: str) -> None:
    """Refuse an address that a module is not fetched from.

    Raises:
        InputError: plain http from another machine, a name or password in the address, or no address at all.
    """
    said = f"backbone.handle={errors.without_password(url)}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{said} is no address: {errors.first_line(error)}") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{errors.printable(said)} is no address of a module")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"backbone.handle={parts.scheme}://***@{host} holds a user name or a password, which would not be sent: "
            "give the address without, or download the module and give its folder"
        )
    # A SavedModel is a program, which anybody on the way could change over plain http.
    if parts.scheme != "https" and host not in _LOOPBACK:
        raise InputError(f"{said} would be fetched unencrypted: give it as https://")


def fetch(url: str, folder: Path) -> None:
    """Fetch the module at `url` into `folder`, which appears whole or not at all.

    What was refused is noted beside the folder with what the server says of its version, so that the next command does
    not read the same bytes again.

    Raises:
        InputError: the address, the server, the network or the archive is not as it should be; or the disk is full.
    """
    need_safe_address(url)
    building = folder.with_name(f"{folder.name}.fetching")
    shutil.rmtree(building, ignore_errors=True)  # of a killed process: the caller holds the lock
    building.mkdir()
    try:
        with files.disk_space(f"the module cache {folder.parent}", "or set TFHUB_CACHE_DIR to another folder"):
            _fetch(url, building, folder)
        (building / "module").rename(folder)
        written = f"Module: {errors.without_password(url)}\n"  # as tensorflow_hub leaves it beside a module
        files.write_whole(folder.with_name(f"{folder.name}.descriptor.txt"), written, durable=False)
        files.write_whole(note_of(folder), json.dumps({"digest": digest(folder)}), durable=False)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def as_served(folder: Path, found: str) -> bool:
    """Whether a fetched module with the digest `found` has the bytes that it was fetched with."""
    return _read(note_of(folder)).get("digest") == found


def note_of(folder: Path) -> Path:
    """What is known of the last fetch into `folder`: a JSON file beside it."""
    return folder.with_name(f"{folder.name}.kesikaran.json")


def _read(note: Path) -> dict[str, Any]:
    try:
        content = json.loads(note.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _fetch(url: str, building: Path, folder: Path) -> None:
    """Fetch and unpack into `building / "module"`, which is to become `folder`.

    Raises:
        InputError: what went wrong, and what to do. OSError: the disk is full.
    """
    said, note = f"backbone.handle={errors.without_password(url)}", note_of(folder)
    version: dict[str, str | None] = {}
    try:
        with waiting.interruptibly(lambda: _open(url), ANSWER_SECONDS) as response:
            version = {name: response.headers.get(name) for name in ("ETag", "Last-Modified", "Content-Length")}
            known = _read(note)
            if any(version.values()) and known.get("version") == version:
                raise InputError(
                    f"{said} was fetched before and gives no module that can be used: {known.get('refused')}. The "
                    f"server still has the same file; delete {note} to fetch it again"
                )
            _receive(response, building / "archive")
        _unpack(building / "archive", building / "module")
    except InputError:
        raise
    except _Unfit as unfit:
        refused = errors.first_line(unfit)
        files.write_whole(note, json.dumps({"refused": refused, "version": version}), durable=False)
        raise InputError(f"{said} gives no module that can be used: {refused}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        timeout = isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
        why = f"no answer, or too little of it, in {ANSWER_SECONDS} s" if timeout else errors.first_line(error)
        raise InputError(
            f"{said} could not be fetched ({why}). Offline? Put the unpacked module into {folder}, give a SavedModel "
            "folder as backbone.handle=, or use the embedded backbone=efficientnet_lite0"
        ) from None


def _open(url: str) -> Any:
    """The response to the one request for a module, after its redirects."""
    parts = urlsplit(url)
    query = urlencode([*parse_qsl(parts.query), ("tf-hub-format", "compressed")])
    opener = urllib.request.OpenerDirector()  # with no handler for file:, ftp: and data:
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _CheckedRedirects(),
    ):
        opener.add_handler(handler)
    return opener.open(parts._replace(query=query, fragment="").geturl(), timeout=ANSWER_SECONDS)


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Each redirect leads to where a handle might lead as well, and never from https back to http."""

    max_redirections = _MOST_REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        fp.close()
        parts = urlsplit(newurl)
        where = f"{parts.scheme}://{parts.hostname}"  # without the rest, which may hold a signature
        try:
            need_safe_address(newurl)
        except InputError:
            safe = False
        else:
            safe = parts.scheme == "https" or urlsplit(req.full_url).scheme == "http"
        if not safe:
            raise ValueError(f"it redirects to {where}, which is not fetched: not encrypted, or no address of a module")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(response: Any, archive: Path) -> None:
    """Write the body of the response to a file.

    Raises:
        _Unfit: it is too large. TimeoutError: it comes too slowly. OSError, HTTPException: the connection ends early.
    """
    announced = response.length  # of Content-Length; None where the server does not say
    too_large = _Unfit(f"the archive has more than {LARGEST_DOWNLOAD_BYTES / 1e9:.0f} GB")
    if announced is not None and announced > LARGEST_DOWNLOAD_BYTES:
        raise too_large
    received = 0
    megabytes = None if announced is None else -(-announced // _CHUNK_BYTES)
    with archive.open("wb") as file, terminal.progress(None, "downloading", "MB", megabytes) as bar:
        while chunk := waiting.interruptibly(lambda: _chunk(response), ANSWER_SECONDS):
            file.write(chunk)
            received += len(chunk)
            if received > LARGEST_DOWNLOAD_BYTES:
                raise too_large
            bar.update(received // _CHUNK_BYTES - bar.n)
    if announced is not None and received < announced:
        raise OSError(f"the connection ended after {received} of {announced} bytes")


def _chunk(response: Any) -> bytes:
    """The next bytes: a megabyte, or at least so many that the server is not too slow; fewer at the end only."""
    parts, size = [], 0
    while size < _SLOWEST_BYTES and (part := response.read1(_CHUNK_BYTES)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar, compressed by gzip or not, into the new `folder`.

    Raises:
        _Unfit: it is damaged, no archive of a SavedModel folder, or beyond the limits. OSError: the disk is full.
    """
    folder.mkdir()
    try:
        with archive.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if compressed else contextlib.nullcontext(raw) as content:
                _unpack_members(_Metered(content), folder)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise _Unfit(f"the archive is damaged or no tar.gz of a module: {errors.first_line(error)}") from None
    if not (folder / GRAPH).is_file():
        raise _Unfit(f"the archive holds no {GRAPH}")


def _unpack_members(archive: Any, folder: Path) -> None:
    size_bytes = 0
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        for number in itertools.count():
            archive.left = _LONGEST_HEADER_BYTES
            member = tar.next()
            if member is None:
                break
            if number >= MOST_FILES:
                raise _Unfit(f"the archive holds more than {MOST_FILES} files")
            inside = not member.name.startswith("/") and ".." not in member.name.split("/")
            plain = member.isdir() or (member.isreg() and not member.issparse() and member.size >= 0)
            if not inside or not plain:
                raise _Unfit(f"{ascii(member.name)[:100]} in the archive is no file or folder within it")
            size_bytes += member.size
            if size_bytes > LARGEST_MODULE_BYTES:
                raise _Unfit(f"the archive unpacks to more than {LARGEST_MODULE_BYTES / 1e9:.0f} GB")
            archive.left = member.size + _LONGEST_HEADER_BYTES
            terminal.stop_if_asked()
            tar.extract(member, folder, set_attrs=False, filter="data")
    archive.left = _LONGEST_HEADER_BYTES
    while archive.read(2**16):  # to the end, where gzip checks its sum
        pass


class _Metered:
    """A file that gives at most `left` bytes: tarfile reads a header into memory whole, however long."""

    def __init__(self, file: Any):
        self._file = file
        self.left = _LONGEST_HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise _Unfit("a header of the archive, or what follows its end, is too long")
        self.left -= size
        content: bytes = self._file.read(size)
        return content
