"""What kesikaran is worth, each figure against its peer on the same images: `make bench`."""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import itertools
import json
import math
import multiprocessing
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from kesikaran.core import files, paths, process, terminal
from kesikaran.core.errors import InputError

BATCH = 32  # images a forward pass and rows a step, everywhere
DROPOUTS, RATES = (0.0, 0.1, 0.3, 0.5), (1e-4, 3e-4, 1e-3, 3e-3)
ANEW = "sweep.resume=false"  # a sweep whose jobs are all trained, whatever this store has finished
IMPORTS = "import tensorflow, mlflow, hydra"
LIBRARIES = ("kesikaran", "tensorflow", "tf_keras", "tensorflow-hub", "openvino", "scikit-learn", "numpy", "mlflow",
             "hydra-core", "pyarrow")  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is measured.

    images: made-up JPEGs; None: the demo's own 2,624 photographs.
    kill_images: a subset of them, whose pass is killed `kills` times. Whole batches and one image: of all batches that
        are not full, one of a single image is the likeliest to get other bits.
    rows, width, epochs: of the made-up features of the head's epoch.
    memory_images: how many have made-up features, few and many; None: not measured.
    """

    rounds: int
    images: int | None = None
    kills: int = 5
    kill_images: int = 10 * BATCH + 1
    rows: int = 19658
    width: int = 1280
    epochs: int = 6
    memory_images: tuple[int, int] | None = None
    predicted: tuple[int, int] = (500, 2000)  # made-up JPEGs that `predict` judges, few and many


SIZES = {"demo": Size(rounds=2), "article": Size(rounds=3, images=22640, kills=50, memory_images=(10**4, 10**6),
                         predicted=(1000, 20000))}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A figure and its peer, a value a round; both in `unit`.

    goal: of the ratio, the least (`at_least`) or the most; None: the figure is only shown. The ratio is figure / peer,
        but of seconds of which few are wanted peer / figure: how many times quicker.
    """

    name: str
    values: list[float]
    against: str
    against_values: list[float]
    goal: float | None
    at_least: bool = True
    unit: str = "s"

    def row(self) -> dict[str, Any]:
        """As it is written; `ratio` is of the medians, `low` and `high` are the least and the most of the rounds."""
        mine, other = statistics.median(self.values), statistics.median(self.against_values)
        above, below = (other, mine) if self.at_least and self.unit == "s" else (mine, other)
        ratio = above / below if below else math.inf
        reached = None if self.goal is None else ratio >= self.goal if self.at_least else ratio <= self.goal
        return {
            "measure": self.name, "unit": self.unit, "rounds": len(self.values),
            "median": mine, "low": min(self.values), "high": max(self.values), "against": self.against,
            "against_median": other, "against_low": min(self.against_values), "against_high": max(self.against_values),
            "ratio": ratio, "goal": self.goal, "at_least": self.at_least, "reached": reached,
        }  # fmt: skip


@dataclass
class Place:
    """A cache and a store of runs of the benchmark's own, and the words that train on its images."""

    root: Path
    words: list[str]
    filled: bool = False

    def train(self, *words: str) -> float:
        """`python -m kesikaran.train WORDS` as a process of its own; its seconds."""
        return self.timed("-m", "kesikaran.train", *words, *self.words)

    def timed(self, *words: str) -> float:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, *words], cwd=self.root, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"python {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return seconds

    def fill(self) -> None:
        """One run: from now on the features and the export template are cached."""
        if not self.filled:
            say("a first run, which fills the cache")
            self.train()
            self.filled = True

    def experiment(self, *words: str) -> Any:
        """The `config.Experiment` of its words and these."""
        import hydra
        from hydra.core.config_store import ConfigStore

        from kesikaran.config import compose, schema

        ConfigStore.instance().store(name="schema", node=schema.Experiment)
        with hydra.initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
            return compose.parse(hydra.compose("config", [*self.words, *words]))


def main() -> None:
    """The command line. Exit codes: 0 done, also where a goal is missed; 1 an error; 128 + a signal's number."""
    shown = "\n".join(f"  {name:8} {(function.__doc__ or '').splitlines()[0]}" for name, function in FIGURES.items())
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure kesikaran on this machine, each figure against its peer in the same run, round by round,\n"
        "and write benchmark.md, benchmark.json and benchmark.png. Nothing else should\n"
        "run meanwhile. It works in a temporary cache and store: your runs and features are not touched.",
        epilog=f"figures:\n{shown}",
    )  # fmt: skip
    parser.add_argument("--size", choices=SIZES, default="demo", help="demo: ten minutes on two cores; article: 22,640 "
                        "generated JPEGs, 50 kills and a million features, hours; default: %(default)s")  # fmt: skip
    parser.add_argument("--only", choices=FIGURES, action="append", metavar="NAME", help="one figure; may be repeated")
    parser.add_argument("--rounds", type=int, help="of each figure; default: 2 at demo, 3 at article")
    parser.add_argument("--out", type=Path, default=paths.cache_dir() / "benchmark", metavar="FOLDER",
                        help="default: %(default)s")  # fmt: skip
    words = parser.parse_args()
    process.start()
    try:
        if words.rounds is not None and words.rounds < 1:
            raise InputError(f"--rounds {words.rounds} is not allowed: 1 or more")
        files.writable(words.out, "folder of --out", "give another as --out FOLDER")
        size = dataclasses.replace(SIZES[words.size], **({"rounds": words.rounds} if words.rounds else {}))
        rows: list[dict[str, Any]] = []
        with working_place(size) as place:
            for name in words.only or FIGURES:
                rows += [measure.row() for measure in FIGURES[name](place, size)]
        write(rows, machine(words.size), words.out)
    except InputError as error:
        sys.exit(f"error: {error}")
    print((words.out / "benchmark.md").read_text())
    print(f"Written to {words.out}")


