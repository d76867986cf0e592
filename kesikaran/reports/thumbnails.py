"""Thumbnails of the images of a data set, which a page holds in itself."""

import base64
import io
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kesikaran.core import parallel, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import image_file, image_pixels, object_store, original_names

_AHEAD = 64
_THUMBNAIL_PX = 224
_BLUR = 16  # a blurred thumbnail holds every 16th pixel of its longer side


@dataclass(frozen=True)
class Thumbnail:
    """name: by which people know the image (`original_names`). jpeg: the picture, or None, and then `why` is the
    reason."""

    name: str
    jpeg: bytes | None
    why: str = ""

    @property
    def data_uri(self) -> str | None:
        """The picture as the source of an `<img>` that needs no other file."""
        return None if self.jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


def make(names: Iterable[str], images: Path, max_megapixels: float, blur: bool) -> list[Thumbnail]:
    """The thumbnails of object ids, in their order.

    Args:
        images: the folder of objects, in either layout. An image that is missing, damaged or not what its name says
            has no picture.
        max_megapixels: an image with more pixels is not decoded and has no picture.
        blur: only every 16th pixel goes into the picture, so that the sharp image cannot be restored from it.

    Raises:
        InputError: a name is not an object id. It could lead out of the folder.
    """
    names = [str(name) for name in names]
    for name in names:
        if not object_store.is_object_id(name):
            raise InputError(f"the run's table names {name[:80]!r}, which is no SHA-1 file name")
    there = object_store.find(object_store.objects(images), names)
    files = [there.get(name, images / name) for name in names]
    known_as = original_names.of(images, names)
    with (
        terminal.progress(None, "thumbnails", "image", len(files)) as bar,
        closing(parallel.ordered(lambda path: _thumbnail(path, max_megapixels, blur), files, _AHEAD)) as results,
    ):
        made = []
        for name, (_, result) in zip(names, results, strict=True):
            jpeg, why = (None, result) if isinstance(result, str) else (result, "")
            made.append(Thumbnail(known_as[name], jpeg, why))
            bar.update()
    return made


def missing(made: Iterable[Thumbnail]) -> dict[str, int]:
    """Kind of reason -> number of thumbnails without a picture, the commonest first."""
    return dict(Counter(thumbnail.why.split(":")[0] for thumbnail in made if thumbnail.why).most_common())


def _thumbnail(path: Path, max_megapixels: float, blur: bool) -> bytes | str:
    """A JPEG of at most 224 px a side without metadata, or the reason why there is none."""
    try:
        with image_file.opened(path, max_megapixels, object_store.sha1_of(path.name)) as file:
            image = image_pixels.picture(file)
            image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    except image_file.BadImage as reason:
        return str(reason)
    if blur:
        size = image.size
        image.thumbnail((max(1, max(size) // _BLUR),) * 2)
        image = image.resize(size)
    image.info.clear()  # Pillow would copy a comment
    sink = io.BytesIO()
    image.save(sink, "JPEG")
    return sink.getvalue()
