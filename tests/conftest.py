"""One cache and one store for the whole suite, so that no test touches the user's own.

Most tests run the real program in this process on made images and a toy backbone: the same path in a second.
"""

import hashlib
import io
import math
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import absl.logging
import numpy as np
import pandas as pd
import pytest
from PIL import Image

# Before anything of the package is imported: it reads the store's address once.
_ROOT = tempfile.TemporaryDirectory(prefix="kesikaran-tests-", ignore_cleanup_errors=True)
ROOT = Path(_ROOT.name)
# As core.process sets it at a start: on some processors it decides the last bits, and children would inherit it later.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
os.environ["KESIKARAN_CACHE"] = str(ROOT / "cache")
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{ROOT / 'mlflow.db'}"
for _name in ("TFHUB_CACHE_DIR", "TF_USE_LEGACY_KERAS", "KESIKARAN_GIT_COMMIT"):
    os.environ.pop(_name, None)
# absl's handler closes its stream when Hydra sets up logging anew, were it one of pytest's captures.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

# ---- the mark `tensorflow`, of every test that loads one of these, and what keeps it true

HEAVY = ("tensorflow", "tf_keras", "tensorflow_hub", "mlflow")
THEIR_FIXTURES = {"made", "client", "train"}
MARKED_MODULE = re.compile(r"^pytestmark = .*\bmark\.tensorflow\b", re.MULTILINE)


def quick(config: pytest.Config) -> bool:
    """Whether the marked tests are left out, as `make test-quick` does."""
    return bool(config.getoption("markexpr") == "not tensorflow")


class Refused:
    """A finder for `sys.meta_path` by which no test without the mark loads what the mark stands for."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name in HEAVY:
            raise ImportError(f"{name} is imported by a test without the mark: give it @pytest.mark.tensorflow")


def pytest_configure(config: pytest.Config) -> None:
    if quick(config):
        sys.meta_path.insert(0, Refused)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module that is marked as a whole may import TensorFlow on top: where its tests are left out, so is it."""
    if quick(config) and collection_path.suffix == ".py" and MARKED_MODULE.search(collection_path.read_text()):
        return True
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    if THEIR_FIXTURES & set(getattr(item, "fixturenames", ())):
        item.add_marker("tensorflow")


