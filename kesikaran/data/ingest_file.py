"""The work of an ingest on one file: read, checked, converted where needed, and written beside the store."""

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from kesikaran.core import files
from kesikaran.data import image_file, image_pixels
from kesikaran.data.image_file import BadImage, Encoded, Reason


@dataclass(frozen=True)
class ReadFile:
    """A usable file. object_id: of its object. converted: the kind of conversion, None where there was none. remark:
    what libjpeg complains of in spite of that; empty where it does not."""

    path: Path
    label: int
    object_id: str
    converted: str | None
    remark: str = ""


@dataclass(frozen=True)
class Intake:
    """What is done with each file, on many threads.

    known: SHA-1 -> (object id, label) of label.csv. stored: file name -> path of the store. incoming: the folder of new
    objects.
    """

    known: dict[str, tuple[str, int]]
    stored: dict[str, Path]
    incoming: Path
    link: bool
    max_megapixels: float

    def take(self, file: tuple[Path, int]) -> ReadFile | str:
        """Read and check a file, and write it to `incoming` where the store lacks it. A str: why it is refused."""
        try:
            with image_file.opened(file[0], self.max_megapixels, None) as image:
                return self._take(*file, image)
        except BadImage as reason:
            return str(reason)

    def _take(self, path: Path, label: int, image: Encoded) -> ReadFile:
        from kesikaran.data import preprocess  # it loads TensorFlow

        encoded, extension = image.content, image.extension
        object_id = self.known.get(_sha1(encoded), ("", 0))[0]
        if object_id and self._has(object_id, encoded):  # an earlier call has decoded it
            return ReadFile(path, label, object_id, None)
        remark = image.complaint
        conversion = image_pixels.convert(image)
        if conversion:
            encoded, extension, remark = conversion[0], ".png", ""
        if not preprocess.decodes(encoded):
            raise BadImage(Reason.damaged, "it cannot be decoded")
        sha1 = _sha1(encoded)
        object_id = self.known.get(sha1, (sha1 + extension, 0))[0]
        if not self._has(object_id, encoded):
            self._bring(object_id, encoded, path if self.link and not conversion else None)
        return ReadFile(path, label, object_id, conversion[1] if conversion else None, remark)

    def _has(self, object_id: str, encoded: bytes) -> bool:
        place = self.stored.get(object_id)
        return place is not None and place.is_file() and place.stat().st_size == len(encoded)

    def _bring(self, object_id: str, encoded: bytes, source: Path | None) -> None:
        """Put an object into `incoming`, as a hard link to `source` where one is given and can be made.

        By rename: an object that is there may be a hard link to a file of the user's, which must not be written to.
        """
        aside = self.incoming / f".{object_id}.{threading.get_ident()}"
        if not (source and _linked(source, aside)):
            files.write_whole(self.incoming / object_id, encoded, durable=False)
            return
        try:
            os.replace(aside, self.incoming / object_id)
        finally:
            aside.unlink(
                missing_ok=True
            )  # still there where both names were links to one file: the rename does nothing


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(os.path.realpath(source), target)  # of a symbolic link the link itself may be linked
    except OSError:
        return False
    return True


def _sha1(encoded: bytes) -> str:
    return hashlib.sha1(encoded, usedforsecurity=False).hexdigest()
