"""Split a label file by the article's rule: `python scripts/split.py label.csv` writes split_label.csv."""

import argparse
import os
import sys
from pathlib import Path

import pandas as pd

from kesikaran import dataset, split
from kesikaran.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the split that a run with split=sha1_low_byte would use, as a CSV objectId,value,type, "
        "and print its counts. Images are not looked at: a run leaves out those that it cannot read."
    )
    parser.add_argument("labels", type=Path, help="CSV with the columns objectId (SHA-1 file name) and value (0 or 1)")
    parser.add_argument("--out", type=Path, default=Path("split_label.csv"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        labels = dataset.read_labels(arguments.labels)
        table = split.sha1_low_byte(labels.table)
        if arguments.out.exists() and arguments.out.samefile(arguments.labels):
            raise InputError(f"--out {arguments.out} is the label file itself; give another name")
        write(table.rename(columns={"object_id": "objectId", "label": "value", "split": "type"}), arguments.out)
    except InputError as error:
        sys.exit(f"error: {error}")
    if labels.repeated:
        print(f"{labels.repeated} repeated rows of {arguments.labels} are counted once.")
    print(split.counts(table).rename_axis(index="type", columns="label").to_string())
    print(f"\nSplit {split.fingerprint(table)} written to {arguments.out}")


def write(table: pd.DataFrame, out: Path) -> None:
    """Aside and renamed, so that a kill leaves no half file."""
    aside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        table.to_csv(aside, index=False, lineterminator="\n")
        os.replace(aside, out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None


if __name__ == "__main__":
    main()
