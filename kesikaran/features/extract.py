"""The feature cache, so that an image goes through a backbone once only. `python -m kesikaran.features --help`

The cache has one folder for each key. The key is a hash over the backbone's files and the preprocessing. The folder
holds `backbone.json`, which names backbone and preprocessing, and shards of (SHA-1 of the image's bytes, features): see
`features.shards`.
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
from kesikaran.core import errors, files, folder_lock, parallel, paths, terminal, waiting
from kesikaran.core.errors import InputError
from kesikaran.data import libjpeg_lines, near_duplicates, object_store
from kesikaran.data.image_file import Reason
from kesikaran.data.object_store import sha1_of
from kesikaran.features.decoder import TOGETHER, decoder
from kesikaran.features.matrix import empty_matrix
from kesikaran.features.shards import Shards

if TYPE_CHECKING:
    from kesikaran.models.backbone import Backbone

NOTE = "backbone.json"
_MERGE_EVERY = 128  # batches; until then each batch is a shard of its own


@dataclass(frozen=True)
class Features:
    """matrix: float32 [n, width], row i of image `object_ids[i]`. refused: object id -> reason. remarks: object id ->
    what libjpeg complains of in an image that is whole, of the images computed now."""

    matrix: np.ndarray
    object_ids: list[str]
    refused: dict[str, str]
    key: str
    computed: int  # images that were not in the cache
    deviation: float | None  # of another engine: its largest deviation from TensorFlow, on some images
    remarks: dict[str, str] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)  # clusters by similarity, for the next job of a sweep

    def near_duplicates(self, similarity: float) -> np.ndarray:
        """The cluster of each image: see `near_duplicates.by_features` and `near_duplicates.clusters`."""
        if similarity not in self.shared:
            pairs = near_duplicates.by_features(self.matrix, similarity)
            self.shared[similarity] = near_duplicates.clusters(self.object_ids, pairs)
        found: np.ndarray = self.shared[similarity]
        return found


def describe(backbone: "Backbone", config: BackboneConfig) -> dict[str, object]:
    """What features depend on: the backbone's digest, the preprocessing, and an engine other than TensorFlow."""
    from kesikaran.data import preprocess
    from kesikaran.features import engines

    engine = engines.name(config)
    return {"backbone": backbone.digest, **preprocess.preprocessing(config)} | ({"engine": engine} if engine else {})


def cache_key(backbone: "Backbone", config: BackboneConfig) -> str:
    """32 hex digits over `describe`."""
    return hashlib.sha256(json.dumps(describe(backbone, config), sort_keys=True).encode()).hexdigest()[:32]


class FeatureCache:
    """The feature cache as one process uses it. The last features stay in memory for the next job of a sweep."""

    def __init__(self) -> None:
        self._last: tuple[Any, Features] | None = None

    def extract(
        self,
        object_ids: list[str],
        files: dict[str, Path],
        backbone: "Backbone",
        config: BackboneConfig,
        max_megapixels: float,
    ) -> Features:
        """The features of the images that can be decoded, in the given order. The others are refused.

        Features that are in the cache are read, others are computed. The file of an image has to exist in either case,
        or the data set of a run would depend on earlier runs. The file of cached features is not opened: its name is
        the SHA-1 of the content that they were computed from. One dependence on earlier runs is left: `max_megapixels`
        guards the decoding, so a lower limit does not refuse an image that was computed under a higher one.

        Args:
            files: the files of the image folder, as `object_store.objects` gives them.

        Raises:
            InputError: the cache is not writable.
        """
        key = cache_key(backbone, config)
        with folder_lock.in_use(lambda: _store(key)) as store:
            _use(store, {"handle": errors.without_password(backbone.handle), **describe(backbone, config)})
            return self._extract(object_ids, files, backbone, config, max_megapixels, store)

    def _extract(
        self,
        object_ids: list[str],
        files: dict[str, Path],
        backbone: "Backbone",
        config: BackboneConfig,
        max_megapixels: float,
        store: Path,
    ) -> Features:
        there, missing = _find(object_ids, files)
        # By os.path, since a Path takes 5 times as long.
        folders = tuple({os.path.dirname(path) for path in there.values()})
        asked = str(store), tuple(object_ids), folders, max_megapixels, tuple(missing)
        if self._last and self._last[0] == asked:
            return replace(self._last[1], computed=0, remarks={})
        self._last = None  # frees the last matrix, since two might not fit into memory
        known = Shards(store)
        todo = {name: there[name] for name in object_ids if name in there and _key(name) not in known}
        remarks: dict[str, str] = {}
        computed, bad = _pass(todo, backbone, config, max_megapixels, known, remarks) if todo else (0, {})
        refused = missing | bad
        good = [name for name in object_ids if name not in refused]
        first_files = [there[name] for name in good[:32]]
        del there  # it takes a quarter of a gigabyte for a million images
        matrix = empty_matrix(len(good), backbone.width, store)
        known.gather([_key(name) for name in good], matrix)
        deviation = _deviation(matrix, first_files, backbone, config, max_megapixels, store)
        found = Features(matrix, good, refused, store.name, computed, deviation, remarks)
        self._last = asked, found
        return found