def say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def working_place(size: Size) -> Iterator[Place]:
    """A temporary folder; in it a cache that borrows the user's backbone and demo images where they are there."""
    users = paths.cache_dir()
    with tempfile.TemporaryDirectory(prefix="kesikaran-benchmark-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        with using(root / "cache"), environment(MLFLOW_TRACKING_URI=f"sqlite:///{root / 'mlflow.db'}"):
            if (users / "backbones").is_dir():
                shutil.copytree(users / "backbones", root / "cache" / "backbones")
            if size.images is None:
                if (users / "elpv").is_dir():
                    (root / "cache" / "elpv").symlink_to(users / "elpv")
                yield Place(root, [])
            else:
                say(f"making {size.images} JPEGs")
                yield Place(root, made_up(root, size.images))


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def using(cache: Path) -> contextlib.AbstractContextManager[None]:
    """Within it `cache` is the cache folder, also of child processes."""
    cache.mkdir(exist_ok=True)
    return environment(KESIKARAN_CACHE=str(cache))


def made_up(root: Path, count: int) -> list[str]:
    """`count` JPEGs of clouds, 300 px square, one in three brighter; the words that train on them."""
    from PIL import Image

    images = root / "images"
    images.mkdir()
    draw = np.random.default_rng(0)
    lines = ["objectId,value"]
    for number in range(count):
        label = int(number % 3 == 0)
        coarse = Image.fromarray(draw.integers(30 * label, 256, (24, 24, 3), dtype=np.uint8))
        grain = draw.integers(-12, 13, (300, 300, 1), dtype=np.int16)
        pixels = np.asarray(coarse.resize((300, 300), Image.Resampling.BICUBIC)) + grain
        sink = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=90)
        name = f"{hashlib.sha1(sink.getvalue(), usedforsecurity=False).hexdigest()}.jpg"
        (images / name).write_bytes(sink.getvalue())
        lines.append(f"{name},{label}")
    labels = root / "label.csv"
    labels.write_text("\n".join(lines) + "\n")
    return ["data=label_csv", f"data.labels={labels}", f"data.images={images}", "data.name=benchmark"]


def inputs(place: Place) -> tuple[Any, Path, Any]:
    """(table of labels, folder of images, backbone) of the place's experiment."""
    with terminal.quiet_start():
        from kesikaran.data import data_source, label_file
        from kesikaran.models import backbone

    experiment = place.experiment()
    labels, images = data_source.locate(experiment.data)
    net = backbone.load(experiment.backbone.handle, experiment.backbone.image_size)
    return label_file.read_labels(labels).table, images, net


def trainings(place: Place, dropouts: tuple[float, ...], rates: tuple[float, ...]) -> Callable[[], list[Any]]:
    """A function that makes the trainings of a sweep anew: a head of fresh weights for each of the settings."""
    table, images, net = inputs(place)
    from kesikaran.data import split
    from kesikaran.data.object_store import objects
    from kesikaran.features.extract import FeatureCache
    from kesikaran.models.head import first_weights
    from kesikaran.training import imbalance
    from kesikaran.training.losses import Loss
    from kesikaran.training.task import FeatureRows, HeadTask, TrainingJob

    e = place.experiment()
    found = FeatureCache().extract(list(table["object_id"]), objects(images), net, e.backbone, e.data.max_megapixels)
    table = split.apply(e.split, table, None)
    every = FeatureRows(found.matrix, table["label"].to_numpy())
    train, validation = (split.rows(table, side) for side in ("train", "validation"))
    shift = imbalance.prior_shift(every.labels[train], every.labels[validation], e.imbalance)

    def make() -> list[Any]:
        made = []
        for dropout, rate in itertools.product(dropouts, rates):
            head = dataclasses.replace(e.head, dropout=dropout)
            optimizer = dataclasses.replace(e.optimizer, lr=rate)
            weights = first_weights(net.width, head, e.seed)
            task = HeadTask(weights, head, optimizer, e.fit, Loss(), e.seed, lambda epoch, metrics: None, shift)
            made.append(TrainingJob(task, every, train, validation))
        return made

    return make