# Files that take longest, longest first: handed out last, one of them would be waited for alone.
LONGEST = [
    "demo",
    "train",
    "head_epoch",
    "launchers",
    "vectorized",
    "callback",
    "sweep_report",
    "bad_input",
    "evaluate",
    "extract",
    "compare",
    "publish",
    "page",
    "predict_command",
    "documents",
    "features_fill",
    "label_page",
    "model_template",
    "run_report",
    "gate",
    "efficientnet_lite0",
    "backbone",
    "runs",
    "queries",
    "packaging",
    "decisions",
    "paired",
    "label_file",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@contextmanager
def child(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block: an assertion that fails there must not wait for it."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def no_signal_stays() -> Iterator[None]:
    """A signal that a test raised and left on record would stop whatever the next tests of its process do."""
    yield
    terminal: Any = sys.modules.get("kesikaran.core.terminal")
    if terminal:
        left, terminal._stop_signal = terminal._stop_signal, None
        assert left is None, "put terminal._stop_signal back by monkeypatch, before the signal"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Done]]:
    """A program's `main` in this process, with the words of its command line."""
    from kesikaran.core import terminal

    before = {signum: signal.getsignal(signum) for signum in terminal.STOPS}

    def run(main: Callable[[], object], *words: object) -> Done:
        monkeypatch.setattr(terminal, "_stop_signal", None)  # as in a process of its own; put back afterwards
        monkeypatch.setattr(sys, "argv", [*map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            if isinstance(stop.code, str):  # the interpreter would print it
                print(stop.code, file=sys.stderr)
        return Done(code, *capsys.readouterr())

    yield run
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def train(
    run: Callable[..., Done], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """`python -m kesikaran.train WORDS`, of a code of the test's own: the tests share a store, and a sweep would find
    the jobs of another test finished."""
    from kesikaran import train as door
    from kesikaran.experiment import identity

    monkeypatch.setattr(identity, "code", lambda: request.node.nodeid)
    return lambda *words: run(door.main, "kesikaran-train", *words)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many heads each call of fit took."""
    from kesikaran.training import head_trainer

    sizes: list[int] = []
    fit = head_trainer.fit

    def counted(tasks: Any, *samples: Any) -> Any:
        sizes.append(len(tasks))
        return fit(tasks, *samples)

    monkeypatch.setattr(head_trainer, "fit", counted)
    return sizes


@pytest.fixture
def script(run: Callable[..., Done]) -> Callable[..., Done]:
    """`python scripts/NAME.py WORDS`."""

    def call(name: str, *words: object) -> Done:
        path = str(Path(__file__).parents[1] / "scripts" / f"{name}.py")
        return run(lambda: runpy.run_path(path, run_name="__main__"), path, *words)

    return call


@cache
def simulation() -> SimpleNamespace:
    """The names of scripts/simulate.py. What is true of a world, measured on a million images, is measured once for all
    worlds with the same share of label 1, since groups play no part in it."""
    names = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "simulate.py"))
    measured = cache(names["truth"])

    def truth(world: Any) -> dict[str, float]:
        zeros, ones = (1, 1) if world.groups else (world.zeros, world.ones)
        common = math.gcd(zeros, ones)
        alone = {"group": 1, "groups": 0, "alike": 0.0, "mixed": False, "fixed": True}
        alike = {"zeros": zeros // common, "ones": ones // common, **alone}
        return dict(measured(replace(world, **alike)))

    names["coverage"].__globals__["truth"] = names["truth"] = truth
    return SimpleNamespace(**names)


# `python -c HOST NAME WORDS`: training on a host of that name, as far as its runs know.
HOST = """
import platform, sys
from kesikaran.cli.train import main
name = sys.argv.pop(1)
platform.node = lambda: name
main()
"""


@dataclass(frozen=True)
class Made:
    """Made images: `label.csv`, the folder of images, and the words that train on them with a toy backbone."""

    labels: Path
    images: Path
    backbone: Path

    @property
    def words(self) -> list[str]:
        data = [f"data.labels={self.labels}", f"data.images={self.images}", "data.name=made"]
        backbone = [f"backbone.handle={self.backbone}", "backbone.image_size=32"]
        return ["data=label_csv", *data, *backbone, "fit.epochs=5", "optimizer.lr=0.3"]


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    """uint8 [height, width, 3] -> the bytes of a file of `kind`."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


def store(folder: Path, content: bytes, extension: str) -> str:
    """Write `content` under its SHA-1; returns the object id."""
    name = hashlib.sha1(content).hexdigest() + extension
    (folder / name).write_bytes(content)
    return name


def make_images(folder: Path, count: int, seed: int = 0) -> dict[str, int]:
    """Noise whose red differs a little by label: object id -> label, one in three of label 0. JPEG and PNG."""
    random = np.random.default_rng(seed)
    labels = {}
    for number in range(count):
        label = int(number % 3 > 0)
        height, width = random.integers(24, 60, 2)
        pixels = random.integers(0, 180, (height, width, 3))
        pixels[..., 0] += int(random.integers(0, 30) + 25 * label)
        kind, extension = (("PNG", ".png"), ("JPEG", ".jpg"))[number % 2]
        labels[store(folder, encoded(pixels.astype(np.uint8), kind), extension)] = label
    return labels


def write_labels(path: Path, labels: dict[str, int]) -> Path:
    path.write_text("objectId,value\n" + "".join(f"{name},{label}\n" for name, label in sorted(labels.items())))
    return path


_PIECES = (b"\n", b",", b'"', b"\0", b"\r", b"\xff", b"../", b"\xef\xbb\xbf", b"1e9", b"objectId", b";", b"\t", b"=cmd",
           b"\x1c", b"\x1b[31m", b"\xc2\xa0", b" ", b"\xe2\x80\xa8")  # fmt: skip


def mutated(table: str, count: int) -> Iterator[bytes]:
    """`count` CSV files, as other programs write `table` (BOM, CRLF, all in quotes, SHA-1s in upper case) and then
    damaged once or twice: bytes lost, put in, said twice or changed."""
    random = np.random.default_rng(0)
    quoted = "".join('"' + line.replace(",", '","') + '"\n' for line in table.splitlines())
    upper = re.sub("[0-9a-f]{40}", lambda found: found[0].upper(), table)
    written = [table, "\ufeff" + table, table.replace("\n", "\r\n"), quoted, upper]
    for number in range(count):
        content = bytearray(written[number % len(written)].encode())
        for _ in range(random.integers(1, 3)):
            at, length = int(random.integers(0, len(content) + 1)), int(random.integers(0, 30))
            match random.integers(0, 4):
                case 0:
                    del content[at : at + length]
                case 1:
                    content[at:at] = _PIECES[random.integers(0, len(_PIECES))]
                case 2:
                    content[at:at] = content[at : at + length]
                case _:
                    content[at : at + 1] = random.bytes(1)
        yield bytes(content)


def peak_bytes(anew: bool = False) -> int:
    """The most memory that this process has held, resident; `anew`: counted from here on.

    getrusage tells it too, but of a child it tells no less than what its parent held at the fork.
    """
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def one_line(message: str) -> bool:
    """Whether a message is one that a terminal may see."""
    return message.isprintable() and len(message) < 1000


def refused(says: str, call: Callable[..., object], *words: object) -> None:
    """`call(*words)` ends in an InputError of one line that holds `says`."""
    from kesikaran.core.errors import InputError

    with pytest.raises(InputError) as caught:
        call(*words)
    assert says in str(caught.value)
    assert one_line(str(caught.value))


def toy_backbone(folder: Path, width: int = 16, pool: bool = True, norm: bool = False) -> Path:
    """A seeded convolution as a SavedModel in the TF-Hub format; without `pool` it is no feature vector. norm: with a
    second convolution and BatchNorm after both."""
    import tf_keras

    layers = tf_keras.layers
    glorot = tf_keras.initializers.GlorotUniform(seed=3)
    stack: list[Any] = [tf_keras.Input((None, None, 3)), layers.Conv2D(width, 5, 2, kernel_initializer=glorot)]
    if norm:
        second = layers.Conv2D(width, 3, 2, kernel_initializer=tf_keras.initializers.GlorotUniform(seed=4))
        stack += [layers.BatchNormalization(), layers.ReLU(), second, layers.BatchNormalization()]
    stack += [layers.ReLU(), layers.GlobalAveragePooling2D()] if pool else []
    tf_keras.Sequential(stack).save(folder, save_format="tf")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """240 made images. Read only: tests that damage something copy it first."""
    root = tmp_path_factory.mktemp("made")
    (root / "images").mkdir()
    labels = write_labels(root / "label.csv", make_images(root / "images", 240))
    return Made(labels, root / "images", toy_backbone(root / "backbone"))


def sweep_of(
    logits: dict[str, np.ndarray],
    labels: np.ndarray,
    chosen: list[float],
    params: dict[str, str] | None = None,
    varies: str = "head.l2",
    **columns: Any,
) -> tuple[pd.DataFrame, Callable[[str], pd.DataFrame]]:
    """(the table of the jobs of a sweep as `queries.sweep_jobs` gives it, what reads the predictions of one of them).

    Each image is in test, and once more in validation.

    Args:
        logits: the name of a job -> its logits. chosen: the selection_log_loss of each job. varies: the setting
            that the jobs differ in, by their names. columns: of each image, such as its group.
    """
    n, tables, rows = len(labels), {}, []
    for (name, of_job), value in zip(logits.items(), chosen, strict=True):
        run_id = hashlib.md5(name.encode()).hexdigest()
        given = {"fit.monitor": "loss", "split.fold": "0", "evaluation.confidence": "0.95", varies: name}
        given |= {"evaluation.calibration_bins": "10"} | (params or {})
        rows.append(
            {"run_id": run_id, "name": name, "status": "FINISHED", "split_fingerprint": "s", "data_digest": "d"}
            | {"gate": None, "selection_shift": 0.0, f"overrides.{varies}": name}
            | {f"params.{key}": text for key, text in given.items()}
            | {f"metrics.validation/selection_log_loss{end}": value for end in ("", "_low", "_high")}
        )
        table = pd.DataFrame({"object_id": [f"{number:040x}.png" for number in range(n)], "label": labels})
        table = table.assign(logit=of_job, predicted=(of_job >= 0).astype(int), **columns)
        table = table.assign(probability=1 / (1 + np.exp(-table["logit"])))
        tables[run_id] = pd.concat([table.assign(split=side) for side in ("validation", "test")], ignore_index=True)
    return pd.DataFrame(rows), tables.__getitem__


@pytest.fixture(scope="session")
def client() -> Any:
    """MLflow's client of the suite's store."""
    from mlflow import MlflowClient

    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


@pytest.fixture
def runs(client: Any) -> Callable[[], list[Any]]:
    """The runs made since the test began, oldest first."""

    began_ms = int(time.time() * 1000)

    def since() -> list[Any]:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        ours = f"attributes.start_time >= {began_ms}"  # the whole store would take seconds to read
        return list(client.search_runs(experiments, ours, order_by=["attributes.start_time ASC"]))

    return since