@dataclass(frozen=True)
class Filled:
    """What a `fill` has done. computed: images that were not in the cache. refused, remarks: as of `Features`.
    lacking: images of the whole set that have no features and are not refused here."""

    computed: int
    refused: dict[str, str]
    remarks: dict[str, str]
    lacking: int


def fill(
    part: list[str], whole: list[str], folder: Path, backbone: "Backbone", config: BackboneConfig, max_megapixels: float
) -> Filled:
    """Compute the features of those images of `part` that the cache lacks, as `FeatureCache.extract` does, and read
    none. whole: the object ids of all parts.

    Raises:
        InputError: the cache is not writable.
    """
    key = cache_key(backbone, config)
    with folder_lock.in_use(lambda: _store(key)) as store:
        _use(store, {"handle": errors.without_password(backbone.handle), **describe(backbone, config)})
        there, missing = _find(part, object_store.objects(folder))
        known = Shards(store)
        todo = {name: path for name, path in there.items() if _key(name) not in known}
        remarks: dict[str, str] = {}
        computed, bad = _pass(todo, backbone, config, max_megapixels, known, remarks) if todo else (0, {})
        refused = missing | bad
        lacking = sum(_key(name) not in known and name not in refused for name in whole)
        return Filled(computed, refused, remarks, lacking)


