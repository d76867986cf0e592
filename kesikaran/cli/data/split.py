"""Split a label file by the article's rule: `kesikaran data split DATA/label.csv` writes DATA/split_label.csv."""

import argparse
import os
from pathlib import Path

from kesikaran.cli import door
from kesikaran.core.errors import InputError


def main() -> None:
    """The command line. Exit codes: 0 done, 1 an error, 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        description="Write the split that a run with split=sha1_low_byte would use, as a CSV objectId,value,type, "
        "and print its counts. Images are not looked at: a run leaves out those that it cannot read."
    )
    parser.add_argument("labels", type=Path, help="CSV with the columns objectId (SHA-1 file name) and value (0 or 1)")
    parser.add_argument("--out", type=Path, help="default: split_label.csv beside the label file")
    parser.add_argument(
        "--group", metavar="COLUMN", help="of the label file: images with equal values stay on one side, as with "
        "split.group=COLUMN. near_duplicate is the one that kesikaran data near-duplicates writes"
    )  # fmt: skip
    growth = parser.add_argument_group("when the label file has grown")
    growth.add_argument(
        "--against", type=Path, help="an earlier split: show how many images changed side, and where to"
    )
    growth.add_argument(
        "--pin", type=Path, help="an earlier split: its images stay where they were, so that none that was trained on "
        "comes into test; the new ones are balanced around them. Train on it with split=from_file split.file=OUT",
    )  # fmt: skip
    arguments = door.words(parser)
    arguments.out = arguments.out or arguments.labels.with_name("split_label.csv")
    with door.opened():
        _split(arguments)


def _split(arguments: argparse.Namespace) -> None:
    """Split the label file, write the split and print its counts."""
    from kesikaran.config.schema import SplitConfig
    from kesikaran.data import label_file, split, split_rules

    if not os.path.exists(arguments.labels):
        raise InputError(f"label file {arguments.labels} does not exist; kesikaran data ingest makes DATA/label.csv")
    labels = label_file.read_labels(arguments.labels)
    if arguments.group and arguments.pin:
        raise InputError("--pin does not go with --group: a new image may come to another side than its group's")
    if arguments.group and arguments.group not in labels.table.columns:
        columns = ", ".join(labels.table.columns.drop(["object_id", "row"]))
        raise InputError(f"--group {arguments.group} is no column of {arguments.labels}; it has: {columns}")
    earlier = {path: label_file.read_split(path) for path in (arguments.against, arguments.pin) if path}
    config = SplitConfig(group=arguments.group)
    table = split_rules.sha1_low_byte(labels.table, config, pinned=earlier.get(arguments.pin))
    split.need_both_classes(table)
    moved = {path: split.moves(old, table) for path, old in earlier.items()}
    for path in (arguments.labels, *earlier):
        if arguments.out.exists() and arguments.out.samefile(path):
            raise InputError(f"--out {arguments.out} is {path} itself; give another name")
    table = table[["object_id", "label", "split"]]
    named = table.rename(columns={"object_id": "objectId", "label": "value", "split": "type"})
    door.write_table(named, arguments.out)
    if labels.repeated:
        print(f"{labels.repeated} repeated rows of {arguments.labels} are counted once.")
    print(split.counts(table).rename_axis(index="type", columns="label").to_string())
    for path, sides in moved.items():
        print(f"\nImages by their side in {path} (rows) and now (columns):\n{sides.to_string()}")
        print(f"{sides.to_dict('index')['train']['test']} images that were trained on are now in test.")
    print(f"\nSplit {split.fingerprint(table)} written to {arguments.out}")