def trained(trainings: list[Any], together: bool) -> tuple[float, list[Any]]:
    """Train, all as one or one after another, compilation included; (seconds, the result of each)."""
    from kesikaran.experiment.job import fit
    from kesikaran.training import head_epoch

    head_epoch.program.cache_clear()
    began = time.perf_counter()
    groups = [trainings] if together else [[one] for one in trainings]
    outcomes = [outcome for group in groups for outcome in fit(group)]
    seconds = time.perf_counter() - began
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return seconds, outcomes


def untuned(data: Any) -> Any:
    """A tf.data.Dataset without autotuning, which can hold its end up: an epoch of 30 s to 41 or 82.

    Its thread looks at doubled intervals, 0.01 s at first, and a dataset that is done waits for its next look.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def keras_epochs(place: Place, rounds: int) -> list[float]:
    """Seconds of an epoch of the plain Keras loop: images from the disk, through the frozen layer, into the head."""
    import tensorflow as tf
    import tf_keras

    from kesikaran.data import preprocess, split

    e = place.experiment()
    table, folder, net = inputs(place)
    table = split.apply(e.split, table, None)

    def batches(side: str) -> Any:
        rows = table[table["split"] == side]
        data = tf.data.Dataset.from_tensor_slices(([str(folder / name) for name in rows["object_id"]], rows["label"]))
        if side == "train":
            data = data.shuffle(len(rows))
        data = data.map(lambda path, label: (decoded(path), label), num_parallel_calls=os.cpu_count())
        return untuned(data.batch(e.fit.batch_size).prefetch(2))

    def decoded(path: Any) -> Any:
        return preprocess.resize(preprocess.decode(tf.io.read_file(path), e.backbone), e.backbone)

    layers = [tf_keras.Input((e.backbone.image_size, e.backbone.image_size, 3)), net.layer]
    network = tf_keras.Sequential([*layers, tf_keras.layers.Dropout(0.1), tf_keras.layers.Dense(1)])
    network.compile("adam", tf_keras.losses.BinaryCrossentropy(from_logits=True))
    train, validation = batches("train"), batches("validation")
    network.fit(train.take(1), validation_data=validation.take(1), verbose=0)  # traces
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        network.fit(train, validation_data=validation, verbose=0)
        seconds.append(time.perf_counter() - began)
    return seconds


def sweep(place: Place, size: Size) -> list[Measure]:
    """16 jobs, one after another and as one model, against the plain Keras loop"""
    place.fill()
    grid = [f"head.dropout={','.join(map(str, DROPOUTS))}", f"optimizer.lr={','.join(map(str, RATES))}"]
    whole: dict[str, list[float]] = {"in_turn": [], "vectorized": []}
    for number in range(size.rounds):
        for launcher, seconds in whole.items():
            say(f"sweep of 16 jobs, launcher {launcher}, round {number + 1}")
            seconds.append(place.train("-m", f"hydra/launcher={launcher}", ANEW, *grid))
    say("sweep, the training part")
    make = trainings(place, DROPOUTS, RATES)
    parts: dict[bool, list[float]] = {False: [], True: []}
    for together in [False, True] * size.rounds:
        part, results = trained(make(), together)
        parts[together].append(part)
    epochs = sum(result.epochs for result in results)
    say("an epoch of the plain Keras loop")
    # Its spread is small, an epoch of it long.
    keras = [epoch * epochs for epoch in keras_epochs(place, min(2, size.rounds))]
    peer = f"plain Keras loop: an epoch of one job x {epochs}, the epochs that the 16 jobs ran"
    return [
        Measure("sweep of 16 jobs, whole process", whole["in_turn"], peer, keras, 100),
        Measure("the same, vectorized", whole["vectorized"], peer, keras, 2500),
        Measure("its training part, vectorized", parts[True], "one job after another", parts[False], 8),
    ]


def jobs(place: Place, size: Size) -> list[Measure]:
    """the training part of 100 jobs against that of 10, both as one model"""
    place.fill()
    say("100 jobs and 10")
    few = trainings(place, (0.1, 0.4), tuple(np.geomspace(1e-4, 3e-3, 5)))
    many = trainings(place, tuple(np.linspace(0.05, 0.5, 10)), tuple(np.geomspace(1e-4, 3e-3, 10)))
    seconds: dict[str, list[float]] = {"few": [], "many": []}
    for _ in range(size.rounds):
        seconds["few"].append(trained(few(), together=True)[0])
        seconds["many"].append(trained(many(), together=True)[0])
    return [Measure("100 jobs, training part", seconds["many"], "10 jobs", seconds["few"], 3, at_least=False)]


def price(place: Place, size: Size) -> list[Measure]:
    """whole sweeps of 100 jobs against one cached run, and their disk"""
    place.fill()
    dropouts, rates = np.linspace(0.05, 0.5, 10).round(3), np.geomspace(1e-4, 3e-3, 10).round(6)
    grid = [f"head.dropout={','.join(map(str, dropouts))}", f"optimizer.lr={','.join(map(str, rates))}"]
    whole: dict[str, list[float]] = {"vectorized": [], "in turn": []}
    one, disk_bytes = [], []
    for number in range(size.rounds):
        say(f"one cached run and 100 jobs, round {number + 1}")
        one.append(place.train())
        before = store_bytes(place)
        whole["vectorized"].append(place.train("-m", "hydra/launcher=vectorized", ANEW, *grid))
        disk_bytes.append(store_bytes(place) - before)
        whole["in turn"].append(place.train("-m", "hydra/launcher=in_turn", ANEW, *grid))
    peer = "one cached run"
    return [
        Measure("100 jobs, vectorized, whole process", whole["vectorized"], peer, one, 4, at_least=False),
        Measure("100 jobs, one after the other, whole process", whole["in turn"], peer, one, 10, at_least=False),
        Measure("disk of 100 jobs with their models", [each / 1e6 for each in disk_bytes], "1 MB a job", [100.0], 1,
                at_least=False, unit="MB"),
    ]  # fmt: skip


def store_bytes(place: Place) -> int:
    """What the store of runs takes on the disk. A file with several names counts once, and one that the cache has too
    counts nothing."""
    sizes = {}
    for path in (place.root / "mlflow.db", *(place.root / "mlruns").rglob("*")):
        found = path.lstat()
        sizes[found.st_ino] = 512 * found.st_blocks
    for path in (place.root / "cache" / "models").rglob("*"):
        sizes.pop(path.lstat().st_ino, None)
    return sum(sizes.values())


def resume(place: Place, size: Size) -> list[Measure]:
    """a sweep of 16 jobs that are all finished, started again, against the imports alone, both as whole processes"""
    place.fill()
    grid = [f"head.dropout={','.join(map(str, DROPOUTS))}", f"optimizer.lr={','.join(map(str, RATES))}"]
    say("a sweep of 16 jobs, which is then started again")
    place.train("-m", "hydra/launcher=vectorized", *grid)
    again, imports = [], []
    for number in range(size.rounds):
        say(f"the sweep again and the imports alone, round {number + 1}")
        imports.append(place.timed("-c", IMPORTS))
        again.append(place.train("-m", "hydra/launcher=vectorized", *grid))
    peer = f'python -c "{IMPORTS}"'
    return [Measure("a finished sweep of 16 jobs, started again", again, peer, imports, 1.5, at_least=False)]


def passes(place: Place, size: Size) -> list[Measure]:
    """a cold pass against its physical limits, between the engines, and 1 % more images"""
    import tensorflow as tf

    from kesikaran.data import preprocess
    from kesikaran.data.object_store import objects
    from kesikaran.features import engines, extract
    from kesikaran.features.extract import FeatureCache
    from kesikaran.features.shards import Shards

    table, folder, net = inputs(place)
    ids = list(table["object_id"])
    configs = {"tensorflow": place.experiment().backbone}
    if importlib.util.find_spec("openvino"):
        for precision in ("float32", "bfloat16"):
            words = ("backbone.engine=openvino", f"backbone.precision={precision}")
            configs[f"openvino {precision}"] = place.experiment(*words).backbone
    else:
        say("openvino is not installed: its figures are left out")
    plain = configs["tensorflow"]

    def decoded(path: Any) -> Any:
        return preprocess.resize(preprocess.decode(tf.io.read_file(path), plain), plain)

    data = tf.data.Dataset.from_tensor_slices([str(folder / name) for name in ids])
    data = untuned(data.map(decoded, num_parallel_calls=os.cpu_count()).batch(BATCH).prefetch(2))
    batch = next(iter(data))
    net.layer(batch)  # loaded and traced

    def extracted(names: list[str], cache: Path, config: Any) -> float:
        with using(cache):
            began = time.perf_counter()
            FeatureCache().extract(names, objects(folder), net, config, max_megapixels=math.inf)
            return time.perf_counter() - began

    def decode_seconds() -> float:
        began = time.perf_counter()
        for _ in data:
            pass
        return time.perf_counter() - began

    computes = {name: engines.forward(net, config, BATCH) for name, config in configs.items()}
    few = min(20, len(ids) // BATCH)

    def forward_seconds(name: str) -> float:
        began = time.perf_counter()
        for _ in range(few):
            computes[name](batch)
        return (time.perf_counter() - began) * len(ids) / (few * BATCH)

    for compute in computes.values():
        compute(batch)
    cold: dict[str, list[float]] = {name: [] for name in configs}
    start: dict[str, list[float]] = {name: [] for name in configs}
    limit: dict[str, list[float]] = {name: [] for name in configs}
    more: list[float] = []
    decodes = [decode_seconds()]
    for number in range(size.rounds):
        for name, config in configs.items():
            say(f"{name}: decode only, forward only and cold pass, round {number + 1}")
            # Before and after the pass, for a machine that does not stay as quick as it was
            before = forward_seconds(name)
            start[name].append(extracted(ids[:BATCH], place.root / f"start {name} {number}", config))
            cold[name].append(extracted(ids, place.root / f"cold {name} {number}", config))
            forward_only = (before + forward_seconds(name)) / 2
            decodes.append(decode_seconds())
            limit[name].append(forward_only + statistics.mean(decodes[-2:]))
        grown = place.root / f"grown {number}"
        left_out = set(random.Random(number).sample(ids, len(ids) // 100))  # noqa: S311 - no secret
        full, kept = place.root / f"cold tensorflow {number}", keys([name for name in ids if name not in left_out])
        matrix = np.empty((len(kept), net.width), np.float32)
        stores = [cache / "features" / extract.cache_key(net, plain) for cache in (full, grown)]
        stores[1].mkdir(parents=True)
        Shards(stores[0]).gather(kept, matrix)
        Shards(stores[1]).append(dict(zip(kept, matrix, strict=True)))
        seconds = extracted(ids, grown, plain)
        more.append(seconds - extracted(ids, full, plain))

    def rates(images: int, of: dict[str, list[float]]) -> dict[str, list[float]]:
        return {name: [images / seconds for seconds in each] for name, each in of.items()}

    # Without its first batch, and so without the start of the engine, which has a row of its own
    beyond = {name: np.subtract(cold[name], start[name]).tolist() for name in configs}
    marginal, whole, limits = rates(len(ids) - BATCH, beyond), rates(len(ids), cold), rates(len(ids), limit)
    why = "1/(1/decode-only + 1/forward-only), same engine"
    measures = [
        Measure(f"cold pass, {name}, after its first batch", marginal[name], why, limits[name], 0.95, unit="images/s")
        for name in configs
    ]
    for name in configs:
        measures.append(Measure(f"first batch with the start of {name}", start[name], "the whole pass", cold[name],
                                None, at_least=False))  # fmt: skip
    for name in list(configs)[1:]:
        goal = 1.5 if "bfloat16" in name else None
        measures.append(Measure(f"whole pass, {name}", whole[name], "whole pass, tensorflow", whole["tensorflow"], goal,
                                unit="images/s"))  # fmt: skip
    added = f"adding {len(ids) // 100} images, beyond a pass that finds all cached"
    return [*measures, Measure(added, more, f"pass of all {len(ids)}", cold["tensorflow"], 0.02, at_least=False)]


def predict(place: Place, size: Size) -> list[Measure]:
    """kesikaran predict against its physical limits, its peak memory, and the same call again"""
    import tensorflow as tf

    from kesikaran.data import preprocess

    place.train("tracking.run_name=predicting")
    _, _, net = inputs(place)
    few, many = size.predicted
    root = place.root / "predicted"
    root.mkdir()
    say(f"making {many} JPEGs")
    made_up(root, many)
    paths_of = sorted((root / "images").iterdir())
    part = root / "part"
    part.mkdir()
    for path in paths_of[:few]:
        os.link(path, part / path.name)
    plain = place.experiment().backbone

    def decoded(path: Any) -> Any:
        return preprocess.resize(preprocess.decode(tf.io.read_file(path), plain), plain)

    data = tf.data.Dataset.from_tensor_slices([str(path) for path in paths_of[:few]])
    data = untuned(data.map(decoded, num_parallel_calls=os.cpu_count()).batch(BATCH).prefetch(2))
    batch = next(iter(data))
    net.layer(batch)

    def limit() -> float:
        """Images a second of decoding and of the forward pass together, each alone on all cores."""
        began = time.perf_counter()
        for _ in data:
            pass
        decoding = (time.perf_counter() - began) / few
        began = time.perf_counter()
        for _ in range(few // BATCH):
            net.layer(batch)
        return 1 / (decoding + (time.perf_counter() - began) / (few // BATCH * BATCH))

    rates: list[float] = []
    limits: list[float] = []
    again: list[float] = []
    whole: list[float] = []
    peaks: dict[int, list[float]] = {few: [], many: []}
    for number in range(size.rounds):
        say(f"predict of {few} and {many} images, round {number + 1}")
        before = limit()
        with using(place.root / f"predict few {number}"):
            small, peak = judged(place, part)
            peaks[few].append(peak)
        with using(place.root / f"predict many {number}"):
            seconds, peak = judged(place, root / "images")
            peaks[many].append(peak)
            again.append(judged(place, root / "images")[0])
        whole.append(seconds)
        rates.append((many - few) / (seconds - small))  # without the start, which both have
        limits.append((before + limit()) / 2)
    why = "1/(decode-only + forward-only)"
    return [
        Measure(f"predict, {many} images", rates, why, limits, 0.9, unit="images/s"),
        Measure(f"peak memory, {many} images", peaks[many], f"{few} images", peaks[few], 1.2, False, unit="MB"),
        Measure("the same call again", again, "the first", whole, 0.3, at_least=False),
    ]


def judged(place: Place, images: Path) -> tuple[float, float]:
    """(the seconds of `kesikaran predict`, its peak memory in MB)"""
    out = place.root / "predictions.parquet"
    command = [sys.executable, "-m", "kesikaran", "predict", "predicting", str(images), "--out", str(out), "--force"]
    began = time.perf_counter()
    with (place.root / "predict.log").open("w") as log:
        process_id = os.posix_spawn(sys.executable, command, os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)])  # fmt: skip
        _, status, usage = os.wait4(process_id, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended badly:\n{(place.root / 'predict.log').read_text()}")
    return time.perf_counter() - began, usage.ru_maxrss / 1000


def keys(names: list[str]) -> list[bytes]:
    from kesikaran.data.object_store import sha1_of

    return [bytes.fromhex(sha1_of(name)) for name in names]


def epoch(place: Place, size: Size) -> list[Measure]:
    """an epoch of the head at the article's size against Keras fit; its whole fit against LogisticRegression"""
    import tf_keras
    from sklearn.linear_model import LogisticRegression

    from kesikaran.models.head import build_head, first_weights
    from kesikaran.training import head_trainer
    from kesikaran.training.losses import Loss
    from kesikaran.training.task import HeadTask

    say(f"the head on {size.rows} x {size.width} made-up features")
    e = place.experiment()
    train, validation = planted(size.rows, size.width), planted(size.rows // 8, size.width)
    stamps: list[float] = []

    def task(fit: Any) -> Any:
        def on_epoch(*_: object) -> None:
            stamps.append(time.perf_counter())

        return HeadTask(first_weights(size.width, e.head, e.seed), e.head, e.optimizer, fit, Loss(), e.seed, on_epoch)

    def laps() -> list[float]:
        """Seconds between the stamps: all epochs but the first, which compiles."""
        seconds = np.diff(stamps).tolist()
        stamps.clear()
        return seconds

    head_trainer.fit([task(dataclasses.replace(e.fit, epochs=size.epochs, patience=None))], train, validation)
    ours = laps()
    network = build_head(size.width, e.head, e.seed)
    network.compile("adam", tf_keras.losses.BinaryCrossentropy(from_logits=True))
    stamp = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: stamps.append(time.perf_counter()))
    network.fit(train.features, train.labels, e.fit.batch_size, epochs=size.epochs, verbose=0, callbacks=[stamp],
                validation_data=(validation.features, validation.labels))  # fmt: skip
    keras = laps()
    say("the head's whole fit and LogisticRegression")
    whole, regression = [], []
    for _ in range(size.rounds):
        began = time.perf_counter()
        head_trainer.fit([task(e.fit)], train, validation)
        whole.append(time.perf_counter() - began)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged after its 100 iterations
            began = time.perf_counter()
            LogisticRegression().fit(train.features, train.labels)
            regression.append(time.perf_counter() - began)
    shape = f"{size.rows} x {size.width}"
    return [
        Measure(f"an epoch of the head, {shape}, batch {e.fit.batch_size}", ours, "Keras fit, an epoch", keras, 10),
        Measure("its whole fit with early stopping", whole, "scikit-learn's LogisticRegression", regression, None),
    ]


