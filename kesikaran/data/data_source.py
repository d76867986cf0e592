"""The label file and the image folder of a run, found from its settings."""

from pathlib import Path

from kesikaran.config.schema import DataConfig, DataSource
from kesikaran.core import files, paths
from kesikaran.core.errors import InputError
from kesikaran.data import elpv


def locate(config: DataConfig) -> tuple[Path, Path]:
    """(the label file, the image folder), absolute. The embedded ELPV set is copied into the cache first.

    Raises:
        InputError: there is no such image folder, the cache is not writable, the demo's package is not installed.
    """
    if config.source is DataSource.elpv:
        cache = files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
        return elpv.prepare(cache)
    labels, images = Path(config.labels or "").expanduser(), Path(config.images or "").expanduser()
    if not images.is_dir():
        raise InputError(f"image folder {images} does not exist; give data.images=FOLDER")
    return labels.absolute(), images.absolute()


def images_folder(given: Path | None, params: dict[str, str]) -> Path:
    """The image folder `given`; where it is None, that of a run with these params (of `compose.flatten`).

    Raises:
        InputError: the folder does not exist; for the embedded set as `locate`.
    """
    if given is None and params.get("data.source") == DataSource.elpv.name:
        return locate(DataConfig(source=DataSource.elpv))[1]
    folder = (given or Path(params.get("data.images", ""))).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f"image folder {folder} does not exist; give --images FOLDER")
    return folder


def max_megapixels(params: dict[str, str]) -> float:
    """The `data.max_megapixels` of a run with these params (of `compose.flatten`); the default where there is none."""
    return float(params.get("data.max_megapixels", DataConfig().max_megapixels))
