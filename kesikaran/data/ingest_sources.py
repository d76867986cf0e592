"""The sources of an ingest, labelled folders and lists, read as files with their labels."""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from kesikaran.core.errors import InputError
from kesikaran.data import csv_file


@dataclass
class Source:
    """files: (path, label 0 or 1). refused: (path, reason) of links and folders that are not read. folder: the one that
    was given, or the list's. shown_folder: what it is called in the paths that people see."""

    name: str
    files: list[tuple[Path, int]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    folder: Path = Path()
    shown_folder: str = ""

    def shown(self, path: Path) -> PurePath:
        """The path of one of its files from its folder on; the absolute path of a file that lies elsewhere."""
        try:
            return PurePath(self.shown_folder, path.absolute().relative_to(self.folder.absolute()))
        except ValueError:
            return path.absolute()


def read(words: list[str], out: Path) -> list[Source]:
    """Read the sources `FOLDER=0`, `FOLDER=1` and `list.csv`, in the order in which they are given.

    A folder is read with its subfolders, in the order of names, without hidden files and folders. A link to a file
    inside the folder is followed; a link out of the folder and a link to a folder are refused.

    Args:
        words: of the command line.
        out: the folder that the objects will go to.

    Raises:
        InputError: no such folder or list, a label that is not 0 or 1, a folder given twice or inside another, `out`
            inside a source, a folder without files, a malformed list.
    """
    folders: dict[Path, tuple[str, int]] = {}
    for word in words:
        path, equals, label = word.rpartition("=")
        if os.path.isfile(word) or not equals:
            continue
        if label not in ("0", "1"):
            raise InputError(f"{word}: the label {label[:40]!r} is not allowed; 0 or 1 is")
        if not os.path.isdir(path):
            raise InputError(f"folder {path} does not exist; give FOLDER=0, FOLDER=1 or list.csv")
        _check_apart(path, folders, out)
        folders[Path(path).resolve()] = (path, int(label))
    found = []
    for word in words:
        path, equals, label = word.rpartition("=")
        is_list = os.path.isfile(word) or not equals
        found.append(_read_list(Path(word)) if is_list else _walk(Path(path), int(label)))
    return found


def _check_apart(path: str, others: dict[Path, tuple[str, int]], out: Path) -> None:
    here = Path(path).resolve()
    if out.resolve().is_relative_to(here):
        raise InputError(f"--out {out} is inside the source folder {path}; give one outside")
    for there, (other, label) in others.items():
        if here == there:
            raise InputError(f"folder {path} is given twice, first as {other}={label}; give it once")
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise InputError(f"of the folders {other} and {path} one is inside the other; each must stand apart")


def _walk(folder: Path, label: int) -> Source:
    root = folder.resolve()
    source = Source(str(folder), folder=folder, shown_folder=root.name)

    def unreadable(error: OSError) -> None:
        source.refused.append((str(error.filename), f"unreadable: {error.strerror}"))

    for here, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked = [Path(here, name) for name in folders if Path(here, name).is_symlink()]
        source.refused.extend((str(path), "a link to a folder") for path in linked)
        for path in (Path(here, name) for name in sorted(names) if not name.startswith(".")):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                source.refused.append((str(path), "a link out of its folder"))
            else:
                source.files.append((path, label))
    if not source.files:
        raise InputError(f"folder {folder} has no images")
    return source


def _read_list(path: Path) -> Source:
    if not os.path.isfile(path):
        raise InputError(f"{path} is neither FOLDER=0 or FOLDER=1 nor a CSV file with the columns path,label")
    given = csv_file.read(path, f"list {path}", ("path", "label"))
    source = Source(str(path), folder=path.parent)
    files, labels = given.rows["path"], given.rows["label"].str.strip()
    for line, file, label in zip(given.lines, files, labels, strict=True):
        if not file:
            raise InputError(f"list {path} line {line}: the path is empty")
        if label not in ("0", "1"):
            raise InputError(f"list {path} line {line}: label {label[:40]!r} is not allowed; 0 or 1 is")
        source.files.append((path.parent / file, int(label)))
    return source
