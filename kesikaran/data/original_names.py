"""`sources.csv` of a data set: which file of the user each image came from, so that people can find it again.

An object is named by its content, and most of a user's files may have been converted. So `ingest` notes here where each
image came from, and whatever shows an image to a person asks here for its name. The file is of use to people only:
where it is missing or cannot be read, an image goes by its object id.
"""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from kesikaran.core import files
from kesikaran.core.errors import InputError
from kesikaran.data import csv_file
from kesikaran.data.object_store import sha1_of

FILE = "sources.csv"  # it lies beside the folder of images
_COLUMNS = ("object_id", "path", "converted")
_LONGEST = 200  # characters of a name that is shown


class Origin(NamedTuple):
    """A file that an image came from. An image with several copies has several.

    path: with `/` between folders; it begins with the name of the folder that was given to ingest, or is as it stands
    in the list. converted: what was done to the picture, in words; empty where the bytes are those of the file.
    """

    object_id: str
    path: str
    converted: str


def read(data: Path) -> list[Origin]:
    """The rows of `data/sources.csv`; none where there is no such file.

    Raises:
        InputError: it is no such table, or as `csv_file.read`.
    """
    path = data / FILE
    if not os.path.isfile(path):
        return []
    rows = csv_file.read(path, str(path), _COLUMNS).rows
    return [Origin(*row) for row in rows[list(_COLUMNS)].itertuples(index=False)]


def write(data: Path, origins: Iterable[Origin]) -> None:
    """Write `data/sources.csv`, each file of an image once (its last row counts), in the order of ids and paths.

    Raises:
        OSError: it cannot be written; the file that was there is unchanged.
    """
    rows = {(origin.object_id.lower(), origin.path): origin for origin in origins}
    sink = io.StringIO()
    table = csv.writer(sink, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(rows[key] for key in sorted(rows))
    files.write_whole(data / FILE, sink.getvalue())


def of(images: Path, object_ids: Iterable[str]) -> dict[str, str]:
    """Object id -> the name that people know the image by: the path that it came from, as `sources.csv` beside the
    folder `images` has it; of an absolute path only the file's name, which may be shown to anybody. The object id
    itself where nothing is known."""
    ids = list(object_ids)
    try:
        origins = read(images.parent) if ids else []
    except InputError as error:
        print(f"{error}; the images go by their ids.")
        origins = []
    wanted = {sha1_of(name) for name in ids}
    paths: dict[str, list[str]] = {}
    for origin in origins:
        if (sha1 := sha1_of(origin.object_id)) in wanted and origin.path:
            paths.setdefault(sha1, []).append(origin.path)
    return {name: _name(paths[sha1_of(name)]) if sha1_of(name) in paths else name for name in ids}


def text(path: PurePath) -> str:
    """A path as text that a file in UTF-8 and a terminal can hold: what is no printable character becomes `\\xff`."""
    return _printable(os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace"))


def _name(paths: list[str]) -> str:
    first = PurePath(paths[0])
    name = first.name if first.is_absolute() else paths[0]
    shown = _printable(name if len(name) <= _LONGEST else f"...{name[-_LONGEST:]}")
    return f"{shown} (and {len(paths) - 1} more)" if len(paths) > 1 else shown


def _printable(name: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in name)
