"""From a handle to the folder of its SavedModel, and from there to a layer. The only user of `tensorflow_hub`."""

import hashlib
import os
import shutil
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock

from kesikaran.core import errors, files, paths, terminal
from kesikaran.core.errors import InputError
from kesikaran.models import download as fetching
from kesikaran.models import efficientnet_lite0
from kesikaran.models.module_files import GRAPH, DamagedModule, digest

EMBEDDED = "embedded:efficientnet_lite0"


@lru_cache(maxsize=1)  # for the life of the process: loading one again would leak about 0.5 GB
def load_layer(handle: str, folder: Path, digest: str) -> Any:
    """The SavedModel in `folder`, whose files have `digest`, as a tf_keras layer.

    Raises:
        DamagedModule: TensorFlow cannot load it.
    """
    return _load(handle, folder, trainable=False)


@lru_cache(maxsize=1)  # for the same reason
def load_trainable(handle: str, folder: Path, digest: str, strategy: Any = None) -> tuple[Any, list[Any]]:
    """The SavedModel as a tf_keras layer whose variables can be trained, apart from that of `load_layer`, and the
    values of its variables in the file, an array for each. Whoever trains the layer sets them first.

    Args:
        strategy: a `tf.distribute.Strategy`, in whose scope the variables are; None on one device.

    Raises:
        DamagedModule: TensorFlow cannot load it.
    """
    with strategy.scope() if strategy else nullcontext():
        layer = _load(handle, folder, trainable=True)
    return layer, [variable.numpy() for variable in layer.variables]


def _load(handle: str, folder: Path, trainable: bool) -> Any:
    # The import warns of pkg_resources, and the filter of `core.process` has let the warning pass once.
    with terminal.quiet_start():
        import tensorflow_hub as hub  # here, so that a folder can be found without loading TensorFlow

    try:
        # float32 is the precision in the file. Under a mixed-precision policy the layer would cast its input.
        return hub.KerasLayer(str(folder), trainable=trainable, dtype="float32")
    except Exception as error:
        raise DamagedModule(
            f"{errors.without_password(handle)} is not a TF-Hub SavedModel: {errors.first_line(error)}"
        ) from None


def folder(handle: str, damaged: str | None = None) -> Path:
    """The folder of a handle's SavedModel. What is not on this machine yet is downloaded or built.

    Args:
        damaged: the digest of what is there and cannot be loaded. A copy in the cache is then made anew.

    Raises:
        InputError: nothing is at the handle, nothing better can be made of it, or the cache is not writable.
    """
    if handle == EMBEDDED:
        root = files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
        return efficientnet_lite0.saved_model(root / "backbones", damaged)
    if is_url(handle):
        return download(handle, damaged)
    folder = Path(os.path.expanduser(handle)).absolute()
    if not (folder / GRAPH).is_file():
        raise InputError(
            f"backbone.handle={errors.printable(errors.without_password(handle))}: no SavedModel folder is there (it "
            f"would hold {GRAPH}); give one, a hub URL, or backbone=efficientnet_lite0"
        )
    return folder


def download(url: str, damaged: str | None = None) -> Path:
    """The folder of a module in the module cache (`$TFHUB_CACHE_DIR`, else within the cache folder), fetched at most
    once. Several processes may call it at once.

    Args:
        damaged: the digest of a module that is there and cannot be loaded. It is fetched once more, unless it is as it
            was fetched. The old one stays where that fails: a user may have put it there by hand.

    Raises:
        InputError: see `download.fetch`; or the cache is not writable, or nothing better can be fetched.
    """
    fetching.need_safe_address(url)
    cache = Path(os.environ.get("TFHUB_CACHE_DIR") or paths.cache_dir() / "tfhub").expanduser().absolute()
    files.writable(cache, "module cache", "set TFHUB_CACHE_DIR or KESIKARAN_CACHE to one that is")
    folder = cache / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()  # as tensorflow_hub names it
    aside = folder.with_name(f"{folder.name}.damaged")
    with filelock.FileLock(f"{folder}.kesikaran.lock"):
        there = folder.is_dir() and any(folder.iterdir())
        if there and damaged != digest(folder):
            return folder
        if there and damaged and fetching.as_served(folder, damaged):
            raise InputError(
                f"backbone.handle={errors.without_password(url)} gives a module that cannot be loaded; to fetch it "
                f"again, delete {folder}"
            )
        if there:
            print(f"The cached module of {errors.without_password(url)} is damaged: fetching it again.")
        shutil.rmtree(aside, ignore_errors=True)
        if folder.exists():
            folder.rename(aside)
        try:
            fetching.fetch(url, folder)
        except BaseException:
            if aside.exists():
                aside.rename(folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def is_url(handle: str) -> bool:
    return handle.lower().startswith(("https://", "http://"))
