"""The feature cache: each image goes through a backbone once, ever.

A folder a key, the key a hash of the backbone's files and of the preprocessing. In it, append-only
Arrow shards of (SHA-1 of the image's bytes, features), each named by the hash of its own bytes,
written aside and renamed: a reader never sees a half, a damaged one is known, and several processes
may fill the folder at once.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from kesikaran import dataset, images, parallel, paths, terminal
from kesikaran.backbone import Backbone
from kesikaran.config import BackboneConfig
from kesikaran.dataset import sha1_of
from kesikaran.errors import InputError

_SHARD_IMAGES = 256  # what a kill may cost, at most: two seconds of a GPU, seconds of a CPU


@dataclass(frozen=True)
class Features:
    """matrix: float32 [n, width], row i of image `object_ids[i]`. refused: object id -> reason."""

    matrix: np.ndarray
    object_ids: list[str]
    refused: dict[str, str]
    key: str
    computed: int  # images that had to go through the backbone now


def cache_key(backbone: Backbone, config: BackboneConfig) -> str:
    """32 hex digits: the backbone's digest and the preprocessing. A change in either gives another."""
    what = {"backbone": backbone.digest, **images.preprocessing(config)}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def extract(
    object_ids: list[str], folder: Path, backbone: Backbone, config: BackboneConfig, max_megapixels: float
) -> Features:
    """Features of every image of `folder` that can be decoded, in the given order; the others are refused.

    A present image costs a read, a missing one a forward pass. Needs the files to exist even where
    their features are cached, so that a run's data set does not depend on earlier runs.

    Raises:
        InputError: the cache is not writable.
    """
    key = cache_key(backbone, config)
    store = paths.writable(paths.cache_dir() / "features" / key, "feature cache", "set KESIKARAN_CACHE to another")
    there = dataset.objects(folder)
    refused = {name: "missing" for name in object_ids if name not in there}
    known = _read(_shards(store))
    todo = {name: there[name] for name in object_ids if name in there and sha1_of(name) not in known}
    fresh, bad = _pass(todo, backbone, config, max_megapixels, store)
    known = known | fresh  # not in place: it is shared
    refused |= bad
    good = [name for name in object_ids if name not in refused]
    matrix = np.empty((len(good), backbone.width), np.float32)
    for row, name in enumerate(good):
        matrix[row] = known[sha1_of(name)]
    return Features(matrix, good, refused, key, len(fresh))


def _pass(
    todo: dict[str, Path], backbone: Backbone, config: BackboneConfig, max_megapixels: float, store: Path
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Decode on all cores while the backbone runs; write a shard whenever enough has come together."""
    fresh: dict[str, np.ndarray] = {}
    refused: dict[str, str] = {}
    unwritten: dict[str, np.ndarray] = {}
    batch: list[tuple[str, tf.Tensor]] = []

    def forward() -> None:
        if batch:
            rows = backbone.layer(tf.stack([image for _, image in batch])).numpy()
            unwritten.update((sha1_of(name), row) for (name, _), row in zip(batch, rows, strict=True))
            batch.clear()

    def write() -> None:
        if unwritten:
            _write(store, unwritten)
            fresh.update(unwritten)
            unwritten.clear()

    with terminal.progress(None, "features", "image", len(todo)) as bar:
        for name, result in _decoded(todo, config, max_megapixels):
            if isinstance(result, str):
                refused[name] = result
            else:
                batch.append((name, result))
            if len(batch) == config.batch_size:
                forward()
            if len(unwritten) >= _SHARD_IMAGES:
                write()
            bar.update()
        forward()
        write()
    return fresh, refused


def _decoded(
    todo: dict[str, Path], config: BackboneConfig, max_megapixels: float
) -> Iterator[tuple[str, tf.Tensor | str]]:
    """(name, float32 [size, size, 3] or the reason of refusal), in order, a few batches ahead."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def prepare(encoded: tf.Tensor) -> tf.Tensor:
        return images.resize(images.decode(encoded), config)

    def one(name: str) -> tf.Tensor | str:
        try:
            return prepare(images.read(todo[name], max_megapixels))
        except images.BadImageError as reason:
            return str(reason)
        except tf.errors.InvalidArgumentError:
            return "truncated or damaged: it cannot be decoded"

    return parallel.ordered(one, todo, 4 * config.batch_size)


def _write(store: Path, rows: dict[str, np.ndarray]) -> None:
    """One shard, written aside and renamed.

    Raises:
        InputError: the disk is full or the folder not writable any more.
    """
    matrix = np.stack(list(rows.values()))
    table = pa.table(
        {
            "sha1": pa.array([bytes.fromhex(name) for name in rows], pa.binary(20)),
            "features": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1]),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    shard = store / f"{_checksum(content)}.arrow"
    aside = shard.with_suffix(f".{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, shard)
    except OSError as error:
        raise InputError(
            f"the feature cache {store} cannot be written ({error.strerror or error}): free some space or set "
            "KESIKARAN_CACHE to another folder; what was computed before stays"
        ) from None
    finally:
        aside.unlink(missing_ok=True)


def _shards(store: Path) -> tuple[tuple[Path, int, int], ...]:
    """Path, size in bytes and time of change of each shard: what tells a changed folder from one that was read."""
    return tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(store.glob("*.arrow")))


@lru_cache(maxsize=1)  # the jobs of a sweep read them once
def _read(shards: tuple[tuple[Path, int, int], ...]) -> dict[str, np.ndarray]:
    """SHA-1 -> features [width], as views into memory-mapped shards. A damaged shard is set aside and said."""
    known: dict[str, np.ndarray] = {}
    for path, size_bytes, _ in shards:
        mapped = pa.memory_map(str(path)) if size_bytes else None
        content = mapped.read_buffer() if mapped else b""
        if _checksum(content) != path.stem:
            path.rename(path.with_suffix(".damaged"))
            print(f"A shard of the feature cache is damaged: set aside as {path.stem}.damaged, computing it again.")
            continue
        table = pa.ipc.open_file(content).read_all()
        for batch in table.to_batches():
            width = batch.schema.field("features").type.list_size
            matrix = batch.column("features").flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
            known.update(zip((name.hex() for name in batch.column("sha1").to_pylist()), matrix, strict=True))
    return known


def _checksum(content: bytes | pa.Buffer) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
