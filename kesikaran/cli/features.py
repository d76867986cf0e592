"""`kesikaran features`: what the feature cache holds, whether it is whole, what may go."""

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from kesikaran.cli import door
from kesikaran.core import paths, process, terminal
from kesikaran.core.errors import InputError


def main() -> None:
    """The command line: what the cache holds, whether it is whole, and what may go."""
    process.start()  # before the cache folder is asked for: it is in the user's home
    parser = argparse.ArgumentParser(
        prog="python -m kesikaran.features",
        description=f"The feature cache in {paths.cache_dir() / 'features'}, and the models' templates beside it.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="what is there: images, size, backbone and preprocessing of each key; templates")
    commands.add_parser("verify", help="hash every shard anew; a damaged one is set aside and computed again when used")
    gc = commands.add_parser("gc", help="remove damaged shards and what killed processes left, merge small shards")
    gc.add_argument(
        "--unused-days", type=float, metavar="DAYS", help="also whole keys and templates that no run used for so long"
    )
    arguments = door.words(parser)
    with door.opened():
        folders = sorted(path.parent for path in (paths.cache_dir() / "features").glob("*/backbone.json"))
        try:
            if arguments.command == "ls":
                _ls(folders)
            elif arguments.command == "verify":
                _verify(folders)
            else:
                _gc(folders, arguments.unused_days)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read or written: {error.strerror}") from None


def _ls(folders: list[Path]) -> None:
    from kesikaran.features.shards import Shards

    for folder in folders:
        what = json.loads((folder / "backbone.json").read_text())
        days = (time.time() - (folder / "backbone.json").stat().st_mtime) / 86400
        print(f"{folder.name}  {len(Shards(folder))} images, {_mebibytes([folder])}, used {days:.1f} days ago")
        print("  " + ", ".join(f"{name} {value}" for name, value in what.items()))
    print(f"{len(folders)} keys, {_mebibytes(folders)} in {paths.cache_dir() / 'features'}")
    templates = _templates()
    print(f"{len(templates)} templates of models, {_mebibytes(templates)} in {paths.cache_dir() / 'models'}")


def _verify(folders: list[Path]) -> None:
    from kesikaran.features import shards

    damaged = sum(shards.verify(folder) for folder in terminal.progress(folders, "verify", "key"))
    if damaged:
        sys.exit(f"{damaged} shards were damaged")
    print(f"{len(folders)} keys, every shard is whole.")


def _gc(folders: list[Path], unused_days: float | None) -> None:
    from kesikaran.features import shards

    used = [folder / "backbone.json" for folder in folders] + [folder / "digest" for folder in _templates()]
    before = _bytes(mark.parent for mark in used)
    oldest = -math.inf if unused_days is None else time.time() - unused_days * 86400
    for mark in used:
        if mark.stat().st_mtime < oldest:
            shutil.rmtree(mark.parent)
            print(f"{mark.parent.name}: removed")
    for folder in filter(Path.exists, folders):
        for path in shards.leftovers(folder):
            path.unlink()
        shards.Shards(folder).merge()
    after = _bytes(mark.parent for mark in used)
    print(f"{(before - after) / 2**20:.1f} MiB freed, {after / 2**20:.1f} MiB kept")


def _templates() -> list[Path]:
    """The folders of `publish.model_template.template`."""
    return sorted(path.parent for path in (paths.cache_dir() / "models").glob("*/digest"))


def _mebibytes(folders: list[Path]) -> str:
    return f"{_bytes(folders) / 2**20:.1f} MiB"


def _bytes(folders: Iterable[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
