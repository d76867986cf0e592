"""A module is downloaded once, or one line says the way out. No network but loopback."""

import gc
import hashlib
import io
import shutil
import socket
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Made, toy_backbone

from kesikaran.core.errors import InputError
from kesikaran.models import backbone, hub

# tensorflow_hub leaves the socket of a failed request to the garbage collector.
of_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
pytestmark = [pytest.mark.tensorflow, of_sockets]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    backbone.load.cache_clear()
    yield
    gc.collect()  # here, where the mark above holds


@dataclass
class Hub:
    """A server of the hub's compressed protocol: a redirect, then a tar.gz of the SavedModel."""

    url: str
    asked: list[str] = field(default_factory=list)
    module: bytes = b""


@pytest.fixture
def hub_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            if self.path == "/kesikaran/b0/feature-vector/1?tf-hub-format=compressed":
                self.send_response(302)
                self.send_header("Location", "/storage/b0.tar.gz")
                self.end_headers()
            elif self.path == "/storage/b0.tar.gz":
                self.send_response(200)
                self.send_header("Content-Length", str(len(served.module)))
                self.end_headers()
                self.wfile.write(served.module)
            else:
                self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/kesikaran/b0/feature-vector/1"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "tfhub"))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def compressed(folder: Path) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    return sink.getvalue()


@pytest.fixture(scope="session")
def b0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-B0's architecture in hub format, inputs in [0, 1], with seeded weights: no weights are at hand."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    net = tf_keras.applications.EfficientNetB0(include_top=False, weights=None, pooling="avg")
    layers = [tf_keras.Input((None, None, 3)), tf_keras.layers.Rescaling(255.0), net]
    folder = tmp_path_factory.mktemp("hub") / "b0"
    tf_keras.Sequential(layers).save(folder, save_format="tf")
    return folder


def test_the_main_job_on_a_hub_url(
    hub_server: Hub, b0: Path, train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]
) -> None:
    hub_server.module = compressed(b0)
    words = [word for word in made.words if not word.startswith("backbone.")]
    article = ["experiment=article", *words[1:], f"backbone.handle={hub_server.url}", "backbone.image_size=64"]
    done = train(*article, "fit.epochs=2", "data.limit=150")
    assert done.code == 0, done.err
    assert hub_server.asked == ["/kesikaran/b0/feature-vector/1?tf-hub-format=compressed", "/storage/b0.tar.gz"]
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["backbone.handle"] == hub_server.url
    assert run.data.tags["backbone_digest"] == backbone.digest(b0), "the digest is of the files, not of the URL"
    assert backbone.load(hub_server.url, 64).width == 1280

    backbone.load.cache_clear()  # as a new process would
    assert backbone.load(hub_server.url, 64).width == 1280
    assert len(hub_server.asked) == 2, "the download is kept"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return toy_backbone(tmp_path / "toy")


def test_a_half_written_module_is_fetched_again(hub_server: Hub, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub_server.module = compressed(toy)
    first = backbone.load(hub_server.url, 32)
    (cached,) = (path.parent for path in (toy.parent / "tfhub").glob("*/saved_model.pb"))
    for damage in (
        lambda: (cached / "saved_model.pb").unlink(),
        lambda: shutil.rmtree(cached / "variables"),
        lambda: (cached / "saved_model.pb").write_bytes((toy / "saved_model.pb").read_bytes()[:500]),
        lambda: next((cached / "variables").glob("*.data*")).write_bytes(b""),
    ):
        damage()
        backbone.load.cache_clear()
        asked = len(hub_server.asked)
        again = backbone.load(hub_server.url, 32)
        assert len(hub_server.asked) == asked + 2
        assert again.digest == first.digest
        assert "fetching it again" in capsys.readouterr().out


def test_a_broken_download_is_one_line_and_poisons_nothing(hub_server: Hub, toy: Path) -> None:
    hub_server.module = compressed(toy)[:-200]
    with pytest.raises(InputError, match=r"gives no module that can be used: the archive is damaged"):
        backbone.load(hub_server.url, 32)
    hub_server.module = compressed(toy)
    assert backbone.load(hub_server.url, 32).width == 16


def test_a_handle_that_does_not_exist(hub_server: Hub) -> None:
    with pytest.raises(InputError, match=r"feature-vector/2 could not be fetched \(.*404") as caught:
        backbone.load(hub_server.url.removesuffix("1") + "2", 32)
    assert "\n" not in str(caught.value)


def test_offline_names_the_handle_and_the_remedies(
    train: Callable[..., Done], made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    with socket.socket() as unused:  # bound and not listening: refused at once
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/b0/1"
        done = train(*made.words, f"backbone.handle={url}")
    assert done.code == 1
    (line,) = (line for line in done.err.splitlines() if line.startswith("error: "))
    for part in (url, "Offline?", f"into {tmp_path}/", "SavedModel folder", "backbone=efficientnet_lite0"):
        assert part in line


def test_a_seeded_cache_needs_no_network(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy that the line above names."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "seeded"))
    url = "https://127.0.0.1:1/never/asked"
    with pytest.raises(InputError) as caught:
        backbone.load(url, 32)
    place = Path(str(caught.value).split("module into ")[1].split(",")[0])
    shutil.copytree(toy, place)
    assert backbone.load(url, 32).digest == backbone.digest(toy)


def test_what_cannot_be_fetched_again_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    url = "https://127.0.0.1:1/never/asked"
    seeded = tmp_path / hashlib.sha1(url.encode()).hexdigest()
    seeded.mkdir()
    (seeded / "saved_model.pb").write_bytes(b"of a newer TensorFlow, say")
    with pytest.raises(InputError, match="could not be fetched"):
        backbone.load(url, 32)
    assert (seeded / "saved_model.pb").read_bytes() == b"of a newer TensorFlow, say"


def test_a_network_without_encryption_is_refused() -> None:
    """A SavedModel is a program: who can change it on its way can read files here."""
    with pytest.raises(InputError, match="give it as https://"):
        backbone.load("http://example.com/module/1", 32)


def test_what_the_library_writes_at_its_import_is_kept_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = "import os", "os.write(2, b'pkg_resources is deprecated')", "KerasLayer = lambda *_, **__: 'the layer'"
    (tmp_path / "tensorflow_hub.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow_hub", raising=False)
    assert hub.load_layer.__wrapped__("handle", tmp_path, "digest") == "the layer"
    assert capfd.readouterr() == ("", "")
