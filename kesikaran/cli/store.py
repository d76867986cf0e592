"""`kesikaran store relocate`: set the addresses of a store's files right after it was moved or copied."""

import argparse
from pathlib import Path

from kesikaran.cli import door

_HELP = """
A store of runs keeps where the files of each run are: from the root of the disk on. After the checkout was moved, or in
a copy of it, runs would be written to the old place and files looked for there. This sets every address in the store's
file from the folder OLD to the folder NEW, after it has seen that the files are in NEW. All are set, or none.

  kesikaran store relocate                     the folder that the addresses name, to the folder of the store's file
  kesikaran store relocate /old/checkout       where they name several
  kesikaran store relocate --dry-run           check, and change nothing
"""


def main() -> None:
    """The command line. Exit codes: 0 done, 1 an error, 130 Ctrl-C, 143 SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="kesikaran store relocate", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", nargs="?", type=Path, metavar="OLD", help="the folder that held mlruns")
    parser.add_argument("new", nargs="?", type=Path, metavar="NEW", help="the folder that holds mlruns now")
    parser.add_argument("--dry-run", action="store_true", help="check everything and change nothing")
    words = door.words(parser)
    with door.opened():
        from kesikaran.tracking import relocate, run_store

        store = run_store.database()
        done = relocate.relocate(store, words.old, words.new, words.dry_run)
        print(f"{done.old} -> {done.new} {'would be' if words.dry_run else 'is'} set in {store}:")
        for column, count in done.counts.items():
            print(f"  {column:34}{count:8,}")
        if done.without_files:
            print(f"{done.without_files:,} runs have files in neither place.")
