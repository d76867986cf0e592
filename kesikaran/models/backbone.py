"""The frozen backbone of a handle: its digest, its feature width and its layer."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tensorflow as tf

from kesikaran.core import errors, files, paths
from kesikaran.core.errors import InputError
from kesikaran.models import hub


@dataclass(frozen=True)
class Backbone:
    """digest: of its files (see `digest`). width: of its feature vectors. folder: of its SavedModel."""

    handle: str
    digest: str
    width: int
    folder: Path

    @property
    def layer(self) -> Any:
        """images float32 [n, size, size, 3] -> features float32 [n, width]. It is loaded at its first use: a run that
        finds its features and its model template in the cache does not need it, and saves seconds."""
        return hub.load_layer(self.handle, self.folder, self.digest)


@lru_cache(maxsize=1)  # for the life of the process: the jobs of a sweep look at the files once
def load(handle: str, image_size: int) -> Backbone:
    """The backbone of a handle, a feature-vector module in the TF-Hub format.

    The module is loaded and called once, to prove that it gives feature vectors. That it did is noted in the cache
    folder by its digest, and later processes need not load it.

    Args:
        handle: a hub URL (downloaded once into `$TFHUB_CACHE_DIR`, else the cache folder), the
            folder of a SavedModel, or `embedded:efficientnet_lite0`.
        image_size: height and width of the images in px.

    Raises:
        InputError: nothing is at the handle, or it gives no feature vectors.
    """
    folder = hub.folder(handle)
    found = digest(folder)
    seen = paths.cache_dir() / "backbones" / "seen"
    # The files are empty and their names are the notes: no content could be half written.
    for mark in seen.glob(f"{found}-{image_size}px-*"):
        return Backbone(handle, found, int(mark.name.rsplit("-", 1)[1]), folder)
    try:
        layer = hub.load_layer(handle, folder, found)
    except InputError:
        if not hub.is_url(handle):
            raise
        # A download is renamed into place, but a full disk or a copy by hand can leave a part of a module.
        print(f"The cached module of {handle} is damaged: fetching it again.")
        folder = hub.download(handle, afresh=True)
        found = digest(folder)
        layer = hub.load_layer(handle, folder, found)
    width = _feature_width(handle, layer, image_size)
    files.writable(seen, "cache folder", "set KESIKARAN_CACHE to one that is")
    (seen / f"{found}-{image_size}px-{width}").touch()
    return Backbone(handle, found, width, folder)


def digest(folder: Path) -> str:
    """32 hex digits over the names and bytes of a SavedModel's files, whatever handle led to it."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:32]


def _feature_width(handle: str, layer: Any, image_size: int) -> int:
    """The width of the layer's output for one black image, which must be float32 [1, width]."""
    try:
        features = layer(tf.zeros((1, image_size, image_size, 3)))
    except Exception as error:
        raise InputError(
            f"{handle} does not take images of float32 [n, {image_size}, {image_size}, 3]: {errors.first_line(error)}; "
            "set backbone.image_size to its own, or give a feature-vector module"
        ) from None
    shape = getattr(features, "shape", None)
    if shape is None or len(shape) != 2 or features.dtype != tf.float32:
        raise InputError(f"{handle} is no feature vector: it gives {shape} where float32 [n, width] is needed")
    return int(shape[1])
