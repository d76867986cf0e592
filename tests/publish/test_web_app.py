"""The server of a model over real sockets, with a judge that is none: answers, limits, slow and many clients."""

import base64
import hashlib
import http.client
import json
import re
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import peak_bytes
from fake_judge import FACTS, FakeJudge, broken, image, wait_until

from kesikaran.publish import batching, listener, upload, web_app
from kesikaran.publish.batching import Queue

MOST_BYTES = 1_000_000
SAYS: dict[str, dict[str, Any]] = {
    "sure": {"label": 1, "probability": 0.880797, "sure": True, "log_odds": 2.0},
    "unsure": {"label": 0, "probability": 0.37754068, "sure": False, "log_odds": -0.5},
    "refused": {"refused": "not a JPEG or PNG image"},
}


@dataclass(frozen=True)
class Answered:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """What talks to a server that runs for a test."""

    judge: FakeJudge
    queue: Queue
    port: int

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answered:
        """headers: `content_type` is Content-Type."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given, encode_chunked="Transfer-Encoding" in given)
        response = connection.getresponse()
        answered = Answered(response.status, response.headers, response.read())
        connection.close()
        return answered

    def send(self, content: bytes, kind: str = "image/png") -> Answered:
        return self.ask("/predict", "POST", content, content_type=kind)

    def raw(self, first: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(first)
        return connection


@contextmanager
def running(judge: FakeJudge, names: tuple[str, ...] = ()) -> Iterator[Client]:
    queue = Queue(judge, 2)
    with listener.opened("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        app = web_app.make(queue, web_app.Served("best", FACTS), MOST_BYTES, names)
        with listener.serving(app, taken):
            yield Client(judge, queue, port)
    queue.close()


@pytest.fixture
def server() -> Iterator[Client]:
    with running(FakeJudge(), ("gpu-box",)) as made:
        yield made


def form(*files: tuple[str, bytes]) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n%s\r\n'
    parts = [head % (name.encode(), content) for name, content in files]
    return b"".join([*parts, b"--edge--\r\n"])


FORM = "multipart/form-data; boundary=edge"


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/JPEG; x=y", "application/octet-stream"])
def test_an_image_as_the_body(server: Client, kind: str) -> None:
    answered = server.send(image(2), kind)
    assert (answered.status, answered.json) == (200, {"name": None} | SAYS["sure"])
    refused = server.send(b"junk", kind)
    assert (refused.status, refused.json["error"]) == (422, "The image is refused: not a JPEG or PNG image.")
    assert refused.json["refused"] == SAYS["refused"]["refused"]


def test_images_of_a_form_keep_their_order_and_names(server: Client) -> None:
    answered = server.send(form(("b.png", image(2)), ("ä.txt", b"junk"), ("../a", image(-0.5))), FORM)
    assert answered.status == 200
    named = [{"name": "b.png"} | SAYS["sure"], {"name": "ä.txt"} | SAYS["refused"], {"name": "../a"} | SAYS["unsure"]]
    assert answered.json == {"images": named}
    none = server.send(form(("a", b"junk"), ("b", b"")), FORM)
    assert (none.status, none.json["error"]) == (422, "All 2 images are refused.")
    assert [row["name"] for row in none.json["images"]] == ["a", "b"]
    assert server.send(form(("x" * 3000, image(2))), FORM).json["images"][0]["name"] == "x" * 255


def test_health_tells_what_the_page_shows(server: Client) -> None:
    server.send(form(("a", image(2)), ("b", b"junk")), FORM)
    found = server.ask("/health").json
    decision = found.pop("decision")
    assert found == {
        "ready": True,
        "model": "best",
        "run": FACTS.run_id,
        "data": "made",
        "images": 2,
        "limits": {"request_bytes": MOST_BYTES, "files": 64},
    }
    assert (decision["threshold"], decision["error"]) == (0.5, 0.05)
    assert decision["not_sure"] == pytest.approx([0.26894, 0.62246], abs=1e-5)


def test_a_band_without_ends() -> None:
    from dataclasses import replace
    from math import inf

    from kesikaran.metrics.conformal import Band

    endless = web_app.Served("m", replace(FACTS, band=Band(-inf, inf, 0.05), threshold=-800.0)).decision()
    assert endless == {"threshold": 0.0, "not_sure": [0.0, 1.0], "error": 0.05}
    none = web_app.Served("m", replace(FACTS, band=None)).decision()
    assert (none["not_sure"], none["error"]) == (None, None)


@pytest.mark.parametrize(
    ("status", "says", "kind", "body"),
    [
        (415, "this is text/plain", "text/plain", b"x"),
        (415, "this is none", "", b"x"),
        (415, "this is application/x-www-form-urlencoded", "application/x-www-form-urlencoded", b"x"),
        (413, "at most 1 MB", "image/png", b"x" * (MOST_BYTES + 1)),
        (413, "at most 1 MB", FORM, form(("a", b"x" * MOST_BYTES))),
        (413, "too many files: at most 64", FORM, form(*[("a", b"")] * 65)),
        (422, "has no file", FORM, form()),
        (422, "cut short", FORM, form(("a", image(2)))[:-5]),
        (422, "cut short", FORM, form(("a", image(2)))[:-20]),
        (422, "cut short", FORM, form(("a", image(2)))[:20]),
        (422, "has no file", FORM, b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--edge--\r\n'),
        (422, "cannot be read: ", "multipart/form-data", b"x"),
        (422, "cannot be read: ", "multipart/form-data; boundary=" + "x" * 999, b"x"),
        (422, "cannot be read: ", FORM, b"junk"),
        (422, "cannot be read: ", FORM, b"--edge\r\n" + b"X: y\r\n" * 100),
    ],
)
def test_what_is_refused_gets_a_sentence(server: Client, status: int, says: str, kind: str, body: bytes) -> None:
    answered = server.send(body, kind)
    assert answered.status == status
    assert list(answered.json) == ["error"]
    assert says in answered.json["error"]
    assert answered.json["error"].endswith(".")
    assert server.judge.groups == []
    assert server.send(image(2)).status == 200


def test_what_is_not_there_and_what_is_compressed(server: Client) -> None:
    for path, method, status in (("/docs", "GET", 404), ("/predict", "GET", 405), ("/predict/", "POST", 404)):
        answered = server.ask(path, method)
        assert answered.status == status
        assert answered.json["error"].endswith("there are GET /, GET /health and POST /predict.")
    packed = server.ask("/predict", "POST", b"x", content_type="image/png", content_encoding="gzip")
    assert packed.status == 415


def test_a_long_request_is_refused_while_it_comes_whatever_it_says_of_its_length(server: Client) -> None:
    """Its client, which reads only when it has sent all, gets to read why."""
    server.send(b"x")  # what is loaded at the first request is not counted below
    before = peak_bytes(anew=True)
    pieces = (b"x" * MOST_BYTES for _ in range(200))
    answered = server.ask("/predict", "POST", pieces, content_type="image/png", Transfer_Encoding="chunked")
    assert (answered.status, answered.json["error"]) == (413, "The request is too long: at most 1 MB.")
    assert peak_bytes() < before + 50e6


def test_a_client_that_asks_first_need_not_send_what_is_too_long(server: Client) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"
    for length, first in ((MOST_BYTES + 1, b"HTTP/1.1 413 "), (10, b"HTTP/1.1 100 ")):
        with server.raw(head + b"Content-Length: %d\r\n\r\n" % length) as connection:
            assert connection.recv(10_000).startswith(first)


def test_no_image_goes_to_the_disk(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "_sanitize_params", None)  # every function of tempfile calls it
    large = image(2) + b" " * (MOST_BYTES - 10_000)
    assert server.send(form(("a", large)), FORM).json["images"][0] == {"name": "a"} | SAYS["sure"]


def test_a_full_queue_and_a_full_memory_ask_to_come_again(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(answered: Answered) -> bool:
        assert list(answered.json) == ["error"]
        return (answered.status, answered.headers["Retry-After"]) == (503, "2")

    monkeypatch.setattr(batching, "MOST_WAITING", 1)
    monkeypatch.setattr(web_app, "MOST_WAITING", 1)
    server.judge.gate.clear()
    held = threading.Thread(target=server.send, args=[image(2)])
    held.start()
    wait_until(lambda: server.queue.waiting == 1)
    assert busy(server.send(image(2)))
    assert not server.ask("/health").json["ready"]
    server.judge.gate.set()
    held.join()
    assert server.ask("/health").json["ready"]
    with monkeypatch.context() as patch:
        patch.setattr(upload, "_HELD_BYTES", 5)
        assert busy(server.send(image(2)))
    for _ in range(3):  # what a request held is given back, whatever became of it
        monkeypatch.setattr(upload, "_HELD_BYTES", len(image(2)))
        assert server.send(image(2)).status == 200


def test_two_hundred_clients_at_once(server: Client) -> None:
    found: Counter[int] = Counter()
    threads = [threading.Thread(target=lambda: found.update([server.send(image(2)).status])) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {200: 200}
    assert server.queue.waiting == 0


def test_a_body_that_comes_too_slowly_is_given_up(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_GRACE_SECONDS", 0.2)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nx"
    with server.raw(head) as connection:
        assert b"408 Request Timeout" in connection.recv(10_000)
    monkeypatch.setattr(upload, "_SLOWEST_BYTES_A_SECOND", 5)
    with server.raw(head) as connection:  # each piece gives it more time
        for _ in range(4):
            time.sleep(0.15)
            connection.sendall(b"x")
        connection.sendall(b"x" * 95)
        assert b"422 Unprocessable" in connection.recv(10_000)


def cut_after(connection: socket.socket, send: bytes) -> float:
    """How many seconds it takes until the server cuts the connection, on which `send` is said over and over."""
    began = time.monotonic()
    connection.settimeout(0.02)
    with suppress(ConnectionError):
        while time.monotonic() < began + 20:
            with suppress(TimeoutError):
                if connection.recv(10_000) == b"":
                    break
            connection.sendall(send)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"", b""),
        (b"GET /health HTTP/1.1\r\n", b"X: y\r\n"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\n", b"X: y\r\n"),
        # Refused at once; its body may follow for a while, so that its client gets to read why.
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", b"x"),
    ],
)
def test_a_client_is_cut_that_sends_no_request_in_time(
    server: Client, monkeypatch: pytest.MonkeyPatch, first: bytes, more: bytes
) -> None:
    monkeypatch.setattr(listener, "_HEAD_SECONDS", 0.5)
    with server.raw(first) as connection:
        assert 0.3 < cut_after(connection, more) < 10


def test_a_request_that_takes_long_to_judge_is_not_cut(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_HEAD_SECONDS", 0.2)
    server.judge.gate.clear()
    threading.Timer(0.8, server.judge.gate.set).start()
    assert server.send(image(2)).status == 200


def test_a_client_is_cut_that_does_not_read(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_HEAD_SECONDS", 0.5)
    with server.raw(b"") as connection:
        connection.settimeout(20)
        with pytest.raises(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000_000)


def test_beyond_a_number_of_connections_none_is_taken(server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_MOST_CONNECTIONS", 3)
    idle = [server.raw(b"") for _ in range(3)]
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        server.ask("/health")
    for connection in idle:
        connection.close()
    wait_until(lambda: reached(server))


def reached(server: Client) -> bool:
    with suppress(ConnectionError):
        return server.ask("/health").status == 200
    return False


def test_a_client_that_goes_away_leaves_nothing_behind(server: Client, caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nx"
    for _ in range(5):
        server.raw(head[:-1] + image(2)).close()  # half an image
        server.raw(b"junk\r\n\r\n").close()
    time.sleep(0.3)
    assert (server.queue.answered, server.judge.groups) == (0, [])
    server.judge.gate.clear()
    for _ in range(5):
        server.raw(head + image(2) + b" " * 99).close()
    server.judge.gate.set()
    wait_until(lambda: server.queue.waiting == 0)
    assert server.send(image(2)).status == 200
    assert caplog.text == ""


def test_a_defect_is_told_on_the_terminal(
    server: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.judge, "judge", broken)
    answered = server.send(image(2))
    assert (answered.status, list(answered.json)) == (500, ["error"])
    wait_until(lambda: "ZeroDivisionError: a defect" in caplog.text)


def test_what_is_in_flight_is_answered_at_the_end() -> None:
    answers: list[Answered] = []
    with running(FakeJudge()) as client:
        client.judge.gate.clear()
        asking = threading.Thread(target=lambda: answers.append(client.send(image(2))))
        asking.start()
        wait_until(lambda: client.queue.waiting == 1)
        threading.Timer(0.5, client.judge.gate.set).start()
    asking.join()
    assert [one.json["log_odds"] for one in answers] == [2.0]
    with pytest.raises(ConnectionError):
        client.ask("/health")


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:1", None, 200),
        ("LOCALHOST", None, 200),
        ("[::1]:8000", None, 200),
        ("gpu-box:8000", "http://gpu-box:8000", 200),
        ("192.168.0.7", "https://192.168.0.7", 200),
        ("evil.example", None, 421),
        ("localhost.evil.example", None, 421),
        ("127.0.0.1.evil.example", None, 421),
        ("localhost@evil.example", None, 421),
        ("[::1", None, 421),
        ("", None, 421),
        ("localhost:8000", "http://evil.example", 403),
        ("localhost:8000", "http://localhost:9000", 403),
        ("localhost:8000", "null", 403),
    ],
)
def test_it_answers_to_its_own_names_and_pages_only(server: Client, host: str, origin: str | None, status: int) -> None:
    """What a page of another site makes a browser send: that site's name as the host (DNS rebinding), or its origin."""
    given = {"Host": host} | ({"Origin": origin} if origin else {})
    for path, method in (("/", "GET"), ("/health", "GET")):
        answered = server.ask(path, method, **given)
        assert answered.status == status
        assert not [name for name in answered.headers if name.lower().startswith("access-control")]
    assert server.ask("/predict", "POST", image(2), content_type="image/png", **given).status == status
    assert server.ask("/predict", "OPTIONS", **given).status in (405, 421)


