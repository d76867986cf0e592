"""A loaded backbone: its digest, its feature width, its input contract."""

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
    """digest: of its files. width: of its features. folder: its SavedModel."""

    handle: str
    digest: str
    width: int
    folder: Path

    @property
    def layer(self) -> Any:
        """images float32 [n, size, size, 3] -> features float32 [n, width]. Loaded when it is first asked for: a
        run that finds its features and its export template in the cache never asks, and is seconds quicker."""
        return hub.load_layer(self.handle, self.folder, self.digest)


@lru_cache(maxsize=1)
def load(handle: str, image_size: int) -> Backbone:
    """A frozen feature-vector module in the TF-Hub format.

    It is loaded and called here to see that it is one, unless a module of its digest has been seen before.

    Args:
        handle: a hub URL (downloaded once into `$TFHUB_CACHE_DIR`, else the cache folder), the
            folder of a SavedModel, or `embedded:efficientnet_lite0`.
        image_size: height and width in px that it will be called with.

    Raises:
        InputError: nothing at the handle, or no feature vector.
    """
    folder = hub.folder(handle)
    found = digest(folder)
    seen = paths.cache_dir() / "backbones" / "seen"
    # Empty files whose names say it all: there is no content that could be half written.
    for mark in seen.glob(f"{found}-{image_size}px-*"):
        return Backbone(handle, found, int(mark.name.rsplit("-", 1)[1]), folder)
    try:
        layer = hub.load_layer(handle, folder, found)
    except InputError:
        if not hub.is_url(handle):
            raise
        # Downloads are renamed into place whole, yet a full disk or a copy by hand can leave a torn one.
        print(f"The cached module of {handle} is damaged: fetching it again.")
        folder = hub.download(handle, afresh=True)
        found = digest(folder)
        layer = hub.load_layer(handle, folder, found)
    width = _feature_width(handle, layer, image_size)
    files.writable(seen, "cache folder", "set KESIKARAN_CACHE to one that is")
    (seen / f"{found}-{image_size}px-{width}").touch()
    return Backbone(handle, found, width, folder)


def digest(folder: Path) -> str:
    """32 hex digits over the names and bytes of a SavedModel's files: the module, not its address."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:32]


def _feature_width(handle: str, layer: Any, image_size: int) -> int:
    """Call it once on a black image: what comes out must be float32 [1, width]."""
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
