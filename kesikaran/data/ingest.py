"""Labelled image files into an object store and its label.csv.

A JPEG or PNG is stored byte for byte, under the SHA-1 of its bytes and the extension of its content. A CMYK or
transparent image is stored as an RGB PNG (see `image_pixels.convert`), under the SHA-1 of the new bytes. Orientation
tags stay in the file; they are applied where it is read.

Where each image came from is noted in sources.csv (`original_names`).

New objects are gathered in a folder beside the store. When every source has been read, they are renamed into the store,
and label.csv is written last. So the same call again completes what a killed call has left.
"""

import json
import os
import shutil
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from kesikaran.core import files, parallel, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import label_file, libjpeg_lines, object_store, original_names, relabel
from kesikaran.data.ingest_file import Intake, ReadFile
from kesikaran.data.ingest_sources import Source
from kesikaran.data.original_names import Origin

_AHEAD = 64  # files that are held in memory; of the others only names and reasons are kept


class Layout(Enum):
    """Where a new object goes: `images/ab12....jpg` or `images/ab/ab12....jpg`."""

    flat = "flat"
    nested = "nested"


@dataclass(frozen=True)
class Report:
    """Counts of files: taken + already_there + duplicates + the sum of refused is the number of all files.

    duplicates: further copies, in this call, of an image that is taken or already there. converted: kind of conversion
    -> files. refused: kind of reason -> files. refused_files: (path, reason). remarks: (path, what libjpeg complains
    of) of files that are whole. rows: label -> rows of the new label.csv.
    """

    taken: int
    already_there: int
    duplicates: int
    converted: dict[str, int]
    refused: dict[str, int]
    refused_files: list[tuple[str, str]]
    remarks: list[tuple[str, str]]
    rows: dict[int, int]


def ingest(sources: list[Source], out: Path, layout: Layout, link: bool, max_megapixels: float) -> Report:
    """Take every usable image of `sources` into `out/images` and its label into `out/label.csv`.

    Rows of label.csv that are there stay, and the same call again changes nothing. An image under two labels, among the
    sources or against label.csv, is refused. The report is written to `out/ingest_report.json` as well, and to
    `out/sources.csv` which file each image of label.csv came from.

    Args:
        out: made where missing.
        layout: of new objects.
        link: an image that needs no conversion becomes a hard link where the file system allows it.

    Raises:
        InputError: `out` is not writable or in use by another ingest; its label.csv is malformed or has further
            columns; its sources.csv is malformed; a source has no usable image. Nothing is taken then.
    """
    images = files.writable(out / "images", "output folder", "give another with --out")
    incoming = images / ".incoming"
    with object_store.alone(out):
        try:
            _remove_leftovers(out, incoming)
            known = _known(out / "label.csv")
            corrected = relabel.corrected(out / "label.csv", dict(known.values()))
            origins = _origins(out)
            stored = object_store.objects(images)
            stored |= object_store.find(stored, (name for name, _ in known.values()))
            incoming.mkdir()
            read, refused, found = _read_all(sources, Intake(known, stored, incoming, link, max_megapixels))
            fresh, report = _settle(read, refused, known, out / "label.csv", corrected)
            kept = {**fresh, **dict(known.values())}
            _place(incoming, kept, stored, images, layout)
            files.write_whole(out / "ingest_report.json", json.dumps(asdict(report), indent=1) + "\n")
            original_names.write(out, [*origins, *(origin for origin in found if origin.object_id in kept)])
            if fresh:
                rows = sorted([*known.values(), *fresh.items()], key=lambda row: row[0].lower())
                files.write_whole(
                    out / "label.csv", "objectId,value\n" + "".join(f"{name},{label}\n" for name, label in rows)
                )
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    return report


def _remove_leftovers(out: Path, incoming: Path) -> None:
    """Remove what a killed call has left. Only the holder of the lock writes these files."""
    shutil.rmtree(incoming, ignore_errors=True)
    for name in ("label.csv", "ingest_report.json", original_names.FILE):
        files.remove_temporaries(out / name)


