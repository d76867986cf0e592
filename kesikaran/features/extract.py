"""The feature cache: each image goes through a backbone once, ever. `python -m kesikaran.features --help`

A folder a key, the key a hash of the backbone's files and of the preprocessing. In it `backbone.json`, which
says what that was, and shards of (SHA-1 of the image's bytes, features): see `shards`.
"""

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kesikaran.config.schema import BackboneConfig, Engine
from kesikaran.core import files, parallel, paths, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import image_file, near_duplicates, object_store
from kesikaran.data.image_file import BadImage, Reason
from kesikaran.data.object_store import sha1_of
from kesikaran.features.matrix import empty_matrix
from kesikaran.features.shards import Shards

if TYPE_CHECKING:
    from kesikaran.models.backbone import Backbone

_MERGE_EVERY = 128  # batches, each a shard of its own until then
_TOGETHER = 8  # images decoded in one call


@dataclass(frozen=True)
class Features:
    """matrix: float32 [n, width], row i of image `object_ids[i]`. refused: object id -> reason."""

    matrix: np.ndarray
    object_ids: list[str]
    refused: dict[str, str]
    key: str
    computed: int  # images that had to go through the backbone now
    deviation: float | None  # the largest from what TensorFlow computes, of a batch, where another engine did it
    shared: dict[Any, Any] = field(default_factory=dict)  # what was found from them, for the next job of a sweep

    def near_duplicates(self, similarity: float) -> np.ndarray:
        """The cluster of each image: see `duplicates.by_features` and `duplicates.clusters`."""
        if similarity not in self.shared:
            pairs = near_duplicates.by_features(self.matrix, similarity)
            self.shared[similarity] = near_duplicates.clusters(self.object_ids, pairs)
        found: np.ndarray = self.shared[similarity]
        return found


def describe(backbone: "Backbone", config: BackboneConfig) -> dict[str, object]:
    """What makes a feature what it is: the backbone's digest, the preprocessing, and an engine of its own."""
    from kesikaran.data import preprocess
    from kesikaran.features import engines

    other = engines.name(config)
    return {"backbone": backbone.digest, **preprocess.preprocessing(config)} | ({"engine": other} if other else {})


def cache_key(backbone: "Backbone", config: BackboneConfig) -> str:
    """32 hex digits over `describe`: a change in any of it gives another."""
    return hashlib.sha256(json.dumps(describe(backbone, config), sort_keys=True).encode()).hexdigest()[:32]


class FeatureCache:
    """The feature cache as one process sees it. What was asked for last stays in memory for the next job of a sweep."""

    def __init__(self) -> None:
        self._last: tuple[Any, Features] | None = None

    def extract(
        self, object_ids: list[str], folder: Path, backbone: "Backbone", config: BackboneConfig, max_megapixels: float
    ) -> Features:
        """Features of every image of `folder` that can be decoded, in the given order; the others are refused.

        A present image costs a read, a missing one a forward pass. A file has to exist even where its features are
        cached, or a run's data set would depend on earlier runs. The file is not opened again, and need not be: the
        features are those of the content that its name states. One dependence is left: `max_megapixels` guards the
        decoding, so a limit that was lowered does not refuse an image that was computed under a higher one.

        Raises:
            InputError: the cache is not writable.
        """
        key = cache_key(backbone, config)
        store = files.writable(paths.cache_dir() / "features" / key, "feature cache", "set KESIKARAN_CACHE to another")
        _use(store, {"handle": backbone.handle, **describe(backbone, config)})
        there = object_store.objects(folder)
        missing = {name: str(Reason.missing) for name in object_ids if name not in there}
        asked = str(store), tuple(object_ids), str(folder), max_megapixels, tuple(missing)
        if self._last and self._last[0] == asked:
            return replace(self._last[1], computed=0)
        self._last = None  # two matrices need not fit into memory
        known = Shards(store)
        todo = {name: there[name] for name in object_ids if name in there and _key(name) not in known}
        computed, bad = _pass(todo, backbone, config, max_megapixels, known)
        refused = missing | bad
        good = [name for name in object_ids if name not in refused]
        first_files = [there[name] for name in good[:32]]
        del there  # of a million images a quarter of a gigabyte
        matrix = empty_matrix(len(good), backbone.width, store)
        known.gather([_key(name) for name in good], matrix)
        deviation = _deviation(matrix, first_files, backbone, config, max_megapixels, store)
        found = Features(matrix, good, refused, key, computed, deviation)
        self._last = asked, found
        return found


def _deviation(
    matrix: np.ndarray,
    files: list[Path],
    backbone: "Backbone",
    config: BackboneConfig,
    max_megapixels: float,
    store: Path,
) -> float | None:
    """Measured once a key, on the first images (`files`), and kept in its `backbone.json`.

    An image whose features are cached can be damaged by now: where none can be decoded, a later run measures.
    """
    if config.engine is Engine.tensorflow:
        return None
    note = json.loads((store / "backbone.json").read_text())
    if "largest_deviation" not in note:
        import tensorflow as tf

        prepare = _decoder({path.name: path for path in files}, config, max_megapixels)
        decoded = prepare([path.name for path in files])
        usable = [row for row, image in enumerate(decoded) if not isinstance(image, str)]
        if not usable:
            return None
        reference = backbone.layer(tf.stack([decoded[row] for row in usable])).numpy()
        note["largest_deviation"] = float(np.abs(matrix[usable] - reference).max())
        _write_note(store, note)
    return float(note["largest_deviation"])


