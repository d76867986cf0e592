"""Labelled image files into an object store and its label.csv.

Stored is a JPEG or PNG byte for byte, under the SHA-1 of its bytes and the extension of its content; a
CMYK or transparent image as an RGB PNG (see `imagefile.convert`) under the SHA-1 of the new bytes.
Orientation tags stay in the file and are not applied, as in training.

Objects are gathered beside the store and come in by rename when every source has been read, label.csv
after them: what a killed call leaves, the next one makes good.
"""

import hashlib
import json
import os
import shutil
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

import filelock

from kesikaran.core import files, parallel, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import image_file, label_file, object_store
from kesikaran.data.ingest_sources import Source

_AHEAD = 64  # files under way; only their names and reasons are kept after


class Layout(Enum):
    """Where a new object goes: `images/ab12....jpg` or `images/ab/ab12....jpg`."""

    flat = "flat"
    nested = "nested"


@dataclass(frozen=True)
class Report:
    """Counts of files: taken + already_there + duplicates + those refused is all of them.

    duplicates: further copies, in this call, of an image that is taken or already there. converted: kind of
    conversion -> files. refused: kind of reason -> files. refused_files: (path, reason). rows: label -> rows
    of label.csv now.
    """

    taken: int
    already_there: int
    duplicates: int
    converted: dict[str, int]
    refused: dict[str, int]
    refused_files: list[tuple[str, str]]
    rows: dict[int, int]


@dataclass(frozen=True)
class _Read:
    path: Path
    label: int
    object_id: str
    converted: str | None


def ingest(sources: list[Source], out: Path, layout: Layout, link: bool, max_megapixels: float) -> Report:
    """Take every usable image of `sources` into `out/images` and its label into `out/label.csv`.

    Adds to what is there: rows stay, the same call again changes nothing. The same image under two labels,
    here or against label.csv, is refused. With `link` an unconverted image becomes a hard link where the
    file system allows it. Writes the report to `out/ingest_report.json` as well.

    Raises:
        InputError: `out` is not writable or in use by another ingest; its label.csv is malformed or has
            further columns; a source without a single usable image. Nothing is taken then.
    """
    images = files.writable(out / "images", "output folder", "give another with --out")
    incoming = images / ".incoming"
    with alone(out):
        try:
            shutil.rmtree(incoming, ignore_errors=True)  # of a killed call
            known = _known(out / "label.csv")
            stored = object_store.objects(images)
            incoming.mkdir()
            read, refused = _read_all(sources, _Intake(known, stored, incoming, link, max_megapixels))
            fresh, report = _settle(read, refused, known, out / "label.csv")
            _place(incoming, {**fresh, **dict(known.values())}, stored, images, layout)
            files.write_whole(out / "ingest_report.json", json.dumps(asdict(report), indent=1) + "\n")
            if fresh:
                rows = sorted([*known.values(), *fresh.items()])
                files.write_whole(
                    out / "label.csv", "objectId,value\n" + "".join(f"{name},{label}\n" for name, label in rows)
                )
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    return report


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold the one lock on the folder of a data set.

    Raises:
        InputError: another process holds it, or the folder is not writable.
    """
    lock = filelock.FileLock(data / ".ingest.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"another ingest or verify is at work in {data}") from None
    except OSError as error:
        raise InputError(f"{data} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Intake:
    """The work on one file, done on many threads."""

    known: dict[str, tuple[str, int]]
    stored: dict[str, Path]
    incoming: Path
    link: bool
    max_megapixels: float

    def take(self, file: tuple[Path, int]) -> _Read | str:
        """The file read, checked and waiting in `incoming` if the store lacks it; or why it is refused."""
        path, label = file
        try:
            encoded = image_file.read(path)
            object_id = self.known.get(_sha1(encoded), ("", 0))[0]
            if object_id and self._has(object_id, encoded):  # decoded when it came in
                return _Read(path, label, object_id, None)
            image, extension = image_file.decode(encoded, self.max_megapixels)
            conversion = image_file.convert(image)
        except image_file.BadImage as reason:
            return str(reason)
        if conversion:
            encoded, extension = conversion[0], ".png"
        sha1 = _sha1(encoded)
        object_id = self.known.get(sha1, (sha1 + extension, 0))[0]
        if not self._has(object_id, encoded):
            self._bring(object_id, encoded, path if self.link and not conversion else None)
        return _Read(path, label, object_id, conversion[1] if conversion else None)

    def _has(self, object_id: str, encoded: bytes) -> bool:
        place = self.stored.get(object_id)
        return place is not None and place.is_file() and place.stat().st_size == len(encoded)

    def _bring(self, object_id: str, encoded: bytes, source: Path | None) -> None:
        """Renamed into place: what stands there may be a hard link to a file of the user's, never to be written to."""
        aside = self.incoming / f".{object_id}.{threading.get_ident()}"
        if not (source and _linked(source, aside)):
            files.write_whole(self.incoming / object_id, encoded, durable=False)
            return
        try:
            os.replace(aside, self.incoming / object_id)
        finally:
            aside.unlink(missing_ok=True)  # a rename onto a link to the same file does nothing


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(os.path.realpath(source), target)  # else it may be the symbolic link that is linked
    except OSError:
        return False
    return True