def _known(label_csv: Path) -> dict[str, tuple[str, int]]:
    """SHA-1 -> (object id, label) of the rows of label.csv."""
    if not label_csv.exists():
        return {}
    table = label_file.read_labels(label_csv, both_classes=False).table[["object_id", "label"]]
    with label_csv.open(encoding="utf-8-sig") as file:
        if file.readline().strip().replace('"', "") != "objectId,value":
            raise InputError(f"{label_csv} has further columns, which would be lost; give another folder with --out")
    return {object_store.sha1_of(name): (name, int(label)) for name, label in table.itertuples(index=False)}


def _origins(out: Path) -> list[Origin]:
    """The rows of sources.csv."""
    try:
        return original_names.read(out)
    except InputError as error:
        raise InputError(f"{error}; rename or remove it: its place is for where the images came from") from None


def _read_all(sources: list[Source], intake: Intake) -> tuple[list[ReadFile], list[tuple[str, str]], list[Origin]]:
    """(every usable file, (path, reason) of every other file, where the images of the usable files came from).

    Raises:
        InputError: a source without any usable image.
    """
    read: list[ReadFile] = []
    refused: list[tuple[str, str]] = []
    origins: list[Origin] = []
    total = sum(len(source.files) for source in sources)
    with terminal.quiet_start():
        from kesikaran.data import preprocess  # it loads TensorFlow, which decodes each image

        preprocess.leave_gpus_free()
    with libjpeg_lines.kept_back(), terminal.progress(None, "ingest", "image", total) as bar:
        for source in sources:
            before = len(read)
            bad = list(source.refused)
            with closing(parallel.ordered(intake.take, source.files, _AHEAD)) as results:
                for file, result in results:
                    if isinstance(result, ReadFile):
                        read.append(result)
                        converted = f"{result.converted}, saved as PNG" if result.converted else ""
                        shown = original_names.text(source.shown(result.path))
                        origins.append(Origin(result.object_id, shown, converted))
                    else:
                        bad.append((str(file[0]), result))
                    bar.update()
            if len(read) == before:
                raise InputError(f"{source.name} has no usable image (the first: {': '.join(bad[0])})")
            refused += bad
    return read, refused, origins


def _settle(
    read: list[ReadFile],
    refused: list[tuple[str, str]],
    known: dict[str, tuple[str, int]],
    label_csv: Path,
    corrected: set[str],
) -> tuple[dict[str, int], Report]:
    """(object id -> label of the new rows, the report). An image under two labels is refused, but for the `corrected`
    ones, whose file lies where the old label says."""
    labels: dict[str, dict[int, Path]] = {name: {label: label_csv} for name, label in known.values()}
    for file in read:
        labels.setdefault(file.object_id, {}).setdefault(file.label, file.path)
    old = dict(known.values())
    counts: Counter[str] = Counter()
    fresh: dict[str, int] = {}
    seen: set[str] = set()
    refused = list(refused)
    for file in read:
        other = labels[file.object_id].get(1 - file.label)
        if other and old.get(file.object_id) != file.label and file.object_id not in corrected:
            stays = ", which stays" if file.object_id in old else ""
            refused.append((str(file.path), f"two labels: {file.label} here, {1 - file.label} in {other}{stays}"))
            continue
        counts["duplicates" if file.object_id in seen else "already" if file.object_id in old else "taken"] += 1
        seen.add(file.object_id)
        if file.object_id not in old:
            fresh[file.object_id] = file.label
    rows = Counter([*old.values(), *fresh.values()])
    return fresh, Report(
        taken=counts["taken"],
        already_there=counts["already"],
        duplicates=counts["duplicates"],
        converted=dict(sorted(Counter(file.converted for file in read if file.converted).items())),
        refused=dict(Counter(reason.split(":")[0] for _, reason in refused).most_common()),
        refused_files=refused,
        remarks=[(str(file.path), file.remark) for file in read if file.remark],
        rows={label: rows[label] for label in (0, 1)},
    )


def _place(incoming: Path, wanted: dict[str, int], stored: dict[str, Path], images: Path, layout: Layout) -> None:
    """Rename the objects in `incoming` that are `wanted` into the store. A damaged object there is replaced."""
    for name in sorted(set(os.listdir(incoming)) & set(wanted)):
        nested = images / name[:2] / name
        target = stored.get(name, nested if layout is Layout.nested else images / name)
        target.parent.mkdir(exist_ok=True)
        os.replace(incoming / name, target)


if __name__ == "__main__":
    from kesikaran.core import process

    process.elsewhere("kesikaran data ingest")