def _use(store: Path, what: dict[str, object]) -> None:
    """`backbone.json`: what the folder holds, and by its time when it was last used."""
    note = store / "backbone.json"
    if note.exists():
        os.utime(note)
    else:
        _write_note(store, what)


def _write_note(store: Path, what: dict[str, object]) -> None:
    try:
        files.write_whole(store / "backbone.json", json.dumps(what), durable=False)
    except OSError as error:
        raise InputError(
            f"the feature cache {store} cannot be written ({error.strerror or error}): free some space or set "
            "KESIKARAN_CACHE to another folder"
        ) from None


def _key(object_id: str) -> bytes:
    return bytes.fromhex(sha1_of(object_id))


def _pass(
    todo: dict[str, Path], backbone: "Backbone", config: BackboneConfig, max_megapixels: float, known: Shards
) -> tuple[int, dict[str, str]]:
    """Decode on all cores while the backbone runs; every batch is on disk before the next one starts.

    Several processes may be at it: batches come in an order of chance, and what another has written meanwhile is
    left out, so that two compute the same only where they happen to be at the same batch.

    Returns:
        How many images were computed here, and object id -> reason of those refused.
    """
    if not todo:
        return 0, {}
    import tensorflow as tf

    from kesikaran.features import engines

    refused: dict[str, str] = {}
    computed = batches = 0
    batch: dict[bytes, Any] = {}
    batch_size = config.batch_size or (256 if tf.config.list_logical_devices("GPU") else 32)
    compute = engines.forward(backbone, config, batch_size)
    decoded = _decoder(todo, config, max_megapixels)
    ahead = -(-4 * batch_size // _TOGETHER)
    with (
        contextlib.closing(parallel.ordered(decoded, _drawn(todo, batch_size, known), ahead)) as groups,
        terminal.progress(None, "features", "image", len(todo)) as bar,
    ):
        for name, image in (pair for names, several in groups for pair in zip(names, several, strict=True)):
            bar.update()
            if isinstance(image, str):
                refused[name] = image
            else:
                batch[_key(name)] = image
            if len(batch) == batch_size:
                computed += _forward(batch, compute, batch_size, known)
                batches += 1
                if batches % _MERGE_EVERY == 0:
                    known.merge()
        computed += _forward(batch, compute, batch_size, known)
    if computed:
        known.merge()
    known.look()
    return computed, refused


def _drawn(todo: dict[str, Path], batch_size: int, known: Shards) -> Iterator[list[str]]:
    """The names that are still missing when their turn comes, batch by batch, at most `_TOGETHER` at once."""
    names = sorted(todo)
    batches = [names[start : start + batch_size] for start in range(0, len(names), batch_size)]
    random.SystemRandom().shuffle(batches)  # not the run's random state
    for batch in batches:
        for start in range(0, len(batch), _TOGETHER):
            missing = [name for name in batch[start : start + _TOGETHER] if _key(name) not in known]
            if missing:
                yield missing


def _forward(batch: dict[bytes, Any], compute: Callable[[Any], np.ndarray], batch_size: int, known: Shards) -> int:
    """The images of `batch` through the backbone and to the disk; empties it and returns how many they were.

    Always `batch_size` images, filled up with black ones: a convolution may be computed another way for a batch of
    another size, and the last bits of a feature would depend on where the pass was stopped.
    """
    import tensorflow as tf

    known.look()
    missing = {sha1: image for sha1, image in batch.items() if sha1 not in known}
    batch.clear()
    if not missing:
        return 0
    pixels = list(missing.values())
    with tf.device("CPU"):  # a GPU gets them in one copy
        filled = tf.stack(pixels + [tf.zeros_like(pixels[0])] * (batch_size - len(pixels)))
    known.append(dict(zip(missing, compute(filled), strict=False)))
    return len(missing)


def _decoder(todo: dict[str, Path], config: BackboneConfig, max_megapixels: float) -> Any:
    """A function of names: of each float32 [size, size, 3], or the reason of refusal."""
    import tensorflow as tf

    from kesikaran.data import preprocess

    def prepare(encoded: tf.Tensor) -> list[tf.Tensor]:
        with tf.device("CPU"):  # also beside a GPU, which would round otherwise than the key tells
            return [preprocess.resize(preprocess.decode(one, config), config) for one in tf.unstack(encoded)]

    # A call costs as much as a tenth of what it does for one image
    alone, together = (
        tf.function(prepare, input_signature=[tf.TensorSpec([count], tf.string)], autograph=False)
        for count in (1, _TOGETHER)
    )

    def read(name: str) -> bytes | str:
        try:
            encoded = image_file.read_object(todo[name])
            image_file.open_checked(encoded, max_megapixels).close()
            return encoded
        except BadImage as reason:
            return str(reason)

    def decoded(encoded: bytes | str) -> tf.Tensor | str:
        if isinstance(encoded, str):
            return encoded
        try:
            return alone([encoded])[0]
        except tf.errors.InvalidArgumentError:
            return str(BadImage(Reason.damaged, "it cannot be decoded"))

    def every(names: list[str]) -> list[tf.Tensor | str]:
        encoded = [read(name) for name in names]
        if len(names) == _TOGETHER and all(isinstance(one, bytes) for one in encoded):
            with contextlib.suppress(tf.errors.InvalidArgumentError):  # of which image, is found below
                return list(together(encoded))
        return [decoded(one) for one in encoded]

    return every
