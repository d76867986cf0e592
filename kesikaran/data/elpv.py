"""The ELPV photographs of solar cells, from the package elpv-dataset into a label CSV and an object store.

The wheel `elpv-dataset` (1.0.0.post1, images CC BY-NC-SA 4.0) carries 2,624 electroluminescence photographs,
300 px square and grey, with the probability 0, 1/3, 2/3 or 1 that the cell is defective (Deitsch et al. 2019,
Solar Energy 185). The images are copied into the cache on the user's machine and nowhere else.
"""

import hashlib
import importlib.util
import os
from pathlib import Path

from kesikaran.core import files, terminal
from kesikaran.core.errors import InputError, NotInstalled

VERSION = "1.0.0.post1"
_LAYOUT = "v2"  # to be raised when the files written here change: an old folder is then left alone
IMAGES = 2624
IMAGES_BYTES = 90_254_053  # of all of them
DEFECTIVE = 821  # probability > 0.5
# Of label.csv as written here. It names every image by its SHA-1, so this one hash covers all images too.
LABELS_SHA256 = "bd00346a328412e653e86202fb1180410a3146a3ef411dceab238ca3585f9c84"
_INSTALL = 'pip install "kesikaran[demo]"'


def prepare(folder_root: Path) -> tuple[Path, Path]:
    """(the label CSV, the image folder) under `<folder_root>/elpv/1.0.0.post1-v2`, made the first time.

    Images: `images/<sha1 of the file's bytes>.png`, byte for byte those of the wheel. Labels: `label.csv`, sorted by
    `objectId`, with the columns

    - objectId: the file's name.
    - value: 1 where the probability is above 0.5 (821 of 2,624), else 0.
    - position: 0-2623, the place in the wheel's own list, in which cells of one solar module are neighbours.
    - probability: that the cell is defective.
    - module: mono or poly.

    The wheel is needed the first time only.

    Raises:
        InputError: the wheel is not installed (NotInstalled) or not the version above; the folder is not writable, or
            something else is in its place.
    """
    target = folder_root / "elpv" / f"{VERSION}-{_LAYOUT}"
    files.remove_damaged(target, _whole, "The folder of the demo's photographs")
    files.build_once(target, "label.csv", lambda fresh: _write(_data_folder(), fresh))
    return target / "label.csv", target / "images"


def prepare_deitsch(folder_root: Path) -> tuple[Path, Path]:
    """As `prepare`, with the labels of Deitsch et al. (2019): `<folder_root>/elpv/deitsch-v1/label.csv`, whose columns
    are those of `prepare` and

    - value: 1 where the probability is above 0 (1,116 of 2,624), else 0.
    - weight: what the image counts for. 1/3 and 2/3 where the probability is 1/3 or 2/3, else 1.
    - stratum: module and probability, which the splits of the paper keep in proportion.
    """
    given, images = prepare(folder_root)
    names, *rows = given.read_text().splitlines()
    lines = [f"{names},weight,stratum"]
    for row in rows:
        name, _, position, probability, module = row.split(",")
        thirds = round(3 * float(probability))
        weight = f"{thirds / 3:.10f}" if thirds in (1, 2) else "1"
        lines.append(f"{name},{int(thirds > 0)},{position},{probability},{module},{weight},{module} {probability}")
    content = "\n".join([*lines, ""]).encode()
    target = folder_root / "elpv" / "deitsch-v1" / "label.csv"
    if not target.is_file() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(target, content)
    return target, images


def _whole(folder: Path) -> bool:
    """Whether the label CSV is the published one and the images have the size that they have together. An image whose
    bytes have changed is refused when it is read, since it is named by its SHA-1."""
    try:
        labels = (folder / "label.csv").read_bytes()
        sizes = [entry.stat().st_size for entry in os.scandir(folder / "images")]
    except OSError:
        return False
    return hashlib.sha256(labels).hexdigest() == LABELS_SHA256 and (len(sizes), sum(sizes)) == (IMAGES, IMAGES_BYTES)


def _data_folder() -> Path:
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(f"the package elpv-dataset is not installed: {_INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "data"


def _write(data: Path, folder: Path) -> None:
    try:
        lines = (data / "labels.csv").read_text(encoding="ascii").splitlines()
        rows = [(path, float(probability), module) for path, probability, module in map(str.split, lines)]
        defective = sum(probability > 0.5 for _, probability, _ in rows)
        if (len(rows), defective) != (IMAGES, DEFECTIVE):
            raise ValueError(f"{len(rows)} images with {defective} defective, expected {IMAGES} with {DEFECTIVE}")
        labels = _copy_images(data, folder / "images", rows)
    except (ValueError, FileNotFoundError) as error:
        raise _wrong_data(data, str(error)) from error
    if hashlib.sha256(labels).hexdigest() != LABELS_SHA256:
        raise _wrong_data(data, "an image or a label is not the published one")
    (folder / "label.csv").write_bytes(labels)


def _copy_images(data: Path, images: Path, rows: list[tuple[str, float, str]]) -> bytes:
    """Copy each image to a file named by its SHA-1 and return the label CSV."""
    images.mkdir(parents=True)
    described = []
    for position, (path, probability, module) in enumerate(terminal.progress(rows, "copying ELPV", "image")):
        content = (data / path).read_bytes()
        name = f"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}.png"
        (images / name).write_bytes(content)
        described.append(f"{name},{int(probability > 0.5)},{position},{probability:.4f},{module}\n")
    return "".join(["objectId,value,position,probability,module\n", *sorted(described)]).encode()


def _wrong_data(data: Path, reason: str) -> InputError:
    return InputError(f"{data} is not elpv-dataset {VERSION} ({reason}): {_INSTALL} --force-reinstall")
