"""Modules from strangers, made by code: each ends in a right result or in one line that says why not."""

import gzip
import hashlib
import http.client
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import child, one_line, peak_bytes, toy_backbone

from kesikaran.core.errors import InputError
from kesikaran.models import backbone, download, feature_vector, module_files, module_graph

# A request that is given up leaves its socket to the garbage collector.
of_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
pytestmark = [pytest.mark.tensorflow, of_sockets]
MOST_SECONDS, MOST_BYTES = 30, 2 * 10**9


@pytest.fixture(autouse=True)
def alone() -> None:
    backbone.load.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---- SavedModel folders


def save(folder: Path, call: Callable[[Any, Any], Any], dtype: str = "float32", size: int | None = None) -> Path:
    """A module that computes `call(means of the channels [n, 3], images [n, height, width, 3])`."""
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.reshape(tf.range(12, dtype=tf.float32), (3, 4)))

        @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], dtype)])
        def __call__(self, images: Any) -> Any:
            return call(tf.reduce_mean(tf.cast(images, tf.float32), [1, 2]) @ self.weights, images)

    tf.saved_model.save(Module(), str(folder))
    return folder


def after(operation: Callable[[], Any]) -> Callable[[Any, Any], Any]:
    """Right features, and an operation beside."""
    import tensorflow as tf

    def call(means: Any, _: Any) -> Any:
        with tf.control_dependencies([operation()]):
            return tf.identity(means)

    return call


def calls() -> dict[str, tuple[str, Callable[[Any, Any], Any]]]:
    """name -> (what the refusal says, what the module computes)."""
    import tensorflow as tf

    raw = tf.raw_ops

    def python(means: Any, _: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(lambda x: x, [means], tf.float32), (None, 4))

    def hidden_in_a_branch(means: Any, _: Any) -> Any:
        def read() -> Any:
            return tf.strings.to_number(tf.io.read_file("/etc/hostname"))

        return means + tf.cond(tf.reduce_sum(means) > 1e30, read, lambda: 0.0)

    def of_a_table(means: Any, _: Any) -> Any:
        table = raw.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.float32)
        return means + raw.LookupTableFindV2(table_handle=table, keys=tf.constant([1], tf.int64), default_value=0.0)

    def of_a_data_set(means: Any, _: Any) -> Any:
        lines = tf.data.TextLineDataset("/etc/passwd").take(1)
        return means + lines.reduce(0.0, lambda total, line: total + tf.cast(tf.strings.length(line), tf.float32))

    tensor, name = tf.constant(1.0), "/nowhere/file"
    return {
        "reads a file": ("ReadFile", after(lambda: tf.io.read_file("/etc/hostname"))),
        "writes a file": ("WriteFile", after(lambda: tf.io.write_file(name, "x"))),
        "lists files": ("MatchingFiles", after(lambda: tf.io.matching_files("/*"))),
        "reads in a branch": ("ReadFile", hidden_in_a_branch),
        "calls Python": ("PyFunc", python),
        "writes a checkpoint": (
            "SaveV2",
            after(lambda: raw.SaveV2(prefix=name, tensor_names=["a"], shape_and_slices=[""], tensors=[tensor])),
        ),
        "reads a checkpoint": (
            "RestoreV2",
            after(
                lambda: tf.stack(
                    raw.RestoreV2(prefix=name, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])
                )
            ),
        ),
        "prints into a file": ("PrintV2", after(lambda: raw.PrintV2(input="x", output_stream=f"file://{name}"))),
        "maps a file": (
            "ImmutableConst",
            after(lambda: raw.ImmutableConst(dtype=tf.float32, shape=(1,), memory_region_name="/etc/hostname")),
        ),
        "writes summaries": (
            "CreateSummaryFileWriter",
            after(
                lambda: raw.CreateSummaryFileWriter(
                    writer=raw.SummaryWriter(), logdir=name, max_queue=1, flush_millis=1, filename_suffix=""
                )
            ),
        ),
        "reads a data set": ("TextLineDataset", of_a_data_set),
        "has a table": ("MutableHashTableV2", of_a_table),
        "ends the process": ("Abort", after(lambda: raw.Abort(error_msg="no"))),
        "dumps for debugging": (
            "DebugIdentityV2",
            after(lambda: raw.DebugIdentityV2(input=tensor, tfdbg_context_id="x", debug_urls=[f"file://{name}"])),
        ),
        "asks a queue": (
            "FIFOQueueV2",
            after(lambda: raw.QueueSizeV2(handle=raw.FIFOQueueV2(component_types=[tf.float32]))),
        ),
        "10^8 features": ("100000000 features an image", lambda means, _: tf.zeros((tf.shape(means)[0], 10**8))),
        "10^8 features, open": (
            "100000000 features an image",
            lambda means, _: tf.tile(means[:, :1], tf.stack([1, tf.cast(tf.size(tf.zeros(1)), tf.int32) * 10**8])),
        ),
        "no number": ("not finite", lambda means, _: means * float("nan")),
        "infinite": ("not finite", lambda means, _: means / 0.0),
        "one row for all": ("of 2 images it gives float32 [1, 4]", lambda means, _: tf.reduce_sum(means, 0, True)),
        "depends on the batch": ("another one is beside it", lambda means, _: means - tf.reduce_mean(means, 0)),
        "random": ("at each call", lambda means, _: means + tf.random.normal((4,), stddev=10.0)),
        "a dict": ("it gives dict of 1", lambda means, _: {"features": means}),
        "a feature map": ("it gives float32 [2, 32, 32, 3]", lambda _, images: images + 0.0),
        "whole numbers": ("it gives int32 [2, 4]", lambda means, _: tf.cast(means, tf.int32)),
        "no columns": ("it gives float32 [2, 0]", lambda means, _: means[:, :0]),
        "nothing": ("it gives nothing", lambda means, _: None),
        "a number": ("it gives float32 []", lambda means, _: tf.reduce_sum(means)),
    }


