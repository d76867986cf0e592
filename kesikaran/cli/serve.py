"""`kesikaran serve RUN`: the model of a run behind a page and an HTTP address on this machine."""

import argparse
import io
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.cli import door, model_of
from kesikaran.core import share, terminal
from kesikaran.core.errors import InputError, printable

if TYPE_CHECKING:
    from kesikaran.publish.predictor import Predictor
    from kesikaran.publish.web_app import Served

_MOST_MEGABYTES = 500


def main() -> None:
    """The command line. Exit codes: 1 an error, 128 + a signal's number where it was stopped, as it is meant to be."""
    parser = argparse.ArgumentParser(
        prog="kesikaran serve",
        description="Answer for a model over HTTP until Ctrl-C: a page to drop images on, POST /predict and GET "
        "/health. Only this machine reaches it, unless --host says otherwise. No image is written to the disk.",
    )
    parser.add_argument("model", metavar="MODEL", help=model_of.NAMES)
    parser.add_argument("--host", default="127.0.0.1", help="the address or name to listen at; default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one; default: %(default)s")
    parser.add_argument(
        "--max-megabytes",
        type=float,
        default=64,
        metavar="N",
        help=f"a longer request is refused; default: %(default)g, at most {_MOST_MEGABYTES}",
    )
    words = door.words(parser)
    with door.opened("Stopped; what was in flight is answered."):
        if not 0 <= words.port <= 65535:
            raise InputError(f"--port {words.port} is not allowed: 0 to 65535")
        if not 0 < words.max_megabytes <= _MOST_MEGABYTES:
            raise InputError(
                f"--max-megabytes {words.max_megabytes:g} is not allowed: above 0, at most {_MOST_MEGABYTES}"
            )
        _serve(words.model, words.host, words.port, int(words.max_megabytes * 1e6))


def _serve(word: str, host: str, port: int, most_bytes: int) -> None:
    from kesikaran.data import libjpeg_lines
    from kesikaran.publish import listener

    model = model_of.find(word)
    with listener.opened(host, port) as taken, libjpeg_lines.kept_back():
        with terminal.quiet_start():
            from kesikaran.data import preprocess  # noqa: F401  it loads TensorFlow
            from kesikaran.publish import batching, web_app
        only_here = listener.is_loopback(taken)
        own_names = [host] if only_here else [host, socket.gethostname()]
        served = web_app.Served(_name(word), model.facts)
        _warm(model)
        queue = batching.Queue(model, share.cores())
        with listener.serving(web_app.make(queue, served, most_bytes, own_names), taken) as ended:
            _say(served, listener.address(taken, host), only_here)
            ended.result()


def _name(word: str) -> str:
    """What the server calls the model. Of a folder only its own name: the page is no place to learn of folders."""
    path = Path(word)
    return path.resolve().name if path.is_dir() else word


def _warm(model: "Predictor") -> None:
    """Judge an image, so that a model that is damaged ends the command here, and decode one and several, whose graphs
    are made at the first time: three seconds that no request waits for."""
    from PIL import Image

    from kesikaran.publish import batching

    sink = io.BytesIO()
    Image.new("RGB", (8, 8)).save(sink, "PNG")
    for count in (1, batching.DECODED_TOGETHER):
        model.judge(model.decode([sink.getvalue()] * count))


def _say(served: "Served", address: str, only_here: bool) -> None:
    rule = served.decision()
    print(f"Model {printable(served.name)}, of run {served.facts.run_id}")
    print(f"Label 1 from a probability of {rule['threshold']:.3g}", end="")
    print("; not sure from {:.3g} to {:.3g}.".format(*rule["not_sure"]) if rule["not_sure"] else ".")
    if not only_here:
        print("Whoever reaches this port may send images and see results: there is no password.")
    print(f"\n  {address}\n  curl -F image=@photo.jpg {address}predict\n\nCtrl-C ends it.", flush=True)
