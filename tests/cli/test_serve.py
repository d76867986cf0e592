"""`kesikaran serve` as a process: what it says, and how it ends. And in this process with a model that was trained."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done, Made, one_line

from kesikaran.cli import serve

# `kesikaran serve WORDS` with a judge that is none, which takes a second for each image.
PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[1] / "publish")!r})
from fake_judge import FakeJudge, image
from kesikaran.cli import model_of, serve

class Slow(FakeJudge):
    def judge(self, images):
        time.sleep(1)
        return super().judge(images)

serve._warm = lambda model: None
model_of.find = lambda word: Slow()
serve.main()
"""


@contextmanager
def process(*words: str, **environment: str) -> Iterator["tuple[subprocess.Popen[str], str, int]"]:
    """(the process, what it has said, its port), once it says that it answers."""
    command = [sys.executable, "-c", PROGRAM, "best", "--port", "0", *words]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        assert started.stdout is not None
        said = ""
        while not said.endswith("Ctrl-C ends it.\n"):
            line = started.stdout.readline()
            assert line, started.stderr and started.stderr.read()
            said += line
        yield started, said, int(re.findall(r"http://[^/]*:(\d+)/", said)[0])
    finally:
        if started.poll() is None:
            started.kill()
            started.communicate()


def send(port: int, content: bytes, kind: str = "image/png") -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/predict", content, {"Content-Type": kind})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_when_what_is_in_flight_is_answered(number: signal.Signals, code: int) -> None:
    with process() as (started, _, port):
        answers: list[tuple[int, Any]] = []
        asking = threading.Thread(target=lambda: answers.append(send(port, b"log-odds 2")))
        asking.start()
        idle = socket.create_connection(("127.0.0.1", port))  # is not waited for
        time.sleep(0.4)
        started.send_signal(number)
        out, err = started.communicate(timeout=8)
        asking.join()
        idle.close()
    assert started.returncode == code
    assert [(status, answer["log_odds"]) for status, answer in answers] == [(200, 2.0)]
    assert (out, err) == ("", "Stopped; what was in flight is answered.\n")


def test_it_says_what_it_serves_and_how_to_ask() -> None:
    with process() as (_, said, port):
        assert said == (
            "Model best, of run 0123456789abcdef0123456789abcdef\n"
            "Label 1 from a probability of 0.5; not sure from 0.269 to 0.622.\n\n"
            f"  http://127.0.0.1:{port}/\n"
            f"  curl -F image=@photo.jpg http://127.0.0.1:{port}/predict\n\nCtrl-C ends it.\n"
        )
    with process("--host", "0.0.0.0") as (_, said, port):
        assert "Whoever reaches this port may send images and see results: there is no password.\n" in said
        assert f"  http://localhost:{port}/\n" in said


def test_strangers_do_not_fill_the_terminal_and_a_defect_shows_there() -> None:
    with process() as (started, _, port):
        for junk in (b"junk\r\n\r\n", b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(junk)
        assert send(port, b"junk", "multipart/form-data; boundary=edge")[0] == 422
        assert send(port, b"log-odds no-number")[0] == 500
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=8)
    assert out == ""
    assert err.startswith("Exception in ASGI application\nTraceback")
    assert err.endswith("ValueError: could not convert string to float: b'no-number'\n"
                        "Stopped; what was in flight is answered.\n")  # fmt: skip


@pytest.fixture
def call(run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    def model(word: str) -> None:
        raise AssertionError("looked for before the words are checked")

    monkeypatch.setattr(serve.model_of, "find", model)
    return lambda *words: run(serve.main, "kesikaran serve", "best", *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "65536"], "--port 65536 is not allowed: 0 to 65535"),
        (["--port", "-1"], "--port -1 is not allowed"),
        (["--max-megabytes", "0"], "--max-megabytes 0 is not allowed: above 0, at most 500"),
        (["--max-megabytes", "nan"], "--max-megabytes nan is not allowed"),
        (["--max-megabytes", "501"], "--max-megabytes 501 is not allowed"),
    ],
)
def test_words_out_of_range_are_one_line(call: Callable[..., Done], words: list[str], says: str) -> None:
    done = call(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {says}")
    assert one_line(done.err.strip())


def test_a_port_in_use_is_one_line(call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.model_of, "find", lambda word: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("--port", port)
    says = f"port {port} of 127.0.0.1 cannot be used: Address already in use; give another with --port or --host"
    assert (done.code, done.out, done.err) == (1, "", f"error: {says}\n")


@pytest.mark.tensorflow
def test_a_trained_model_answers_what_its_run_said_of_each_image(
    made: Made, train: Callable[..., Done], runs: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.cli import model_of
    from kesikaran.publish import listener, web_app
    from kesikaran.publish.batching import Queue
    from kesikaran.tracking import artifacts

    assert train(*made.words).code == 0
    run_id = runs()[-1].info.run_id
    rows = artifacts.predictions(run_id, artifacts.PREDICTIONS).query("split == 'test'")
    model = model_of.find(run_id)
    serve._warm(model)
    queue = Queue(model, 2)
    app = web_app.make(queue, web_app.Served("best", model.facts), 10**7, [])
    with listener.opened("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with listener.serving(app, taken):
            found = [send(port, (made.images / name).read_bytes())[1] for name in rows["object_id"]]
    queue.close()
    assert len(found) > 10
    assert np.allclose([one["log_odds"] for one in found], rows["log_odds"], atol=1e-5)
    assert [one["label"] for one in found] == list(rows["predicted"])
    assert [one["sure"] for one in found] == list(rows["sure"])
