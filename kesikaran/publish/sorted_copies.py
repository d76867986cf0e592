"""Copies of images, or links to them, in folders by what a model decided."""

import errno
import os
import shutil
from pathlib import Path

import pandas as pd

from kesikaran.core import files, scratch
from kesikaran.core.errors import InputError, printable

NOT_SURE = "not_sure"
_LONGEST_NAME = 255  # bytes, on all file systems in use


class SortedCopies:
    """The folders `0`, `1` and `not_sure` of a folder. A second call with the same images changes nothing there."""

    def __init__(self, folder: Path, link: bool):
        """link: symbolic links in place of copies."""
        self._folder, self._link = folder, link
        self.lost = 0  # files that were gone or unreadable when they were to be copied

    def check(self) -> None:
        """Raises InputError where the folder cannot be written to."""
        for folder in (self._folder, *(self._folder / name for name in ("0", "1", NOT_SURE))):
            if os.path.lexists(folder) and not os.path.isdir(folder):
                raise InputError(f"--copy-to: {printable(str(folder))} is a file; give another folder")
        files.writable(self._folder, "folder of --copy-to", "give another with --copy-to")

    def add(self, rows: pd.DataFrame) -> None:
        """Copy the images of some rows of `publish.predict.predict`.

        Raises:
            InputError: the disk is full. No copy is ever a part of an image.
        """
        with (
            files.disk_space(f"the folder {self._folder}", "or give another with --copy-to"),
            scratch.held_folder(self._made(), ".copying-") as making,
        ):
            used = rows.loc[rows["refused"] == "", ["path", "sha1", "label", "sure"]]
            for path, sha1, label, sure in used.itertuples(index=False):
                place = self._folder / (str(label) if sure else NOT_SURE)
                place.mkdir(parents=True, exist_ok=True)
                try:
                    self._put(Path(path), place, sha1, making / "copy")
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    self.lost += 1

    def _made(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def _put(self, source: Path, folder: Path, sha1: str, temporary: Path) -> None:
        target = folder / source.name
        if os.path.lexists(target) and not _same(source, target):
            # Of two images with one name from two folders the second is called by its content too.
            target = folder / _with_end(source.stem, f"-{sha1[:12]}{source.suffix}")
        if os.path.lexists(target) and (self._link or not target.is_symlink()):
            return
        if self._link:
            os.symlink(source.absolute(), target)
        else:
            shutil.copyfile(source, temporary)
            os.replace(temporary, target)  # also in the place of a link, which an earlier call has made


def _with_end(stem: str, end: str) -> str:
    """`stem` and `end` as the name of a file; of a stem that is too long for it, the beginning."""
    return os.fsdecode(os.fsencode(stem)[: _LONGEST_NAME - len(os.fsencode(end))]) + end


def _same(source: Path, target: Path) -> bool:
    """Whether a copy of the image or a link to it is there."""
    if target.is_symlink() and os.readlink(target) == str(source.absolute()):
        return True
    same_size = target.is_file() and source.stat().st_size == target.stat().st_size
    return same_size and source.read_bytes() == target.read_bytes()