def test_folders(tmp_path: Path, cache: Path) -> None:
    began_bytes = peak_bytes(anew=True)
    for number, (name, (says, call)) in enumerate(calls().items()):
        folder = save(tmp_path / str(number), call)
        refused(name, says, str(folder))
    for name, says, folder in damaged_folders(tmp_path):
        refused(name, says, str(folder))
    assert not Path("/nowhere").exists()
    # Everything that this process did before counts too, in a whole suite.
    assert peak_bytes() - began_bytes < MOST_BYTES


def refused(name: str, says: str, handle: str) -> str:
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        backbone.load(handle, 32)
    assert says in str(caught.value), name
    assert one_line(str(caught.value)), name
    assert time.monotonic() - began < MOST_SECONDS, name
    return str(caught.value)


def damaged_folders(root: Path) -> Iterator[tuple[str, str, Path]]:
    """(name, what the refusal says, folder) of what code alone does not make."""
    whole = toy_backbone(root / "whole")

    def copy(name: str) -> Path:
        return Path(shutil.copytree(whole, root / name))

    fixed = save(root / "fixed", lambda means, _: means, size=331)
    yield "331 px", "set backbone.image_size to its own", fixed
    yield "bytes", "does not take images of float32", save(root / "uint8", lambda means, _: means, dtype="uint8")
    yield "feature map", "no feature vector", toy_backbone(root / "map", pool=False)

    (copy("empty") / "saved_model.pb").write_bytes(b"")
    yield "empty", "modules of TensorFlow 1 are not supported", root / "empty"
    (copy("cut") / "saved_model.pb").write_bytes((whole / "saved_model.pb").read_bytes()[:1000])
    yield "cut", "saved_model.pb cannot be read", root / "cut"
    (copy("text") / "saved_model.pb").rename(root / "text" / "saved_model.pbtxt")
    yield "text", "no SavedModel folder is there", root / "text"
    shutil.rmtree(copy("weightless") / "variables")
    yield "no weights", "is not a TF-Hub SavedModel", root / "weightless"
    with (copy("large") / "saved_model.pb").open("r+b") as file:
        file.truncate(3 * 10**9)  # a hole: it takes no room
    yield "3 GB of graph", "more than the 500 MB", root / "large"
    with (copy("endless") / "variables" / "more").open("wb") as hole:
        hole.truncate(10**12)
    yield "a terabyte", "more than 4 GB", root / "endless"
    os.mkfifo(copy("pipe") / "variables" / "pipe")
    yield "a pipe", "pipe is no regular file", root / "pipe"
    (copy("device") / "zero").symlink_to("/dev/zero")
    yield "a device", "zero is no regular file", root / "device"
    (copy("loop") / "again").symlink_to(root / "loop")
    yield "a link to itself", "again is a link to a folder", root / "loop"
    (copy("many") / "assets").mkdir(exist_ok=True)
    for number in range(module_files.MOST_FILES):
        (root / "many" / "assets" / str(number)).touch()
    yield "many files", "more than 10000 files", root / "many"

    graph = root / "twice" / "saved_model.pb"
    copy("twice")
    graph.write_bytes(graph.read_bytes() * 2)  # two messages in a row are merged: a module of two graphs
    yield "two graphs", "modules of TensorFlow 1 are not supported", root / "twice"
    for name, says, change in (("unknown", "NoSuchOperation", unknown), ("saver", "SaveV2", saver_in_use)):
        changed(copy(name), change)
        yield name, says, root / name


