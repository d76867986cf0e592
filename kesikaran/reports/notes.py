"""What a job prints beside its report: notes of its own, and notes on the data, which a sweep prints once."""

import hashlib

from kesikaran.core import paths
from kesikaran.tracking import context


def of_run(sentence: str) -> None:
    """Print a note on this very run. A job of a sweep prints none: it has one line in all (`sweeps.job_lines`)."""
    if not context.open_sweep_id():
        print(sentence)


def of_data(sentence: str, kind: str | None = None) -> None:
    """Print a note on what the jobs of a sweep have in common. In a sweep it comes once, whichever process prints it.

    Args:
        kind: notes of one kind are one note, such as those on each fold of a cross-validation; None: equal sentences.
    """
    if not context.open_sweep_id() or _is_first(kind or sentence):
        print(sentence)


def forget(command: str | None) -> None:
    """Remove what `of_data` has left of a sweep that is at its end. command: its `context.command`."""
    for mark in (paths.cache_dir() / "hydra").glob(f"{command}.told.*"):
        mark.unlink(missing_ok=True)


def _is_first(kind: str) -> bool:
    """Whether no process of this command has been here with this kind. The first one leaves an empty file."""
    folder = paths.cache_dir() / "hydra"
    name = f"{context.command()}.told.{hashlib.sha256(kind.encode()).hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).open("x").close()
    except OSError:  # where the folder cannot be written there is no file either: better twice than never
        return not (folder / name).exists()
    return True
