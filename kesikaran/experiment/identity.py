"""What a job is, known before its run opens and before TensorFlow is loaded: its images, its backbone, its code.

What comes later follows from these: which images can be used, which side of the split an image is on, every number.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kesikaran.config import compose
from kesikaran.config.schema import DataConfig, Experiment
from kesikaran.reports import notes

if TYPE_CHECKING:
    import pandas as pd

Made = TypeVar("Made")

_KEPT_FILES = 100_000  # their paths take 30 MB; a million would take a quarter of a gigabyte in every job

# The packages whose versions decide numbers and artifacts, beside this one.
_COMPUTING = ("tensorflow", "tf_keras", "numpy", "scipy", "scikit-learn", "statsmodels", "pandas", "pillow")


@dataclass(frozen=True)
class Images:
    """What a run is asked to look at.

    table: columns object_id, label, row and the label file's further ones. finds_near_duplicates: the label file does
    not name them, and the images are few enough to look for them. digest: of the table, and of which images are there
    and how large their files are. listing: of the folder, unless it is long.
    """

    table: "pd.DataFrame"
    labels_path: Path
    folder: Path
    finds_near_duplicates: bool
    digest: str
    listing: dict[str, Path] | None

    def files(self) -> dict[str, Path]:
        """The files of the image folder, as `object_store.objects` gives them."""
        from kesikaran.data import object_store

        return object_store.objects(self.folder) if self.listing is None else self.listing


@dataclass
class Asked:
    """What the jobs of one command ask for. Each file is read once: the jobs of a sweep are all on the same data."""

    _images: dict[str, Images] = field(default_factory=dict)
    _splits: dict[str, "pd.DataFrame"] = field(default_factory=dict)
    _backbones: dict[str, str] = field(default_factory=dict)
    _last: dict[str, tuple[object, Any]] = field(default_factory=dict)

    def images(self, config: DataConfig) -> Images:
        """Raises InputError: whatever is wrong with the label file or the image folder."""
        key = str(config)
        if key not in self._images:
            self._images[key] = _read_images(config)
        return self._images[key]

    def split(self, file: str | None) -> "pd.DataFrame | None":
        """The table of `split.file`; None where there is none. Raises InputError: see `label_file.read_split`."""
        from kesikaran.data import label_file

        if not file:
            return None
        if file not in self._splits:
            self._splits[file] = label_file.read_split(Path(file))
        return self._splits[file]

    def backbone(self, handle: str) -> str:
        """The digest of a backbone's files, which are fetched or built where they are missing.

        Raises:
            InputError: see `hub.folder`.
        """
        from kesikaran.models import hub, module_files

        if handle not in self._backbones:
            self._backbones[handle] = module_files.digest(hub.folder(handle))
        return self._backbones[handle]

    def learn_backbone(self, handle: str, digest: str) -> bool:
        """Take the digest of a backbone that has been loaded. True where it is another one than was known: a damaged
        copy in the cache was made anew."""
        known = self._backbones.get(handle)
        self._backbones[handle] = digest
        return known != digest

    def once(self, name: str, key: object, make: Callable[[], Made]) -> Made:
        """What `make` gives for the key. The last one of each name is kept: the jobs of a sweep mostly ask for the
        same, and another may be large."""
        if name not in self._last or self._last[name][0] != key:
            self._last[name] = key, make()
        made: Made = self._last[name][1]
        return made

    def fingerprint(self, e: Experiment) -> str:
        """The identity of a run with these settings: 32 hex digits.

        Two files of one size that stand under the same name, one of them damaged, are not told apart: an image is known
        by its name, which is the SHA-1 of what it should hold.

        Raises:
            InputError: as `images`, `split` and `backbone`.
        """
        given = self.split(e.split.file)
        identity = {
            "images": self.images(e.data).digest,
            "split_file": "none" if given is None else _digest(given),
            "backbone_digest": self.backbone(e.backbone.handle),
            "code": code(),
        }
        return compose.fingerprint(e, identity)


def _read_images(config: DataConfig) -> Images:
    from kesikaran.data import data_source, label_file, near_duplicates, object_store

    labels_path, folder = data_source.locate(config)
    labels = label_file.read_labels(labels_path)
    if labels.repeated:
        notes.of_data(f"{labels.repeated} repeated rows of {labels_path} are counted once.")
    table = labels.table.head(config.limit or len(labels.table))
    files = object_store.objects(folder)
    there = object_store.find(files, table["object_id"])
    sizes = [there[name].stat().st_size if name in there else -1 for name in table["object_id"]]
    digest = _digest(table.assign(size_bytes=sizes))
    finds = near_duplicates.COLUMN not in table.columns and len(table) <= near_duplicates.MOST_IMAGES
    if finds:  # the column is there for the split's rule to name, and is filled once there are features
        table = table.assign(**{near_duplicates.COLUMN: ""})
    return Images(table, labels_path, folder, finds, digest, files if len(files) <= _KEPT_FILES else None)


def _digest(table: "pd.DataFrame") -> str:
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()[:32]


@cache  # the code of a process does not change
def code() -> str:
    """The code that computes: this package's, so that a tree with uncommitted changes is its own identity, and the
    versions of the packages that it computes with."""
    root = Path(__file__).parents[1]
    total = hashlib.sha256("\n".join(f"{name} {version(name)}" for name in _COMPUTING).encode())
    for file in sorted(root.rglob("*.py")):
        total.update(f"\n{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return total.hexdigest()[:32]