def changed(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the MetaGraph of a module."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    module = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(module.meta_graphs[0])
    path.write_bytes(module.SerializeToString())


def unknown(graph: Any) -> None:
    graph.graph_def.library.function[0].node_def.add(op="NoSuchOperation", name="new")


def saver_in_use(graph: Any) -> None:
    """The function that writes the checkpoint becomes one that the loaded module can call."""
    (name,) = (f.signature.name for f in graph.graph_def.library.function if "traced_save" in f.signature.name)
    node = next(node for node in graph.object_graph_def.nodes if node.WhichOneof("kind") == "function")
    node.function.concrete_functions.append(name)


def test_honest_modules_are_loaded(tmp_path: Path, cache: Path) -> None:
    import tensorflow_hub
    import tf_keras

    wrapped = tf_keras.Sequential([
        tf_keras.Input((None, None, 3)),
        tensorflow_hub.KerasLayer(str(save(tmp_path / "plain", lambda means, _: means))),
        tf_keras.layers.Dense(5),
        tf_keras.layers.BatchNormalization(),
    ])  # fmt: skip
    wrapped.compile("adam", "mse")
    wrapped.save(tmp_path / "wrapped", save_format="tf")
    assert backbone.load(str(tmp_path / "plain"), 32).width == 4
    assert backbone.load(str(tmp_path / "wrapped"), 32).width == 5
    constant = save(tmp_path / "no variables", lambda _, images: images[:, 0, 0] + 0.0)
    assert backbone.load(str(constant), 32).width == 3
    (tmp_path / "plain" / "saved_model.pb").rename(tmp_path / "elsewhere.pb")
    (tmp_path / "plain" / "saved_model.pb").symlink_to(tmp_path / "elsewhere.pb")  # as some download tools store it
    assert backbone.load(str(tmp_path / "plain"), 32).width == 4


def test_a_trusted_module_is_loaded_and_trusts_no_later_run(tmp_path: Path, cache: Path) -> None:
    import tensorflow as tf

    module = save(tmp_path / "reader", after(lambda: tf.io.read_file("/etc/hostname")))
    assert backbone.load(str(module), 32, trusted=True).width == 4
    backbone.load.cache_clear()
    refused("seen before", "set backbone.trusted=true", str(module))
    assert backbone.load(str(save(tmp_path / "plain", lambda means, _: means)), 32, trusted=True).width == 4


def test_what_is_allowed_calls_functions_by_control_flow_alone_and_opens_nothing() -> None:
    """The registry of TensorFlow, held against the rule."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    operations = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList())).op
    allowed = [operation for operation in operations if operation.name in module_graph._allowed()]
    assert 600 < len(allowed) < 900
    callers = {o.name for o in allowed if any("func" in attribute.type for attribute in o.attr)}
    assert callers == {
        *("Case", "For", "If", "PartitionedCall", "StatefulPartitionedCall", "SymbolicGradient", "While"),
        *("StatelessCase", "StatelessIf", "StatelessWhile"),
    }
    named = {o.name for o in allowed for part in (*o.attr, *o.input_arg) if "file" in part.name or "path" in part.name}
    assert named == set()


ENDLESS = """
import sys, tensorflow as tf
from kesikaran.core import process; process.start()
from kesikaran.core.errors import InputError
from kesikaran.models import backbone, feature_vector
feature_vector.CALL_SECONDS = 1
try:
    backbone.load(sys.argv[1], 32)
except InputError as error:
    print(error, flush=True)
backbone.load(sys.argv[1], 32, trusted=True)
"""


def test_a_module_without_an_end_can_be_left(tmp_path: Path, cache: Path) -> None:
    import tensorflow as tf

    def endless(means: Any, _: Any) -> Any:
        return means + tf.while_loop(lambda x: x >= 0.0, lambda x: (x * 1.0,), (tf.abs(means[0, 0]),))[0]

    module = save(tmp_path / "endless", endless)
    with child(sys.executable, "-c", ENDLESS, str(module)) as process:
        assert process.stdout
        assert "has not computed the features of 1 images in 1 s" in process.stdout.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


# ---- what a server gives


class Server:
    """A server on loopback that answers each path by a function of the handler."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        self.let_go = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                outer.asked.append(path)
                outer.answers[path](self)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:  # a client that hangs up
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def gives(self, path: str, content: bytes, **headers: str) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)

        self.answers[path] = answer
        return self.url + path

    def redirects(self, path: str, to: str) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", to)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        self.answers[path] = answer
        return self.url + path

    def speaks(self, path: str, words: bytes) -> str:
        """No HTTP at all."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(words)

        self.answers[path] = answer
        return self.url + path

    def drips(self, path: str, first: bytes) -> str:
        """Sends `first`, then a byte now and then."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(first)
            while not self.let_go.wait(0.2):
                handler.wfile.write(b"x")

        self.answers[path] = answer
        return self.url + path


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    served = Server()
    thread = threading.Thread(target=served.http.serve_forever, args=(0.05,))
    thread.start()
    yield served
    served.let_go.set()
    served.http.shutdown()
    thread.join()
    served.http.server_close()