def _find(object_ids: list[str], files: dict[str, Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """(object id -> file, object id -> why it is refused: there is no such file)"""
    there = object_store.find(files, object_ids)
    return there, {name: str(Reason.missing) for name in object_ids if name not in there}


def _store(key: str) -> Path:
    """The folder of a key."""
    return files.writable(paths.cache_dir() / "features" / key, "feature cache", "set KESIKARAN_CACHE to another")


def _deviation(
    matrix: np.ndarray,
    files: list[Path],
    backbone: "Backbone",
    config: BackboneConfig,
    max_megapixels: float,
    store: Path,
) -> float | None:
    """The largest deviation of another engine's features from TensorFlow's, in the first images (`files`).

    It is measured once for each key and noted in `backbone.json`. None for TensorFlow, and where no image can be
    decoded, since a file may be damaged after its features were cached: then a later run measures it.
    """
    if config.engine is Engine.tensorflow:
        return None
    note = read_note(store) or {}
    if "largest_deviation" not in note:
        import tensorflow as tf

        decode = decoder({path.name: path for path in files}, config, max_megapixels)
        decoded = decode([path.name for path in files])
        usable = [row for row, image in enumerate(decoded) if not isinstance(image, str)]
        if not usable:
            return None
        reference = backbone.layer(tf.stack([decoded[row] for row in usable])).numpy()
        note["largest_deviation"] = float(np.abs(matrix[usable] - reference).max())
        _write_note(store, note)
    return float(note["largest_deviation"])


def read_note(store: Path) -> dict[str, Any] | None:
    """What `backbone.json` says of the folder of a key; None where it is missing or damaged."""
    try:
        note = json.loads((store / NOTE).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def _use(store: Path, what: dict[str, object]) -> None:
    """Note in `backbone.json` what the folder holds. The file's time tells when the folder was last used."""
    if read_note(store):
        os.utime(store / NOTE)
    else:
        files.remove(store / NOTE)
        _write_note(store, what)


def _write_note(store: Path, what: dict[str, object]) -> None:
    try:
        files.write_whole(store / NOTE, json.dumps(what), durable=False)
    except OSError as error:
        raise InputError(
            f"the feature cache {store} cannot be written ({error.strerror or error}): free some space or set "
            "KESIKARAN_CACHE to another folder"
        ) from None


def _key(object_id: str) -> bytes:
    return bytes.fromhex(sha1_of(object_id))


def _pass(
    todo: dict[str, Path],
    backbone: "Backbone",
    config: BackboneConfig,
    max_megapixels: float,
    known: Shards,
    remarks: dict[str, str],
) -> tuple[int, dict[str, str]]:
    """Compute the features of the images `todo` (object id -> file) and append them to the shards. `remarks`: see
    `decoder`.

    Images are decoded on all cores while the backbone runs. Every batch is on disk before the next one starts. Several
    processes may do this at once: each takes the batches in a random order of its own and leaves out the images that
    another has written meanwhile. Two compute the same images only while they are at the same batch.

    Returns:
        How many images were computed here, and object id -> reason of those refused.
    """
    from kesikaran.features import engines

    refused: dict[str, str] = {}
    computed = batches = 0
    batch: dict[bytes, Any] = {}
    batch_size = _batch_size(config)
    compute = engines.forward(backbone, config, batch_size)
    decode = decoder(todo, config, max_megapixels, remarks)
    ahead = -(-4 * batch_size // TOGETHER)
    with (
        libjpeg_lines.kept_back(),
        contextlib.closing(parallel.ordered(decode, _drawn(todo, batch_size, known), ahead)) as groups,
        terminal.progress(None, "features", "image", len(todo)) as bar,
    ):
        for name, image in (pair for names, several in groups for pair in zip(names, several, strict=True)):
            bar.update()
            if isinstance(image, str):
                refused[name] = image
            else:
                batch[_key(name)] = image
            if len(batch) == batch_size:
                computed += _forward(batch, compute, batch_size, backbone.width, known)
                batches += 1
                if batches % _MERGE_EVERY == 0:
                    known.merge()
        computed += _forward(batch, compute, batch_size, backbone.width, known)
    if computed:
        known.merge()
    known.look()
    return computed, refused


def _batch_size(config: BackboneConfig) -> int:
    import tensorflow as tf

    return config.batch_size or (256 if tf.config.list_logical_devices("GPU") else 32)


def _drawn(todo: dict[str, Path], batch_size: int, known: Shards) -> Iterator[list[str]]:
    """The object ids, batches in random order, in groups of at most `TOGETHER`. Ids that the shards have got meanwhile
    are left out."""
    names = sorted(todo)
    batches = [names[start : start + batch_size] for start in range(0, len(names), batch_size)]
    random.SystemRandom().shuffle(batches)  # a random state apart from that of the run, which stays as it is
    for batch in batches:
        for start in range(0, len(batch), TOGETHER):
            missing = [name for name in batch[start : start + TOGETHER] if _key(name) not in known]
            if missing:
                yield missing


def _forward(
    batch: dict[bytes, Any], compute: Callable[[Any], np.ndarray], batch_size: int, width: int, known: Shards
) -> int:
    """Compute the features of `batch` and append them to the shards. Empties the batch; returns how many were computed.

    The backbone always gets `batch_size` images, filled up with black ones. A convolution may be computed differently
    for another batch size, and the last bits of a feature would then depend on where the pass was stopped.

    Raises:
        InputError: the backbone gives something else than `width` finite numbers for each image.
    """
    import tensorflow as tf

    known.look()
    missing = {sha1: image for sha1, image in batch.items() if sha1 not in known}
    batch.clear()
    if not missing:
        return 0
    pixels = list(missing.values())
    with tf.device("CPU"):  # stacked here, so that a GPU gets them in one copy
        filled = tf.stack(pixels + [tf.zeros_like(pixels[0])] * (batch_size - len(pixels)))
    features = waiting.interruptibly(lambda: compute(filled))
    if features.shape[:1] != (batch_size,) or features.shape[1:] != (width,):
        raise InputError(
            f"the backbone gives features of {list(features.shape)} for {batch_size} images, where it gave {width} for "
            "one image: it is no feature vector"
        )
    for sha1, row in zip(missing, features, strict=False):
        if not np.isfinite(row).all():
            raise InputError(
                f"the backbone gives features that are not finite for image {sha1.hex()}: remove the image from the "
                "label file, or take another backbone or backbone.value_range"
            )
    known.append(dict(zip(missing, features, strict=False)))
    return len(missing)
