"""Your images into an object store: `kesikaran data ingest --out DATA FOLDER0=0 FOLDER1=1` or `... list.csv`."""

import argparse
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.cli import door
from kesikaran.core.errors import printable

if TYPE_CHECKING:
    from kesikaran.data.ingest import Report


def main() -> None:
    """The command line. Exit codes: 0 done, also with refusals; 1 an error; 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        description="Copy images into DATA/images, each named by the SHA-1 of its bytes, and write DATA/label.csv "
        "(objectId,value) and DATA/sources.csv, which says which file each image was. Adds to what is there; may be "
        "stopped and run again. A folder counts with its subfolders; "
        "hidden files are passed over, a link to a file is followed while it stays inside the folder. JPEG and PNG are "
        "stored byte for byte. Converted are a CMYK JPEG, to RGB by Pillow, and an image with transparency, to RGB on "
        "white: stored as 8-bit PNG without metadata, named by the SHA-1 of the new bytes. Refused, by name and "
        "reason: whatever else is no whole JPEG or PNG that training can decode, animations, 16 bits a sample of which "
        "the upper eight would lose the picture, and an image that comes under two labels."
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="FOLDER=0, FOLDER=1, or a CSV path,label "
                        "(relative paths start at the CSV's folder; its links are followed)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DATA", help="the folder of the data set")
    parser.add_argument("--layout", choices=("flat", "nested"), default="flat",
                        help="of new objects: images/ab12....jpg or images/ab/ab12....jpg; default: flat")  # fmt: skip
    parser.add_argument("--link", action="store_true", help="hard links in place of copies, where the file system "
                        "allows; such a source must not be changed in place afterwards")  # fmt: skip
    door.add_max_megapixels(parser)
    words = door.words(parser)
    with door.opened("Stopped. No label was changed: the same command does it all."):
        from kesikaran.data import ingest, ingest_sources

        max_megapixels = door.max_megapixels(words)
        report = ingest.ingest(
            ingest_sources.read(words.sources, words.out),
            words.out,
            ingest.Layout[words.layout],
            words.link,
            max_megapixels,
        )
    print(summary(report, words.out))


def summary(report: "Report", out: Path) -> str:
    """The report in words, the first refusals by name; its last line says what to do next."""
    lines = [f"{report.taken} images taken, {report.already_there} already there, {report.duplicates} duplicates."]
    lines += [f"Converted, {kind}: {count}" for kind, count in report.converted.items()]
    if report.refused_files:
        kinds = ", ".join(f"{kind} {count}" for kind, count in report.refused.items())
        lines += [f"Refused {len(report.refused_files)} files: {kinds}"]
        lines += [f"  {printable(path)}: {printable(reason)}" for path, reason in report.refused_files[:20]]
        if len(report.refused_files) > 20:
            lines += [f"  ... all of them in {out / 'ingest_report.json'}"]
    if report.remarks:
        path, words_of_libjpeg = report.remarks[0]
        lines += [
            f"libjpeg complains of {len(report.remarks)} images that are whole (the first: {printable(path)}: "
            f"{words_of_libjpeg}); all of them in {out / 'ingest_report.json'}"
        ]
    lines += [
        f"{out / 'label.csv'}: {report.rows[0]} images of label 0, {report.rows[1]} of label 1.",
        f"{out / 'sources.csv'}: which file each image came from.",
    ]
    if not all(report.rows.values()):
        lines += [f"Next: images of label {int(not report.rows[1])}; training needs both."]
        return "\n".join(lines)
    name = re.sub(r"[^\w.-]", "_", out.absolute().name, flags=re.ASCII).lstrip("_.-") or "images"
    words = [_override("data.labels", out / "label.csv"), _override("data.images", out / "images"), f"data.name={name}"]
    return "\n".join([*lines, " ".join(["Next: python -m kesikaran.train data=label_csv", *words])])


def _override(key: str, path: Path) -> str:
    """A word for the shell that Hydra reads as `key` set to `path`, absolute."""
    value = str(path.absolute())
    if re.fullmatch(r"[\w/.+-]+", value, flags=re.ASCII):
        return f"{key}={value}"
    quoted = re.sub(r'(\\+)(?="|$)', r"\1\1", value).replace('"', r"\"")  # only these are special to Hydra
    return shlex.quote(f'{key}="{quoted}"')
