"""The command `kesikaran`, which is also `python -m kesikaran` and `python -m kesikaran.cli`.

A command's module is imported when the command is chosen, so that the list of commands comes at once.
"""

import difflib
import importlib
import sys

from kesikaran.core import streams
from kesikaran.core.errors import printable

# command -> (its module, what it does)
COMMANDS = {
    "train": ("kesikaran.cli.train", "one experiment, or with -m a sweep of them; --help shows every setting"),
    "evaluate": ("kesikaran.cli.evaluate", "decide and score a finished run anew, without training"),
    "compare": ("kesikaran.cli.compare", "two finished runs, or all jobs of a sweep, image by image"),
    "predict": ("kesikaran.cli.predict", "judge images with the model of a finished run"),
    "promote": ("kesikaran.cli.promote", "let a registered model be a run that is better, or not worse by a margin"),
    "serve": ("kesikaran.cli.serve", "a model behind a page and an HTTP address on this machine"),
    "publish": ("kesikaran.cli.publish", "a model as one folder, and as a version in MLflow's registry"),
    "features": ("kesikaran.cli.features", "what the feature cache holds, whether it is whole, what may go"),
    "store relocate": ("kesikaran.cli.store", "set right where a store's files are, after it was moved or copied"),
    "data ingest": ("kesikaran.cli.data.ingest", "copy your images into a data set, each named by its content"),
    "data verify": ("kesikaran.cli.data.verify", "check that a data set is whole"),
    "data split": ("kesikaran.cli.data.split", "show the split of a label file and write it"),
    "data near-duplicates": ("kesikaran.cli.data.near_duplicates", "find copies of one image before any training"),
    "data label-doubts": ("kesikaran.cli.data.label_doubts", "show the labels that a cross-validation doubts most"),
    "data relabel": ("kesikaran.cli.data.relabel", "correct the labels that were ticked there"),
}


def main() -> None:
    """The command line. Exit codes: 0 the list of commands was asked for, 2 no such command, else the command's own."""
    streams.install()
    words = sys.argv[1:]
    length = 2 if words[:1] in (["data"], ["store"]) else 1
    name, rest = " ".join(words[:length]), words[length:]
    if name in COMMANDS:
        # Hydra reads its words, and writes its TAB completion for the name of the program: that script completes.
        sys.argv = ["kesikaran-train" if name == "train" else f"kesikaran {name}", *rest]
        importlib.import_module(COMMANDS[name][0]).main()
        return
    group = f"{words[0]} " if length == 2 else ""
    asked = name.removeprefix(group) if group else name
    if name == group.strip() or asked in ("", "-h", "--help"):
        print(usage(group))
        return
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"; do you mean kesikaran {near[0]}?" if near else ""
    print(f"error: kesikaran has no command {printable(name)}{hint}\n\n{usage(group)}", file=sys.stderr)
    sys.exit(2)


def usage(group: str = "") -> str:
    """The commands whose names begin with `group`, a line each."""
    lines = [f"  kesikaran {name:22}{what}" for name, (_, what) in COMMANDS.items() if name.startswith(group)]
    return "\n".join(
        [f"usage: kesikaran {group}COMMAND ...", "", *lines, "", "kesikaran COMMAND --help says more of each."]
    )


if __name__ == "__main__":
    main()
