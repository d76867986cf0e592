"""Handles to SavedModel folders and layers. The one door to `tensorflow_hub`."""

import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
import tensorflow as tf

from kesikaran.core import errors, files, paths
from kesikaran.core.errors import InputError
from kesikaran.models import efficientnet_lite0

EMBEDDED = "embedded:efficientnet_lite0"


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
        raise InputError(f"{handle} is not a TF-Hub SavedModel: {errors.first_line(error)}") from None


def folder(handle: str) -> Path:
    if handle == EMBEDDED:
        root = files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
        return efficientnet_lite0.saved_model(root / "backbones")
    if is_url(handle):
        return download(handle)
    folder = Path(handle).expanduser().absolute()
    if not (folder / "saved_model.pb").is_file():
        raise InputError(
            f"backbone.handle={handle}: no SavedModel folder is there (it would hold saved_model.pb); "
            f"give one, a hub URL, or backbone=efficientnet_lite0"
        )
    return folder


def download(url: str, afresh: bool = False) -> Path:
    import tensorflow_hub as hub

    # A SavedModel is a program: over plain http anybody on the way could change it.
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise InputError(f"backbone.handle={url} would be fetched unencrypted: give it as https://")
    cache = Path(os.environ.setdefault("TFHUB_CACHE_DIR", str(paths.cache_dir() / "tfhub")))
    files.writable(cache, "module cache", "set TFHUB_CACHE_DIR or KESIKARAN_CACHE to one that is")
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
                f"backbone.handle={url} could not be fetched ({errors.first_line(error)}). Offline? Put the unpacked "
                f"module into {folder}, give a SavedModel folder as backbone.handle=, "
                "or use the embedded backbone=efficientnet_lite0"
            ) from None
        shutil.rmtree(aside, ignore_errors=True)
        return fetched


def is_url(handle: str) -> bool:
    return handle.startswith(("https://", "http://"))
