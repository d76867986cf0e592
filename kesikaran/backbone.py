"""A handle to a loaded module, its digest and its input contract. The one door to `tensorflow_hub`."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
import tensorflow as tf

from kesikaran import lite0, paths
from kesikaran.errors import InputError

EMBEDDED = "embedded:efficientnet_lite0"


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
        return load_layer(self.handle, self.folder, self.digest)


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
    folder = _folder(handle)
    found = digest(folder)
    seen = paths.cache_dir() / "backbones" / "seen"
    # Empty files whose names say it all: there is no content that could be half written.
    for mark in seen.glob(f"{found}-{image_size}px-*"):
        return Backbone(handle, found, int(mark.name.rsplit("-", 1)[1]), folder)
    try:
        layer = load_layer(handle, folder, found)
    except InputError:
        if not _is_url(handle):
            raise
        # Downloads are renamed into place whole, yet a full disk or a copy by hand can leave a torn one.
        print(f"The cached module of {handle} is damaged: fetching it again.")
        folder = _download(handle, afresh=True)
        found = digest(folder)
        layer = load_layer(handle, folder, found)
    width = _feature_width(handle, layer, image_size)
    paths.writable(seen, "cache folder", "set KESIKARAN_CACHE to one that is")
    (seen / f"{found}-{image_size}px-{width}").touch()
    return Backbone(handle, found, width, folder)


@lru_cache(maxsize=1)  # The jobs of a sweep share one: each further load would leak about 0.5 GB
def load_layer(handle: str, folder: Path, digest: str) -> Any:
    """The SavedModel in `folder`, whose files have `digest`, as a tf_keras layer.

    Raises:
        InputError: there is none that TensorFlow can load.
    """
    import tensorflow_hub as hub

    try:
        # float32, or a mixed-precision policy would break it: the precision is fixed in the file.
        return hub.KerasLayer(str(folder), trainable=False, dtype=tf.float32)
    except Exception as error:
        raise InputError(f"{handle} is not a TF-Hub SavedModel: {_first_line(error)}") from None


def digest(folder: Path) -> str:
    """32 hex digits over the names and bytes of a SavedModel's files: the module, not its address."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:32]


def _folder(handle: str) -> Path:
    if handle == EMBEDDED:
        root = paths.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
        return lite0.saved_model(root / "backbones")
    if _is_url(handle):
        return _download(handle)
    folder = Path(handle).expanduser().absolute()
    if not (folder / "saved_model.pb").is_file():
        raise InputError(
            f"backbone.handle={handle}: no SavedModel folder is there (it would hold saved_model.pb); "
            f"give one, a hub URL, or backbone=efficientnet_lite0"
        )
    return folder


def _download(url: str, afresh: bool = False) -> Path:
    import tensorflow_hub as hub

    # A SavedModel is a program: over plain http anybody on the way could change it.
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise InputError(f"backbone.handle={url} would be fetched unencrypted: give it as https://")
    cache = Path(os.environ.setdefault("TFHUB_CACHE_DIR", str(paths.cache_dir() / "tfhub")))
    paths.writable(cache, "module cache", "set TFHUB_CACHE_DIR or KESIKARAN_CACHE to one that is")
    os.environ.setdefault("TFHUB_DOWNLOAD_PROGRESS", "1")
    folder = cache / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    aside = folder.with_name(f"{folder.name}.damaged")
    with filelock.FileLock(f"{folder}.kesikaran.lock"):
        if afresh:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        try:
            fetched = Path(hub.resolve(url))
        except Exception as error:
            if afresh:  # somebody may have put it there by hand: what cannot be replaced is not removed
                aside.rename(folder)
            raise InputError(
                f"backbone.handle={url} could not be fetched ({_first_line(error)}). Offline? Put the unpacked "
                f"module into {folder}, give a SavedModel folder as backbone.handle=, "
                "or use the embedded backbone=efficientnet_lite0"
            ) from None
        shutil.rmtree(aside, ignore_errors=True)
        return fetched


def _feature_width(handle: str, layer: Any, image_size: int) -> int:
    """Call it once on a black image: what comes out must be float32 [1, width]."""
    try:
        features = layer(tf.zeros((1, image_size, image_size, 3)))
    except Exception as error:
        raise InputError(
            f"{handle} does not take images of float32 [n, {image_size}, {image_size}, 3]: {_first_line(error)}; "
            "set backbone.image_size to its own, or give a feature-vector module"
        ) from None
    shape = getattr(features, "shape", None)
    if shape is None or len(shape) != 2 or features.dtype != tf.float32:
        raise InputError(f"{handle} is no feature vector: it gives {shape} where float32 [n, width] is needed")
    return int(shape[1])


def _is_url(handle: str) -> bool:
    return handle.startswith(("https://", "http://"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
