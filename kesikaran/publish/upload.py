"""The images of one request, read within limits of bytes, time and number, and kept in memory only."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import python_multipart
from python_multipart.exceptions import FormParserError
from starlette.requests import ClientDisconnect, Request

MOST_FILES = 64  # of one form
RETRY_SECONDS = 2  # about what a full queue takes
_HELD_BYTES = 500_000_000  # of all requests together
_GRACE_SECONDS, _SLOWEST_BYTES_A_SECOND = 10.0, 50_000  # a body may take ten seconds, and what it takes at this pace
_NAME_LENGTH = 255
_BODY_TYPES = "image/*, application/octet-stream or multipart/form-data"


logging.getLogger("python_multipart").setLevel(logging.ERROR)  # of a stranger's form it would tell on the terminal


class Refused(Exception):
    """A request that gets an error. status: of HTTP. sentence: for the person who sent it."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def busy(what: str) -> Refused:
    return Refused(503, f"{what}: send it again in {RETRY_SECONDS} seconds.")


class Memory:
    """The bytes that all requests hold together. For one thread, the event loop's."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def taken(self) -> Iterator["_Share"]:
        """What one request holds until the end of the block."""
        share = _Share(self)
        try:
            yield share
        finally:
            self._held -= share.bytes


class _Share:
    def __init__(self, memory: Memory):
        self._memory, self.bytes = memory, 0

    def grow(self, count: int) -> None:
        """Raises `Refused` (503) where all requests together would hold too much."""
        if self._memory._held + count > _HELD_BYTES:
            raise busy("The images of other requests fill the memory that is set aside for them")
        self._memory._held += count
        self.bytes += count


async def images(request: Request, most_bytes: int, share: _Share) -> list[tuple[str | None, bytes]]:
    """(name, encoded bytes) of each image of a request: those of a form, or the one without a name that is the body.

    Args:
        most_bytes: of the whole body, whatever the request says of its length. share: grows by what is held.

    Raises:
        Refused: 408 too slow, 413 too long or too many files, 415 another kind of content, 422 a form that cannot be
            read or has no file, 503 other requests hold too much.
        ClientDisconnect: the client has gone.
    """
    given = request.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    is_form = kind == "multipart/form-data"
    if not (is_form or kind.startswith("image/") or kind == "application/octet-stream"):
        raise Refused(415, f"The content type has to be {_BODY_TYPES}; this is {kind[:100] or 'none'}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "The body has to be sent as it is, without a Content-Encoding.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_long(most_bytes)
    chunks = _chunks(request, most_bytes, share)
    return await _form(given, chunks) if is_form else [(None, b"".join([chunk async for chunk in chunks]))]


async def _chunks(request: Request, most_bytes: int, share: _Share) -> AsyncGenerator[bytes, None]:
    began, more = time.monotonic(), True
    while more:
        left = began + _GRACE_SECONDS + share.bytes / _SLOWEST_BYTES_A_SECOND - time.monotonic()
        try:
            async with asyncio.timeout(left):
                message = await request.receive()
        except TimeoutError:
            raise Refused(408, "The body comes too slowly; it was given up.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if share.bytes + len(chunk) > most_bytes:
            raise _too_long(most_bytes)
        share.grow(len(chunk))
        if chunk:
            yield chunk


def _too_long(most_bytes: int) -> Refused:
    return Refused(413, f"The request is too long: at most {most_bytes / 1e6:g} MB.")


class _Form:
    """What the parser of a form calls. files: (name, content) of each file that has come. whole: the form has ended."""

    def __init__(self) -> None:
        self.files: list[tuple[str | None, bytes]] = []
        self.whole = False
        self._header, self._value = bytearray(), bytearray()
        self._name: str | None = None  # of the file that comes; None for a field that is no file
        self._content = bytearray()

    def on_part_begin(self) -> None:
        self._name, self._content = None, bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = python_multipart.multipart.parse_options_header(bytes(self._value))[1].get(b"filename")
            self._name = None if name is None else name.decode(errors="replace")[:_NAME_LENGTH]
        self._header, self._value = bytearray(), bytearray()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._content += data[start:end]

    def on_part_end(self) -> None:
        if self._name is not None:
            if len(self.files) == MOST_FILES:
                raise Refused(413, f"The form has too many files: at most {MOST_FILES}.")
            self.files.append((self._name, bytes(self._content)))

    def on_end(self) -> None:
        self.whole = True


async def _form(kind: str, chunks: AsyncGenerator[bytes, None]) -> list[tuple[str | None, bytes]]:
    form = _Form()
    calls: Any = {name: getattr(form, name) for name in vars(_Form) if name.startswith("on_")}
    boundary = python_multipart.multipart.parse_options_header(kind)[1].get(b"boundary", b"")
    try:
        parser = python_multipart.MultipartParser(boundary, calls)
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError as error:
        raise Refused(422, f"The form cannot be read: {error}.") from None
    if not form.whole:
        raise Refused(422, "The form is cut short.")
    if not form.files:
        raise Refused(422, "The form has no file.")
    return form.files
