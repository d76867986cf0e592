"""Where things lie: the configuration, the cache, the store of runs."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from kesikaran.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
# Each library has an exception of its own for a full disk or a spent quota; all quote the system's words, or SQLite's.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "database or disk is full")
_PROOF_BYTES = 2**16


def checkout() -> Path | None:
    """The repository's root when the package runs from a checkout, None when it runs from a wheel."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "conf" / "config.yaml").is_file() else None


def conf_dir() -> Path:
    """The folder of Hydra's configuration: `conf/` of the checkout, or its copy inside the wheel."""
    root = checkout()
    return root / "conf" if root else _PACKAGE / "conf"


def home() -> Path:
    """Where `mlflow.db` and `mlruns/` stand: the checkout's root, else the current folder. Absolute."""
    return checkout() or Path.cwd()


def cache_dir() -> Path:
    """`$KESIKARAN_CACHE`, else the user's cache directory. Absolute; not created here."""
    given = os.environ.get("KESIKARAN_CACHE")
    return Path(given).expanduser().absolute() if given else Path(platformdirs.user_cache_dir("kesikaran"))


def writable(folder: Path, what: str, remedy: str) -> Path:
    """Make `folder` and prove that a small file can be written there.

    Raises:
        InputError: naming the folder, its part (`what`) and the way out (`remedy`).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROOF_BYTES))
    except OSError as error:
        raise InputError(f"the {what} {folder} is not writable ({error.strerror or error}): {remedy}") from None
    return folder


@contextmanager
def room(place: str, remedy: str) -> Iterator[None]:
    """What writes to `place` goes into this block.

    Raises:
        InputError: there is no room left.
    """
    try:
        yield
    except InputError:  # of a block within, which knows more
        raise
    except Exception as error:
        words = [words for words in _FULL if words in str(error)]
        if not words:
            raise
        raise InputError(f"{place} has no room left ({words[0]}): free some space, {remedy}") from None


def replace(path: Path, text: str) -> None:
    """Write a file aside and rename it, so that it is always whole. One process at a time.

    Raises:
        OSError: it cannot be written.
    """
    aside = path.with_name(f".{path.name}.aside")
    try:
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def build_once(target: Path, proof: str, build: Callable[[Path], None]) -> Path:
    """The folder `target`, made by `build(fresh folder)` unless its file `proof` is there already.

    It appears by one rename, so a folder that exists is whole; what a killed process leaves is never
    mistaken for it. Several processes may ask at once: the first to finish wins.

    Raises:
        InputError: its parent is not writable or full, or something else stands there.
    """
    if (target / proof).is_file():
        return target
    writable(target.parent, "cache folder", "set KESIKARAN_CACHE to a folder that you may write to")
    # Made one level below the temporary folder, which only its owner may read: the cache may be shared.
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as building:
        fresh = Path(building) / target.name
        with room(f"the cache folder {target.parent}", "or set KESIKARAN_CACHE to another folder"):
            build(fresh)
        try:
            os.rename(fresh, target)
        except OSError as error:
            if not (target / proof).is_file():
                raise InputError(f"{target} has no {proof} and is in the way ({error.strerror}): delete it") from error
    return target
