"""The feature cache, so that an image goes through a backbone once only. `python -m kesikaran.features --help`

The cache has one folder for each key. The key is a hash over the backbone's files, the preprocessing and the view
(`data.augment.view`). The folder holds `backbone.json`, which names them, and shards of (SHA-1 of the image's bytes,
features): see `features.shards`.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kesikaran.config.schema import BackboneConfig, Engine
from kesikaran.core import errors, files, folder_lock, paths
from kesikaran.core.errors import InputError
from kesikaran.data import near_duplicates, object_store
from kesikaran.data.image_file import Reason
from kesikaran.features import forward_pass
from kesikaran.features.decoder import decoder
from kesikaran.features.matrix import empty_matrix
from kesikaran.features.shards import Shards

if TYPE_CHECKING:
    from kesikaran.features.engines import FeatureVector

NOTE = "backbone.json"
_IDENTITY = "identity"  # as data.augment has it, which loads TensorFlow


@dataclass(frozen=True)
class Features:
    """matrix: float32 [n, width], row i of image `object_ids[i]` as it is. refused: object id -> reason. remarks:
    object id -> what libjpeg complains of in an image that is whole, of the images computed now.

    stacked: `matrix` itself where that is the only view. Otherwise float32 [(views + 1) n, width]: the n rows of each
    view, one view after the other, and then the mean of the views.
    """

    matrix: np.ndarray
    stacked: np.ndarray
    object_ids: list[str]
    refused: dict[str, str]
    key: str  # of the images as they are
    computed: int  # images that were not in the cache, in one view at least
    deviation: float | None  # of another engine: its largest deviation from TensorFlow, on some images
    remarks: dict[str, str] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)  # clusters by similarity, for the next job of a sweep

    @property
    def blocks(self) -> int:
        """How often each image is in `stacked`."""
        return len(self.stacked) // len(self.matrix)

    @property
    def means(self) -> np.ndarray:
        """The mean over the views, float32 [n, width]."""
        return self.stacked[-len(self.matrix) :]

    def in_views(self, images: np.ndarray) -> np.ndarray:
        """The rows of `stacked` that have these images, int [m], in each view: int [views * m]."""
        starts = len(self.matrix) * np.arange(max(self.blocks - 1, 1))
        return np.asarray((starts[:, None] + images).ravel())

    def in_means(self, images: np.ndarray) -> np.ndarray:
        """The rows of `stacked` that have the mean over the views of these images, int [m]."""
        return images + len(self.matrix) * (self.blocks - 1)

    def near_duplicates(self, similarity: float) -> np.ndarray:
        """The cluster of each image: see `near_duplicates.by_features` and `near_duplicates.clusters`."""
        if similarity not in self.shared:
            pairs = near_duplicates.by_features(self.matrix, similarity)
            self.shared[similarity] = near_duplicates.clusters(self.object_ids, pairs)
        found: np.ndarray = self.shared[similarity]
        return found


def describe(backbone: "FeatureVector", config: BackboneConfig, view: str = _IDENTITY) -> dict[str, object]:
    """What features depend on: the backbone's digest, the preprocessing, an engine other than TensorFlow, and a view
    other than the image as it is."""
    from kesikaran.data import preprocess
    from kesikaran.features import engines

    what: dict[str, object] = {"backbone": backbone.digest, **preprocess.preprocessing(config)}
    if engine := engines.name(config):
        what["engine"] = engine
    if view != _IDENTITY:
        what["view"] = view
    return what


def cache_key(backbone: "FeatureVector", config: BackboneConfig, view: str = _IDENTITY) -> str:
    """32 hex digits over `describe`."""
    return hashlib.sha256(json.dumps(describe(backbone, config, view), sort_keys=True).encode()).hexdigest()[:32]


class FeatureCache:
    """The feature cache as one process uses it. The last features stay in memory for the next job of a sweep."""

    def __init__(self) -> None:
        self._last: tuple[Any, Features] | None = None

    def extract(
        self,
        object_ids: list[str],
        files: dict[str, Path],
        backbone: "FeatureVector",
        config: BackboneConfig,
        max_megapixels: float,
        views: tuple[str, ...] = (_IDENTITY,),
    ) -> Features:
        """The features of the images that can be decoded, in the given order. The others are refused.

        Features that are in the cache are read, others are computed. The file of an image has to exist in either case,
        or the data set of a run would depend on earlier runs. The file of cached features is not opened: its name is
        the SHA-1 of the content that they were computed from. One dependence on earlier runs is left: `max_megapixels`
        guards the decoding, so a lower limit does not refuse an image that was computed under a higher one.

        Args:
            files: the files of the image folder, as `object_store.objects` gives them.
            views: as `data.augment.views` gives them. An image has features in all of them, or is refused.

        Raises:
            InputError: the cache is not writable.
        """
        with opened(backbone, config, views) as stores:
            return self._extract(object_ids, files, backbone, config, max_megapixels, stores)

    def _extract(
        self,
        object_ids: list[str],
        files: dict[str, Path],
        backbone: "FeatureVector",
        config: BackboneConfig,
        max_megapixels: float,
        stores: dict[str, Path],
    ) -> Features:
        there, missing = _find(object_ids, files)
        # By os.path, since a Path takes 5 times as long.
        folders = tuple({os.path.dirname(path) for path in there.values()})
        asked = tuple(stores.values()), tuple(object_ids), folders, max_megapixels, tuple(missing)
        if self._last and self._last[0] == asked:
            return replace(self._last[1], computed=0, remarks={})
        self._last = None  # frees the last matrix, since two might not fit into memory
        known = {view: Shards(store) for view, store in stores.items()}
        todo = {name: there[name] for name in object_ids if name in there and forward_pass.lacks(known, name)}
        remarks: dict[str, str] = {}
        computed, bad = forward_pass.compute(todo, backbone, config, max_megapixels, known, remarks)
        refused = missing | bad
        good = [name for name in object_ids if name not in refused]
        first_files = [there[name] for name in good[:32]]
        del there  # it takes a quarter of a gigabyte for a million images
        store = next(iter(stores.values()))
        stacked = _stacked(list(known.values()), [forward_pass.key(name) for name in good], backbone.width, store)
        matrix = stacked if len(stores) == 1 else stacked[: len(good)]
        deviation = _deviation(matrix, first_files, backbone, config, max_megapixels, store)
        found = Features(matrix, stacked, good, refused, store.name, computed, deviation, remarks)
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
    part: list[str],
    whole: list[str],
    folder: Path,
    backbone: "FeatureVector",
    config: BackboneConfig,
    max_megapixels: float,
    views: tuple[str, ...] = (_IDENTITY,),
) -> Filled:
    """Compute the features of those images of `part` that the cache lacks, as `FeatureCache.extract` does, and read
    none. whole: the object ids of all parts.

    Raises:
        InputError: the cache is not writable.
    """
    with opened(backbone, config, views) as stores:
        there, missing = _find(part, object_store.objects(folder))
        known = {view: Shards(store) for view, store in stores.items()}
        todo = {name: path for name, path in there.items() if forward_pass.lacks(known, name)}
        remarks: dict[str, str] = {}
        computed, bad = forward_pass.compute(todo, backbone, config, max_megapixels, known, remarks)
        refused = missing | bad
        lacking = sum(forward_pass.lacks(known, name) and name not in refused for name in whole)
        return Filled(computed, refused, remarks, lacking)


@contextlib.contextmanager
def opened(backbone: "FeatureVector", config: BackboneConfig, views: tuple[str, ...]) -> Iterator[dict[str, Path]]:
    """View -> the folder of its key, in use while the block lasts.

    Raises:
        InputError: the cache is not writable.
    """
    with contextlib.ExitStack() as held:
        stores = {}
        for view in views:
            make = partial(_store, cache_key(backbone, config, view))
            stores[view] = held.enter_context(folder_lock.in_use(make))
            handle = {"handle": errors.without_password(backbone.handle)}
            _use(stores[view], handle | describe(backbone, config, view))
        yield stores


def _stacked(known: list[Shards], sha1s: list[bytes], width: int, store: Path) -> np.ndarray:
    """`Features.stacked` of these images. `store`: see `empty_matrix`."""
    views, images = len(known), len(sha1s)
    matrix = empty_matrix(images * (1 if views == 1 else views + 1), width, store)
    for number, shards in enumerate(known):
        shards.gather(sha1s, matrix[number * images : (number + 1) * images])
    if views > 1:
        mean = matrix[views * images :]
        mean[:] = matrix[:images]
        for number in range(1, views):
            mean += matrix[number * images : (number + 1) * images]
        mean /= views
    return matrix


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
    backbone: "FeatureVector",
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