def _known(label_csv: Path) -> dict[str, tuple[str, int]]:
    """SHA-1 -> (object id, label) of the rows that are there."""
    if not label_csv.exists():
        return {}
    table = label_file.read_labels(label_csv, both_classes=False).table[["object_id", "label"]]
    with label_csv.open(encoding="utf-8-sig") as file:
        if file.readline().strip().replace('"', "") != "objectId,value":
            raise InputError(f"{label_csv} has further columns, which would be lost; give another folder with --out")
    return {object_store.sha1_of(name): (name, int(label)) for name, label in table.itertuples(index=False)}


def _read_all(sources: list[Source], intake: _Intake) -> tuple[list[_Read], list[tuple[str, str]]]:
    """Every file that is usable, and every (path, reason) of the others.

    Raises:
        InputError: a source without any usable image.
    """
    read: list[_Read] = []
    refused: list[tuple[str, str]] = []
    total = sum(len(source.files) for source in sources)
    with terminal.progress(None, "ingest", "image", total) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are judged here
        for source in sources:
            before = len(read)
            bad = list(source.refused)
            with closing(parallel.ordered(intake.take, source.files, _AHEAD)) as results:
                for file, result in results:
                    if isinstance(result, _Read):
                        read.append(result)
                    else:
                        bad.append((str(file[0]), result))
                    bar.update()
            if len(read) == before:
                raise InputError(f"{source.name} has no usable image (the first: {': '.join(bad[0])})")
            refused += bad
    return read, refused


def _settle(
    read: list[_Read], refused: list[tuple[str, str]], known: dict[str, tuple[str, int]], label_csv: Path
) -> tuple[dict[str, int], Report]:
    """(object id -> label of the new rows, the report). An image under two labels is refused."""
    said: dict[str, dict[int, Path]] = {name: {label: label_csv} for name, label in known.values()}
    for one in read:
        said.setdefault(one.object_id, {}).setdefault(one.label, one.path)
    old = dict(known.values())
    counts: Counter[str] = Counter()
    fresh: dict[str, int] = {}
    seen: set[str] = set()
    refused = list(refused)
    for one in read:
        other = said[one.object_id].get(1 - one.label)
        if other and old.get(one.object_id) != one.label:
            refused.append((str(one.path), f"two labels: {one.label} here, {1 - one.label} in {other}"))
            continue
        counts["duplicates" if one.object_id in seen else "already" if one.object_id in old else "taken"] += 1
        seen.add(one.object_id)
        if one.object_id not in old:
            fresh[one.object_id] = one.label
    rows = Counter([*old.values(), *fresh.values()])
    return fresh, Report(
        taken=counts["taken"],
        already_there=counts["already"],
        duplicates=counts["duplicates"],
        converted=dict(sorted(Counter(one.converted for one in read if one.converted).items())),
        refused=dict(Counter(reason.split(":")[0] for _, reason in refused).most_common()),
        refused_files=refused,
        rows={label: rows[label] for label in (0, 1)},
    )


def _place(incoming: Path, wanted: dict[str, int], stored: dict[str, Path], images: Path, layout: Layout) -> None:
    """Into the store by rename; in place of an object that was there and is cut short, where there is one."""
    for name in sorted(set(os.listdir(incoming)) & set(wanted)):
        nested = images / name[:2] / name
        target = stored.get(name, nested if layout is Layout.nested else images / name)
        target.parent.mkdir(exist_ok=True)
        os.replace(incoming / name, target)


def _sha1(encoded: bytes) -> str:
    return hashlib.sha1(encoded, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    from kesikaran.core import process

    process.elsewhere("kesikaran data ingest")
