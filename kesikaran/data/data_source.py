"""Where the label file and the images of a run lie."""

from pathlib import Path

from kesikaran.config.schema import DataConfig, DataSource
from kesikaran.core import files, paths
from kesikaran.core.errors import InputError
from kesikaran.data import elpv


def locate(config: DataConfig) -> tuple[Path, Path]:
    """The label file and the image folder. The embedded ELPV set is laid down in the cache first.

    Raises:
        InputError: no such folder, the cache is not writable, the demo's package is not installed.
    """
    if config.source is DataSource.elpv:
        cache = files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
        return elpv.prepare(cache)
    labels, images = Path(config.labels or "").expanduser(), Path(config.images or "").expanduser()
    if not images.is_dir():
        raise InputError(f"image folder {images} does not exist; give data.images=FOLDER")
    return labels.absolute(), images.absolute()


def images_folder(given: Path | None, params: dict[str, str]) -> Path:
    """The folder of images that is `given`, else that of a run with these params (of `config.flatten`).

    Raises:
        InputError: it does not exist; as `locate`, of the embedded set.
    """
    if given is None and params.get("data.source") == DataSource.elpv.name:
        return locate(DataConfig(source=DataSource.elpv))[1]
    folder = (given or Path(params.get("data.images", ""))).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f"image folder {folder} does not exist; give --images FOLDER")
    return folder


def max_megapixels(params: dict[str, str]) -> float:
    """The limit of pixels of a run with these params (of `config.flatten`)."""
    return float(params.get("data.max_megapixels", DataConfig().max_megapixels))