def archive(*members: tuple[tarfile.TarInfo, bytes], folder: Path | None = None) -> bytes:
    """A tar.gz: the folder's files, then the members."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz", compresslevel=1) as tar:
        if folder:
            tar.add(folder, arcname=".")
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def member(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, bytes(info.size)


def zipped(*parts: bytes, zeros: int = 0) -> bytes:
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
        for _ in range(zeros // 2**20):
            file.write(bytes(2**20))
    return sink.getvalue()


def hostile_archives(toy: Path) -> dict[str, tuple[str, bytes]]:
    """name -> (what the refusal says, the bytes that are served)."""
    whole = archive(folder=toy)
    large = tarfile.TarInfo("saved_model.pb")
    large.size = 10**11
    pax = tarfile.TarInfo("././@PaxHeader")
    pax.type, pax.size = tarfile.XHDTYPE, 2**28
    return {
        "bits changed": ("the archive is damaged", whole[:2000] + bytes(64) + whole[2064:]),
        "cut": ("the archive is damaged", whole[:-300]),
        "no archive": ("the archive is damaged or no tar.gz", b"<html>Please log in</html>"),
        "nothing": ("the archive is damaged", b""),
        "no module": ("holds no saved_model.pb", archive(member("readme.txt", size=10))),
        "module in a folder": ("holds no saved_model.pb", archive(member("b0/saved_model.pb", size=10))),
        "absolute name": ("'/tmp/x' in the archive is no file or folder within it", archive(member("/tmp/x"))),
        "name that leads out": ("'a/../../x' in the archive", archive(member("a/../../x"))),
        "link": ("'x' in the archive", archive(member("x", type=tarfile.SYMTYPE, linkname="/etc/passwd"))),
        "hard link": ("'x' in the archive", archive(member("x", type=tarfile.LNKTYPE, linkname="/etc/passwd"))),
        "device": ("'x' in the archive", archive(member("x", type=tarfile.CHRTYPE))),
        "pipe": ("'x' in the archive", archive(member("x", type=tarfile.FIFOTYPE))),
        "long name": ("the archive is damaged", archive(member("x" * 300))),
        "escape codes": ("'\\x1b[31m' in the archive", archive(member("\x1b[31m", type=tarfile.FIFOTYPE))),
        "file over a folder": ("the archive is damaged", archive(member("x/y", size=1), member("x"))),
        "many files": ("more than 10000 files", archive(*[member(str(n)) for n in range(10_001)])),
        "a bomb of one file": ("unpacks to more than 4 GB", zipped(large.tobuf(), zeros=2**22)),
        "a bomb of a header": ("is too long", zipped(pax.tobuf(), zeros=2**22)),
        "a bomb after the end": ("is too long", zipped(bytes(10240), zeros=2**26)),
    }


def test_archives(server: Server, tmp_path: Path) -> None:
    began_bytes, toy = peak_bytes(anew=True), toy_backbone(tmp_path / "toy")
    for number, (name, (says, content)) in enumerate(hostile_archives(toy).items()):
        url = server.gives(f"/{number}", content)
        refused(name, says, url)
        before = len(server.asked)
        backbone.load.cache_clear()
        refused(name, "The server still has the same file", url)
        assert len(server.asked) == before + 1
    assert {path.name.split(".", 1)[1] for path in (tmp_path / "cache" / "tfhub").iterdir()} == {
        "kesikaran.json",
        "kesikaran.lock",
    }, "no part of an archive is left"
    assert peak_bytes() - began_bytes < MOST_BYTES
    whole = server.gives("/0", archive(folder=toy), ETag='"mended"')
    assert backbone.load(whole, 32).digest == backbone.digest(toy)


def test_addresses(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ANSWER_SECONDS", 1)
    server.gives("/whole", archive(folder=toy_backbone(tmp_path / "toy")))
    ok = b"HTTP/1.0 200 OK\r\n"
    for name, says, url in (
        (
            "plain http behind a redirect",
            "it redirects to http://192.0.2.1",
            server.redirects("/1", "http://192.0.2.1/m?key=s3cr"),
        ),
        ("a file", "could not be fetched", server.redirects("/2", "file:///etc/passwd")),
        ("ftp", "could not be fetched", server.redirects("/3", "ftp://127.0.0.1/module")),
        (
            "a password behind a redirect",
            "it redirects to https://127.0.0.1",
            server.redirects("/4", "https://u:s3cr@127.0.0.1/m"),
        ),
        ("round and round", "could not be fetched", server.redirects("/5", f"{server.url}/5")),
        ("no address", "could not be fetched", server.redirects("/6", "http://[::1/module")),
        ("no answer", "no answer, or too little of it, in 1 s", server.drips("/7", b"")),
        ("headers without an end", "no answer, or too little of it", server.drips("/8", ok + b"A: ")),
        ("slow", "no answer, or too little of it", server.drips("/9", ok + b"\r\n")),
        ("too much", "more than 2 GB", server.drips("/10", ok + b"Content-Length: 9000000000\r\n\r\n")),
        (
            "ends early",
            "the connection ended after 3 of 9 bytes",
            server.gives("/11", b"abc", **{"Content-Length": "9"}),
        ),
        ("speaks no HTTP", "could not be fetched", server.speaks("/12", b"220 ready\r\n")),
        ("a password in the handle", "holds a user name or a password", "https://u:s3cr@127.0.0.1/module"),
        ("no port", "is no address", "https://127.0.0.1:s3/module"),
        ("plain http in capitals", "give it as https://", "HTTP://192.0.2.1/module"),
    ):
        assert "s3cr" not in refused(name, says, url)
    with pytest.raises(InputError, match="no SavedModel folder is there"):
        backbone.load("file:///etc", 32)
    assert backbone.load(server.redirects("/13", "/whole"), 32).width == 16


def test_a_redirect_does_not_lead_from_https_to_http() -> None:
    import urllib.request

    request = urllib.request.Request("https://127.0.0.1/module")
    redirects = download._CheckedRedirects()
    for to in ("http://127.0.0.1/module", "http://192.0.2.1/", "file:///etc/passwd", "https:///module"):
        with pytest.raises(ValueError, match="it redirects to"):
            redirects.redirect_request(request, io.BytesIO(), 302, "Found", http.client.HTTPMessage(), to)
    further = redirects.redirect_request(
        request, io.BytesIO(), 302, "Found", http.client.HTTPMessage(), "https://127.0.0.1/other"
    )
    assert further.full_url == "https://127.0.0.1/other"


def test_a_module_that_does_not_load_is_fetched_once(server: Server, tmp_path: Path) -> None:
    """What is there is what the server gives, so it is not damaged here."""
    toy = toy_backbone(tmp_path / "toy")
    (toy / "saved_model.pb").write_bytes(b"\xff" * 100)
    url = server.gives("/module", archive(folder=toy))
    for _ in range(3):
        refused("not a graph", "gives a module that cannot be loaded; to fetch it again, delete", url)
    assert len(server.asked) == 1
    (note,) = (tmp_path / "cache" / "tfhub").glob("*.kesikaran.json")
    assert json.loads(note.read_text()) == {"digest": backbone.digest(toy)}
    name = hashlib.sha1(url.encode()).hexdigest()
    assert (note.parent / f"{name}.descriptor.txt").read_text() == f"Module: {url}\n"


def test_the_time_for_a_call_is_more_than_a_large_network_takes() -> None:
    assert feature_vector.CALL_SECONDS + download.ANSWER_SECONDS <= 2 * MOST_SECONDS
