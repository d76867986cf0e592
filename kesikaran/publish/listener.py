"""The port that a server answers at: taken before anything slow begins, freed when what is in flight is answered."""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kesikaran.core.errors import InputError, printable

_HEAD_SECONDS = 10.0  # for a request's line and headers, and for a client to read its answer
_CLOSING_SECONDS = 10  # for what is in flight when the server ends
_MOST_CONNECTIONS = 800  # each is a file, of which a process may often have 1,024
_BACKLOG = 512


def opened(host: str, port: int) -> socket.socket:
    """A socket that listens. Who connects before the server runs, waits for it. port: 0 takes a free one.

    Raises:
        InputError: the host has no address here, or the port is taken or not allowed.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place, family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        reason = error.strerror
    except UnicodeError:
        reason = "no such name can be"
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    raise InputError(f"port {port} of {printable(host)} cannot be used: {reason}; give another with --port or --host")


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches the socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def address(listener: socket.socket, host: str) -> str:
    """The address to type into a browser on this machine."""
    port = listener.getsockname()[1]
    if ipaddress.ip_address(listener.getsockname()[0]).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@contextmanager
def serving(app: Any, listener: socket.socket) -> "Iterator[Future[None]]":
    """A block in which an ASGI app answers, in a thread of its own. At its end no more is taken on, and what is in
    flight has ten seconds.

    The main thread stays free for signals: it waits for the future, which ends with the server.
    """
    config = uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_CLOSING_SECONDS,
    )
    server = uvicorn.Server(config)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(server.run, sockets=[listener])
        try:
            yield ended
        finally:
            server.should_exit = True


class _Connection(H11Protocol):
    """A connection that is cut where its client is slow: uvicorn itself waits for ever for a request's headers, and for
    an answer to be read. While no request is under way, the next one has to come within ten seconds; a request that was
    refused before its end may be sent to its end in that time, so that its client gets to read why."""

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        self._wait_for_request()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self._late:
            self._late.cancel()

    def on_response_complete(self) -> None:
        self._wait_for_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread:
            self._unread.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._late, self._unread):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._late:
            self._late.cancel()
        self._late = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)
