"""From a handle to the folder of its SavedModel, and from there to a layer. The only user of `tensorflow_hub`."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@lru_cache(maxsize=1)  # for the life of the process: loading one again would leak about 0.5 GB
def load_layer(handle: str, folder: Path, digest: str) -> Any:
    """The SavedModel in `folder`, whose files have `digest`, as a tf_keras layer.

    Raises:
        InputError: TensorFlow cannot load it.
    """
    import tensorflow_hub as hub

    try:
        # float32 is the precision in the file. Under a mixed-precision policy the layer would cast its input.
        return hub.KerasLayer(str(folder), trainable=False, dtype=tf.float32)
    except Exception as error:
        raise InputError(f"{handle} is not a TF-Hub SavedModel: {errors.first_line(error)}") from None


def folder(handle: str) -> Path:
    """The folder of a handle's SavedModel. What is not on this machine yet is downloaded or built.

    Raises:
        InputError: nothing is at the handle, or the cache is not writable.
    """
    if handle == EMBEDDED:
        root = files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
        return efficientnet_lite0.saved_model(root / "backbones")
    if is_url(handle):
        return download(handle)
    folder = Path(os.path.expanduser(handle)).absolute()
    if not (folder / "saved_model.pb").is_file():
        raise InputError(
            f"backbone.handle={handle}: no SavedModel folder is there (it would hold saved_model.pb); "
            f"give one, a hub URL, or backbone=efficientnet_lite0"
        )
    return folder


def download(url: str, afresh: bool = False) -> Path:
    """The folder of a module in the module cache (`$TFHUB_CACHE_DIR`, else within the cache folder), fetched at most
    once. Several processes may call it at once.

    Args:
        afresh: fetch a module that is there once more. The old one stays where that fails.

    Raises:
        InputError: plain http, the server or the network fails, or the cache is not writable.
    """
    import tensorflow_hub as hub

    # A SavedModel is a program, which anybody on the way could change over plain http.
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise InputError(f"backbone.handle={url} would be fetched unencrypted: give it as https://")
    settings = {"TFHUB_CACHE_DIR": str(paths.cache_dir() / "tfhub"), "TFHUB_DOWNLOAD_PROGRESS": "1"}
    settings = {name: os.environ.get(name, default) for name, default in settings.items()}
    cache = Path(settings["TFHUB_CACHE_DIR"])
    files.writable(cache, "module cache", "set TFHUB_CACHE_DIR or KESIKARAN_CACHE to one that is")
    folder = cache / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    aside = folder.with_name(f"{folder.name}.damaged")
    with filelock.FileLock(f"{folder}.kesikaran.lock"):
        if afresh:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        try:
            with _environment(settings):
                fetched = Path(hub.resolve(url))
        except Exception as error:
            if afresh:  # a user may have put it there by hand, so it is removed only once it is replaced
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


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables of the process for a block. `tensorflow_hub` takes its settings from nowhere else."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