def finetune(place: Place, size: Size) -> list[Measure]:
    """a step of fine-tuning against the forward pass; an epoch, from memory and from the disk, against its steps"""
    import tensorflow as tf

    from kesikaran.config.schema import Monitor
    from kesikaran.data.object_store import objects
    from kesikaran.data.pipeline import ImageRows
    from kesikaran.models.head import first_weights
    from kesikaran.models.network import Network
    from kesikaran.training import finetune, layer_decay
    from kesikaran.training.checkpoint import Checkpoint
    from kesikaran.training.losses import Loss
    from kesikaran.training.task import TuningTask

    e = place.experiment(
        "finetune=probe_then_all", f"finetune.epochs={size.rounds + 1}", f"finetune.batch_size={BATCH}"
    )
    table, folder, net = inputs(place)
    labels, count = table["label"].to_numpy(), 40 * BATCH
    names, files_of = list(table["object_id"])[: count + BATCH], objects(folder)
    network, start = Network(net, e.head), first_weights(net.width, e.head, e.seed)
    stamps: list[float] = []

    def images() -> ImageRows:
        return ImageRows(names, [files_of[name] for name in names], e.backbone, e.data.max_megapixels)

    def epochs(rows: ImageRows) -> list[float]:
        """Images a second of each epoch but the first, which compiles; with its validation and its checkpoint."""
        stamps.clear()
        note = Checkpoint(place.root / "checkpoint" / "checkpoint.npz", "benchmark")
        everything = np.arange(count + BATCH)
        train, validation = everything[:count], everything[count:]
        finetune.tune(TuningTask(
            network, e.finetune, Monitor.loss, Loss(), e.seed, rows, labels, train, validation, 0.0, start, start,
            np.zeros(BATCH, np.float32), lambda epoch, metrics: stamps.append(time.perf_counter()), 1, note,
        ))  # fmt: skip
        note.remove()
        return (count / np.diff(stamps)).tolist()

    kept = images()
    kept.keep()
    say("epochs of fine-tuning")
    from_memory, from_disk = epochs(kept), epochs(images())
    say("its step and the forward pass")
    _, batch = next(iter(kept.batches(np.arange(BATCH), BATCH)))
    targets = tf.constant(labels[:BATCH, None], tf.float32)
    trained = network.trained(e.finetune)
    variables, optimizer = [variable for variable, _ in trained], layer_decay.optimizer(e.finetune, trained)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network.head(network.features(batch, training=False), training=False)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    @tf.function
    def forward() -> tf.Tensor:
        return net.layer(batch)

    def rates(one: Callable[[], Any]) -> list[float]:
        one()
        found = []
        for _ in range(size.rounds):
            began = time.perf_counter()
            for _ in range(10):
                one().numpy()
            found.append(10 * BATCH / (time.perf_counter() - began))
        return found

    steps, passes = rates(step), rates(forward)
    unit = "images/s"
    return [
        Measure("a step of fine-tuning", steps, "the forward pass", passes, 1 / 3, unit=unit),
        Measure("an epoch of it, images in memory", from_memory, "its step alone", steps, 0.9, unit=unit),
        Measure("the same, decoded from the disk", from_disk, "its step alone", steps, 0.9, unit=unit),
    ]


