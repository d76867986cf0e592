"""Labels that a person found wrong, corrected: `kesikaran data relabel DATA corrections.csv`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.cli import door

if TYPE_CHECKING:
    from kesikaran.data.relabel import Corrected

_SHOWN = 20  # images that are named


def main() -> None:
    """The command line. Exit codes: 0 done, 1 an error and no label was changed, 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        description="Correct labels in DATA/label.csv: those that were ticked on the page of kesikaran data "
        "label-doubts and saved there as corrections.csv (object_id,label,corrected: the old label and the new one). "
        "All of them are corrected, or none where one does not fit. The old file is kept beside it as "
        "label.before-DATE-TIME.csv; to undo, copy it over label.csv."
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder with label.csv, or a label file")
    parser.add_argument("corrections", type=Path, metavar="corrections.csv", help="the file that the page has saved")
    words = door.words(parser)
    with door.opened("Stopped."):
        from kesikaran.data import relabel

        labels = words.data if words.data.is_file() else words.data / "label.csv"
        print(summary(relabel.relabel(labels, words.corrections), labels))


def summary(done: "Corrected", labels: Path) -> str:
    """What was changed in words, the first images by name; its last lines say what to do next."""
    from kesikaran.data import original_names

    changed = done.changed.head(_SHOWN)
    names = original_names.of(labels.parent / "images", changed["object_id"])
    lines = [f"{len(done.changed)} labels corrected in {labels}:"]
    lines += [f"  {old} -> {new}  {names[object_id]}" for object_id, old, new in changed.itertuples(index=False)]
    if len(done.changed) > _SHOWN:
        lines += [f"  and {len(done.changed) - _SHOWN} more"]
    lines += [
        f"It has {done.rows[0]} images of label 0 and {done.rows[1]} of label 1 now.",
        f"The labels as they were: {done.kept}",
    ]
    lines += [f"{path} still has the old labels: make it anew." for path in done.stale]
    return "\n".join([*lines, "Next: train again as before. Runs on the new labels are not mixed with the old ones."])