def test_the_page_may_load_nothing_from_elsewhere(server: Client) -> None:
    answered = server.ask("/")
    page, policy = answered.body.decode(), dict(rule.split(" ", 1) for rule in answered.headers[
        "Content-Security-Policy"].split("; "))  # fmt: skip
    assert policy["default-src"] == "'none'"
    assert (policy["connect-src"], policy["img-src"]) == ("'self'", "blob: data:")
    for tag in ("script", "style"):
        content = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert set(re.findall(r"//([\w-]+(?:\.[\w-]+)+)", page)) <= {"www.w3.org"}  # the name of SVG
    assert not re.search(r"\son\w+=|\sstyle=|javascript:|@import|innerHTML", page)


def test_a_port_that_is_taken_and_a_host_that_is_none() -> None:
    from conftest import refused

    with listener.opened("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        refused(f"port {port} of 127.0.0.1 cannot be used: Address already in use", listener.opened, "127.0.0.1", port)
    refused(
        "port 0 of nowhere.invalid cannot be used: Name or service not known", listener.opened, "nowhere.invalid", 0
    )
    refused("port 0 of x..y cannot be used", listener.opened, "x..y", 0)
    refused("of 192.0.2.1 cannot be used: Cannot assign requested address", listener.opened, "192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "address", "only_here"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}/", True),
        ("localhost", "http://localhost:{}/", True),
        ("::1", "http://[::1]:{}/", True),
        ("0.0.0.0", "http://localhost:{}/", False),
    ],
)
def test_the_address_to_type(host: str, address: str, only_here: bool) -> None:
    opened: Callable[[str, int], socket.socket] = listener.opened
    with opened(host, 0) as taken:
        assert listener.address(taken, host) == address.format(taken.getsockname()[1])
        assert listener.is_loopback(taken) is only_here
