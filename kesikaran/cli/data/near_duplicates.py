"""Near-duplicates by perceptual hash, before any training: `kesikaran data near-duplicates DATA`."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.cli import door
from kesikaran.core import parallel, terminal
from kesikaran.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_AHEAD = 64


def main() -> None:
    """The command line. Exit codes: 0 done, also with near-duplicates; 1 an error; 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        description="Find clusters of near-duplicates (re-encoded, resized or slightly cropped copies) among the "
        "images of DATA by a perceptual hash, show those that hold both labels, and write the label file with a "
        "further column near_duplicate: the cluster, by its smallest objectId. Train on it with "
        "split.group=near_duplicate, which keeps a cluster on one side of the split. An image that cannot be read "
        "is named and stays a cluster of its own."
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder with images/ and label.csv")
    parser.add_argument("--split", type=Path, help="a CSV objectId,value,type, as kesikaran data split writes it: show "
                        "the clusters that lie on several sides, too")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: near_duplicates.csv in DATA")
    parser.add_argument("--distance", type=int, default=32, metavar="BITS", help="the most bits of 128 in which the "
                        "hashes of near-duplicates differ, 0 to 63; default: %(default)s")  # fmt: skip
    door.add_max_megapixels(parser)
    words = door.words(parser)
    with door.opened("Stopped. Nothing was written."):
        out = words.out or words.data / "near_duplicates.csv"
        find(words.data, words.split, out, words.distance, door.max_megapixels(words))


def find(data: Path, given: Path | None, out: Path, distance: int, max_megapixels: float) -> None:
    import numpy as np

    from kesikaran.data import label_file, near_duplicates, original_names, split_rules

    labels, images = data / "label.csv", data / "images"
    if not 0 <= distance < 64:
        raise InputError(f"--distance {distance} is not allowed: 0 to 63 bits; unrelated images differ in about 64")
    if not images.is_dir():
        raise InputError(f"{data} has no folder images; give the folder that an ingest wrote to")
    table = label_file.read_labels(labels, both_classes=False).table
    sides = split_rules.from_table(table, label_file.read_split(given)) if given else None
    for path in (labels, given):
        if path and out.exists() and out.samefile(path):
            raise InputError(f"--out {out} is {path} itself; give another name")
    found, refused = hashes(list(table["object_id"]), images, max_megapixels)
    known_as = original_names.of(images, table["object_id"])
    for name, reason in refused.items():
        print(f"{known_as[name]}: {reason}")
    if not found:
        raise InputError(f"none of the {len(table)} images of {labels} can be read")
    pairs = near_duplicates.by_hash(np.stack(list(found.values())), distance)
    cluster = dict(zip(found, near_duplicates.clusters(list(found), pairs), strict=True))
    table[near_duplicates.COLUMN] = [cluster.get(name, name) for name in table["object_id"]]
    sizes = table[near_duplicates.COLUMN].value_counts()
    print(f"{(sizes > 1).sum()} clusters of near-duplicates hold {sizes[sizes > 1].sum()} of {len(table)} images.")
    show(near_duplicates.crossing(table, "label"), "label", "hold both labels", known_as)
    if sides is not None:
        apart = near_duplicates.crossing(table.assign(split=sides["split"]), "split")
        show(apart, "split", "lie on several sides", known_as)
    # In the order of the label file: neighbours in it may be siblings.
    rows = table.sort_values("row").drop(columns="row").rename(columns={"object_id": "objectId", "label": "value"})
    door.write_table(rows, out)
    print(f"Labels with the column {near_duplicates.COLUMN} written to {out}")


def hashes(
    object_ids: list[str], images: Path, max_megapixels: float
) -> "tuple[dict[str, np.ndarray], dict[str, str]]":
    """(object id -> its perceptual hash, object id -> why it has none)."""
    from kesikaran.data import image_file, image_pixels, object_store

    there = object_store.find(object_store.objects(images), object_ids)
    found: dict[str, np.ndarray] = {}
    refused: dict[str, str] = {}

    def one(name: str) -> "np.ndarray | str":
        try:
            if name not in there:
                raise image_file.BadImage(image_file.Reason.missing)
            with image_file.opened(there[name], max_megapixels, object_store.sha1_of(name)) as image:
                return image_pixels.perceptual_hash(image_pixels.picture(image))
        except image_file.BadImage as reason:
            return str(reason)

    with (
        terminal.progress(None, "hashing", "image", len(object_ids)) as bar,
        closing(parallel.ordered(one, object_ids, _AHEAD)) as results,
    ):
        for name, result in results:
            if isinstance(result, str):
                refused[name] = result
            else:
                found[name] = result
            bar.update()
    return found, refused


def show(rows: "pd.DataFrame", column: str, what: str, known_as: dict[str, str]) -> None:
    """Print clusters, the images of each by name with their value of `column` before it."""
    from kesikaran.data import near_duplicates

    print(f"{rows[near_duplicates.COLUMN].nunique()} clusters {what}{':' if len(rows) else '.'}")
    width = rows[column].astype(str).str.len().max()
    for _, cluster in rows.groupby(near_duplicates.COLUMN):
        print()
        for name, value in zip(cluster["object_id"], cluster[column], strict=True):
            print(f"  {column} {value:<{width}}  {known_as[name]}")
    if len(rows):
        print()