def planted(rows: int, width: int) -> Any:
    """Features at random, labels by a direction in them and noise."""
    from kesikaran.training.task import FeatureRows

    draw = np.random.default_rng(rows)
    features = draw.standard_normal((rows, width), np.float32)
    direction = np.random.default_rng(0).standard_normal(width) / math.sqrt(width)
    return FeatureRows(features, (features @ direction + draw.standard_normal(rows) > 0).astype(int))


def run(place: Place, size: Size) -> list[Measure]:
    """a run with everything cached against the imports alone, both as whole processes"""
    place.fill()
    seconds: list[float] = []
    imports: list[float] = []
    for number in range(size.rounds):
        say(f"a cached run and the imports alone, round {number + 1}")
        imports.append(place.timed("-c", IMPORTS))
        seconds.append(place.train())
    peer = f'python -c "{IMPORTS}"'
    return [Measure("a run with everything cached, whole process", seconds, peer, imports, 2, at_least=False)]


def memory(place: Place, size: Size) -> list[Measure]:
    """peak memory of a run on many images' features against few (only --size article)"""
    if size.memory_images is None:
        say("memory: only with --size article")
        return []
    import growth

    few, many = size.memory_images
    peaks = []
    for images in size.memory_images:
        say(f"a run on the features of {images} images")
        root = place.root / f"memory {images}"
        root.mkdir()
        peaks.append(growth.grow(images, epochs=2, root=root))
        shutil.rmtree(root)
    return [
        Measure(
            f"{kind} memory at its peak, {many} images' features beyond {few}",
            [(peaks[1][f"{kind}_bytes"] - peaks[0][f"{kind}_bytes"]) / 2**20],
            "1 GiB", [1024.0], goal, at_least=False, unit="MiB",
        )
        for kind, goal in (("anonymous", 1.0), ("resident", None))  # resident: with mapped files, which may be dropped
    ]  # fmt: skip


