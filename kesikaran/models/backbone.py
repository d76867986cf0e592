"""The frozen backbone of a handle: its digest, its feature width and its layer."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kesikaran.core import files, paths
from kesikaran.models import feature_vector, hub, module_graph
from kesikaran.models.module_files import DamagedModule, digest


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
def load(handle: str, image_size: int, trusted: bool = False) -> Backbone:
    """The backbone of a handle, a feature-vector module in the TF-Hub format.

    The module's graph is looked through in every process: see `module_graph`. The module is loaded and called once, to
    prove that it gives feature vectors. That it did is noted in the cache folder by its digest, and later processes
    need not load it. A copy in the cache that is damaged is made anew.

    Args:
        handle: a hub URL (downloaded once into `$TFHUB_CACHE_DIR`, else the cache folder), the
            folder of a SavedModel, or `embedded:efficientnet_lite0`.
        image_size: height and width of the images in px.
        trusted: the module may do more than compute, and take its time.

    Raises:
        InputError: nothing is at the handle, it does more than compute, or it gives no feature vectors.
    """
    folder = hub.folder(handle)
    found = digest(folder)
    try:
        return _proven(handle, folder, found, image_size, trusted)
    except DamagedModule:
        if handle != hub.EMBEDDED and not hub.is_url(handle):
            raise
    # A download is renamed into place, but a full disk or a copy by hand can leave a part of a module.
    folder = hub.folder(handle, damaged=found)
    return _proven(handle, folder, digest(folder), image_size, trusted)


def _proven(handle: str, folder: Path, found: str, image_size: int, trusted: bool) -> Backbone:
    """The backbone in `folder`, with the digest `found`, once it is known to give feature vectors."""
    if not trusted:
        module_graph.need_only_computing(handle, folder)
    seen = paths.cache_dir() / "backbones" / "seen"
    # The files are empty and their names are the notes: no content could be half written.
    for mark in seen.glob(f"{found}-{image_size}px-*"):
        noted = mark.name.rsplit("-", 1)[1]
        if noted.isdecimal():
            return Backbone(handle, found, int(noted), folder)
    layer = hub.load_layer(handle, folder, found)
    width = feature_vector.prove(handle, layer, image_size, trusted)
    files.writable(seen, "cache folder", "set KESIKARAN_CACHE to one that is")
    (seen / f"{found}-{image_size}px-{width}").touch()
    return Backbone(handle, found, width, folder)
