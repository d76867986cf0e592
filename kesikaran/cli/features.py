"""`kesikaran features`: what the feature cache holds, whether it is whole, what may go. `fill`: `cli.features_fill`."""

import argparse
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from kesikaran.cli import door
from kesikaran.core import errors, files, folder_lock, paths, process, terminal
from kesikaran.core.errors import InputError


def main() -> None:
    """The command line: what the cache holds, whether it is whole, and what may go."""
    process.start()  # before the cache folder is asked for: it is in the user's home
    if sys.argv[1:2] == ["fill"]:
        from kesikaran.cli import features_fill

        features_fill.command()
        return
    parser = argparse.ArgumentParser(
        prog="python -m kesikaran.features",
        description=f"The feature cache in {paths.cache_dir() / 'features'}, and the models' templates beside it.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="what is there: images, size, backbone and preprocessing of each key; templates")
    commands.add_parser("verify", help="hash every shard anew; a damaged one is set aside and computed again when used")
    gc = commands.add_parser("gc", help="remove damaged shards and what killed processes left, merge small shards")
    gc.add_argument(
        "--unused-days",
        type=float,
        metavar="DAYS",
        help="also whole keys, templates and states that no run used so long",
    )
    commands.add_parser("fill", help="compute what is missing, as training does: fill --help")
    arguments = door.words(parser)
    with door.opened():
        folders = sorted(path for path in (paths.cache_dir() / "features").glob("*") if path.is_dir())
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
    from kesikaran.features.extract import NOTE, read_note
    from kesikaran.features.shards import Shards

    for folder in folders:
        days = (time.time() - _used(folder / NOTE)) / 86400
        print(f"{folder.name}  {len(Shards(folder))} images, {_mebibytes([folder])}, used {days:.1f} days ago")
        what = read_note(folder) or {f"{NOTE} is missing or damaged:": "the next run that uses this key writes it anew"}
        print("  " + ", ".join(errors.printable(f"{name} {value}") for name, value in what.items()))
    print(f"{len(folders)} keys, {_mebibytes(folders)} in {paths.cache_dir() / 'features'}")
    templates = _templates()
    print(f"{len(templates)} templates of models, {_mebibytes(templates)} in {paths.cache_dir() / 'models'}")
    stopped = _checkpoints()
    print(f"{len(stopped)} states of stopped fine-tunings, {_mebibytes(stopped)} in {paths.cache_dir() / 'finetune'}")


def _verify(folders: list[Path]) -> None:
    from kesikaran.features import shards

    damaged = sum(shards.verify(folder) for folder in terminal.progress(folders, "verify", "key"))
    if damaged:
        sys.exit(f"{damaged} shards were damaged")
    print(f"{len(folders)} keys, every shard is whole.")


def _gc(folders: list[Path], unused_days: float | None) -> None:
    from kesikaran.features import shards
    from kesikaran.features.extract import NOTE

    used = {folder: folder / NOTE for folder in folders} | {folder: folder / "digest" for folder in _templates()}
    used |= {folder: folder / "checkpoint.npz" for folder in _checkpoints()}
    before = _bytes(used)
    oldest = -math.inf if unused_days is None else time.time() - unused_days * 86400
    for folder, mark in used.items():
        if _used(mark) < oldest:
            removed = folder_lock.remove_unused(folder)
            print(f"{folder.name}: {'removed' if removed else 'in use by a run, kept'}")
    for folder in filter(Path.exists, folders):
        for path in shards.leftovers(folder):
            files.remove(path)
        shards.Shards(folder).merge()
    after = _bytes(used)
    print(f"{(before - after) / 2**20:.1f} MiB freed, {after / 2**20:.1f} MiB kept")


def _used(mark: Path) -> float:
    """When the folder of the mark was last used, in seconds since 1970."""
    return (mark if mark.exists() else mark.parent).stat().st_mtime


def _templates() -> list[Path]:
    """The folders of `publish.model_template.template`."""
    return sorted(path.parent for path in (paths.cache_dir() / "models").glob("*/digest"))


def _checkpoints() -> list[Path]:
    """The folders of `training.checkpoint`: a run that is finished has none."""
    return sorted(path.parent for path in (paths.cache_dir() / "finetune").glob("*/checkpoint.npz"))


def _mebibytes(folders: list[Path]) -> str:
    return f"{_bytes(folders) / 2**20:.1f} MiB"


def _bytes(folders: Iterable[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