def kill(place: Place, size: Size) -> list[Measure]:
    """kill -9 at random moments of a pass, then resume: the same features, and what was lost"""
    from kesikaran.features import extract
    from kesikaran.features.shards import Shards

    config = place.experiment().backbone
    table, folder, net = inputs(place)
    ids = list(table["object_id"])[: size.kill_images]
    draw, spawn = random.Random(0), multiprocessing.get_context("spawn")  # noqa: S311 - no secret
    log = place.root / "batches"

    def started(store: Path) -> Any:
        log.write_bytes(b"")
        with using(store):
            child = spawn.Process(target=noted_pass, args=(ids, folder, dataclasses.astuple(net), config, log))
            child.start()
        while child.is_alive() and not log.stat().st_size:
            time.sleep(0.005)
        return child

    def found(store: Path) -> Shards:
        cache = store / "features" / extract.cache_key(net, config)
        cache.mkdir(parents=True, exist_ok=True)
        return Shards(cache)

    def matrix(store: Path) -> np.ndarray:
        out = np.empty((len(ids), net.width), np.float32)
        found(store).gather(keys(ids), out)
        return out

    say("an undisturbed pass")
    store = place.root / "undisturbed"
    child = started(store)
    began = time.perf_counter()
    child.join()
    seconds, expected = time.perf_counter() - began, matrix(store)
    lost: list[float] = []
    differ, finished = 0, 0
    while True:
        store = place.root / f"killed {finished}"
        before = len(found(store))
        child = started(store)
        if len(lost) < size.kills:
            time.sleep(draw.uniform(0, seconds / 2))
            child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            lost.append(log.stat().st_size - math.ceil((len(found(store)) - before) / BATCH))
            say(f"kill {len(lost)} of {size.kills} after {log.stat().st_size} batches, {lost[-1]} lost")
            continue
        if child.exitcode:
            raise RuntimeError(f"a pass ended with {child.exitcode}")
        differ += int((matrix(store) != expected).any(1).sum())
        finished += 1
        if len(lost) == size.kills:
            break
    peer = f"an undisturbed pass, {finished} times"
    return [
        Measure(f"features that differ after {size.kills} kill -9 and resumes", [differ], peer,
                [finished * len(ids)], 0, at_least=False, unit="images"),
        Measure("batches lost by a kill -9, the most", [max(lost)], "the open one", [1], 1, at_least=False,
                unit="batches"),
    ]  # fmt: skip


