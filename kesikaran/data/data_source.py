"""The label file and the image folder of a run, found from its settings."""

import math
import os
from pathlib import Path

from kesikaran.config.schema import DataConfig, DataSource
from kesikaran.core import files, paths
from kesikaran.core.errors import InputError, printable
from kesikaran.data import elpv

EMBEDDED = (DataSource.elpv, DataSource.elpv_deitsch)


def locate(config: DataConfig) -> tuple[Path, Path]:
    """(the label file, the image folder), absolute. The embedded ELPV set is copied into the cache first.

    Raises:
        InputError: there is no such image folder, the cache is not writable, the demo's package is not installed.
    """
    if config.source in EMBEDDED:
        cache = files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
        return elpv.prepare(cache) if config.source is DataSource.elpv else elpv.prepare_deitsch(cache)
    labels, images = (os.path.expanduser(given or "") for given in (config.labels, config.images))
    if not os.path.isdir(images):  # no Path: it raises where a name is too long or the home of a user is not known
        raise InputError(f"image folder {printable(images)} does not exist; give data.images=FOLDER")
    return Path(labels).absolute(), Path(images).absolute()


def images_folder(given: Path | None, params: dict[str, str]) -> Path:
    """The image folder `given`; where it is None, that of a run with these params (of `compose.flatten`).

    Raises:
        InputError: the folder does not exist; for the embedded set as `locate`.
    """
    source = params.get("data.source")
    if given is None and source in [one.name for one in EMBEDDED]:
        return locate(DataConfig(source=DataSource[source]))[1]
    folder = Path(os.path.expanduser(given or params.get("data.images", ""))).absolute()
    if not os.path.isdir(folder):
        raise InputError(f"image folder {printable(str(folder))} does not exist; give --images FOLDER")
    return folder


def max_megapixels(params: dict[str, str]) -> float:
    """The `data.max_megapixels` of a run with these params (of `compose.flatten`); the default where there is none.

    Raises:
        InputError: the param is no number above 0.
    """
    text = params.get("data.max_megapixels", str(DataConfig().max_megapixels))
    try:
        most = float(text)
    except ValueError:
        most = math.nan
    if not 0 < most < math.inf:
        raise InputError(f"the run's param data.max_megapixels={printable(text[:80])} is not allowed: above 0")
    return most