def noted_pass(ids: list[str], folder: Path, net: tuple[Any, ...], config: Any, log: Path) -> None:
    """A pass that adds a byte to `log` when a batch begins, and merges its shards often. net: a Backbone's fields."""
    process.quiet()
    with terminal.quiet_start():
        from kesikaran.data.object_store import objects
        from kesikaran.features import engines, forward_pass
        from kesikaran.features.extract import FeatureCache
        from kesikaran.models import backbone

    forward = engines.forward

    def noted(*given: Any) -> Callable[[Any], np.ndarray]:
        compute = forward(*given)

        def one(images: Any) -> np.ndarray:
            with log.open("ab") as file:
                file.write(b"+")
            return compute(images)

        return one

    engines.forward = noted  # type: ignore[assignment]
    forward_pass._MERGE_EVERY = 2
    loaded = backbone.Backbone(*net)
    loaded.layer(np.zeros((BATCH, config.image_size, config.image_size, 3), np.float32))  # or that is the first batch
    FeatureCache().extract(ids, objects(folder), loaded, config, max_megapixels=math.inf)


def machine(size: str) -> dict[str, Any]:
    """What the figures depend on, apart from the code."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    installed = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return {
        "size": size, "date": time.strftime("%Y-%m-%d"), "cpu": cpu, "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(), "python": platform.python_version(), "libraries": installed,
    }  # fmt: skip


def write(rows: list[dict[str, Any]], where: dict[str, Any], folder: Path) -> None:
    """benchmark.md, benchmark.json and benchmark.png, each whole or not at all.

    Raises:
        InputError: they cannot be written.
    """
    try:
        files.write_whole(folder / "benchmark.json", json.dumps({"machine": where, "rows": rows}, indent=2) + "\n")
        files.write_whole(folder / "benchmark.md", markdown(rows, where))
        aside = folder / ".benchmark.aside.png"
        chart(rows).savefig(aside, dpi=120)
        os.replace(aside, folder / "benchmark.png")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}; give another as --out") from None


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """The table, and below it the machine."""

    def spread(row: dict[str, Any], prefix: str) -> str:
        median, low, high = (row[f"{prefix}{name}"] for name in ("median", "low", "high"))
        return f"{median:.3g} {row['unit']}" + (f" ({low:.3g} - {high:.3g})" if low != high else "")

    lines = ["| measure | median (low - high) | against | median (low - high) | ratio | goal | |", "|---" * 7 + "|"]
    for row in rows:
        goal = f"{'at least' if row['at_least'] else 'at most'} {row['goal']:g}" if row["goal"] is not None else ""
        reached = {True: "reached", False: "**missed**", None: ""}[row["reached"]]
        cells = (row["measure"], spread(row, ""), row["against"], spread(row, "against_"), f"{row['ratio']:.3g}")
        lines.append("| " + " | ".join((*cells, goal, reached)) + " |")
    libraries = ", ".join(f"{name} {number}" for name, number in where["libraries"].items())
    lines += [
        "", f"{where['cpu']}, {where['cores']} cores, {where['system']}; Python {where['python']}, {libraries}; "
        f"--size {where['size']}, {where['date']}. A ratio is of the medians.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def chart(rows: list[dict[str, Any]]) -> Any:
    """A bar a ratio, on a log scale, and a mark where its goal is. Ratios of 0 have no place on it."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row["goal"] and row["ratio"] > 0][::-1]
    figure = Figure(figsize=(9, 1 + 0.4 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    colours = ["tab:green" if row["reached"] else "tab:red" for row in shown]
    axes.barh(range(len(shown)), [row["ratio"] for row in shown], color=colours, log=True)
    axes.scatter([row["goal"] for row in shown], range(len(shown)), marker="|", s=300, color="black", label="goal")
    names = [f"{row['measure']}\n(goal: at {'least' if row['at_least'] else 'most'} {row['goal']:g})" for row in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=7)
    axes.set_xlabel("ratio to the peer")
    axes.legend(loc="lower right")
    return figure


FIGURES: dict[str, Callable[[Place, Size], list[Measure]]] = {
    "sweep": sweep, "jobs": jobs, "price": price, "resume": resume, "passes": passes, "epoch": epoch, "run": run,
    "finetune": finetune, "predict": predict, "memory": memory, "kill": kill,
}  # fmt: skip


if __name__ == "__main__":
    main()
