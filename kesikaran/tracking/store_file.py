"""The store in a SQLite file: its address, whether it is one, and whether its runs' files lie beside it."""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from kesikaran.core import errors
from kesikaran.core.errors import InputError

NAME = "mlflow.db"
ARTIFACTS = "mlruns"  # the folder of the runs' files, beside the store's file
_LOCKED_SECONDS = 10.0  # other runs hold the lock for a few milliseconds each
_ITS_TABLES = {"alembic_version", "experiments", "runs", "params", "tags"}
_WAYS_OUT = "put its backup back, or delete it and begin with a new one"


def address(database: Path) -> str:
    """The address of the store in this file. SQLAlchemy decodes %XX in an address and cuts it at a ?, so they are
    escaped. Where something is, the driver is named as well: for `sqlite:///` MLflow makes the folder of the address as
    it stands, one with %XX in its name."""
    plain = URL.create("sqlite", database=str(database)).render_as_string()
    return plain.replace("sqlite:", "sqlite+pysqlite:", 1) if "%" in plain else plain


def of(uri: str) -> Path | None:
    """The file of the store at an address, absolute; None where the store is no SQLite file.

    Raises:
        InputError: a store in memory, which would end with this process.
    """
    if not uri.startswith(("sqlite:", "sqlite+")):
        return None
    try:
        database = make_url(uri).database
    except (SQLAlchemyError, ValueError) as error:
        raise InputError(
            f"MLFLOW_TRACKING_URI={uri} is no address ({errors.first_line(error)}); give sqlite:////FOLDER/mlflow.db"
        ) from None
    if not database or database == ":memory:":
        raise InputError(f"MLFLOW_TRACKING_URI={uri} is a store that ends with this command; give a file's")
    return Path(database).absolute()


def check(database: Path, to_write: bool) -> None:
    """Check that a file is a whole store of runs that MLflow here can read, if there is one.

    Args:
        to_write: it must be possible to write to it as well.

    Raises:
        InputError: it is no store, empty, cut off, half made, of a newer MLflow, locked, or not writable.
    """
    if not database.exists():
        return
    what = f"the store {database}"
    if not database.is_file():
        raise InputError(f"{what} is {'a folder' if database.is_dir() else 'no regular file'}, not a SQLite file")
    try:
        _check_header(database, what)
        # As a URI, so that no file is made where there is none.
        with contextlib.closing(
            sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=_LOCKED_SECONDS)
        ) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                raise InputError(f"{what} is empty: {_WAYS_OUT}")
            if not tables >= _ITS_TABLES:
                other = "half made, by a start that was killed" if tables & _ITS_TABLES else "of another program"
                raise InputError(f"{what} is no store of runs, it is {other}: {_WAYS_OUT}")
            _check_version([version for (version,) in db.execute("SELECT version_num FROM alembic_version")], what)
            if to_write:
                db.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise InputError(
                f"{what} is locked by another program for more than {_LOCKED_SECONDS:g} s: end that one first"
            ) from None
        if "readonly" in str(error) or "unable to open" in str(error):
            raise InputError(
                f"{what} is not writable ({error}): give it and its folder to your user, or set MLFLOW_TRACKING_URI"
            ) from None
        raise InputError(f"{what} is damaged ({errors.first_line(error)}): {_WAYS_OUT}") from None
    except OSError as error:
        raise InputError(f"{what} cannot be opened ({error.strerror or error})") from None


def _check_header(database: Path, what: str) -> None:
    if not database.stat().st_size:
        raise InputError(f"{what} is empty (0 bytes): {_WAYS_OUT}")
    with database.open("rb") as file:
        head = file.read(100)
    if not head.startswith(b"SQLite format 3\0") or len(head) < 100:
        raise InputError(f"{what} is no SQLite file: {_WAYS_OUT}")
    # https://sqlite.org/fileformat.html: the page's size (1 stands for 65,536) and the number of pages, which counts
    # where the two counters of changes agree. What a journal beside the file still has to bring is not counted. In this
    # order, since another process may be writing: once its journal is gone, all its pages are there.
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    counts = head[24:28] == head[92:96]
    journals = any(database.with_name(f"{database.name}{end}").exists() for end in ("-journal", "-wal"))
    lacking = (page if page != 1 else 65536) * pages - database.stat().st_size
    if counts and lacking > 0 and not journals:
        raise InputError(f"{what} is cut off, it lacks {lacking:,} bytes: {_WAYS_OUT}")


def _check_version(versions: list[str], what: str) -> None:
    if is_newer(versions):
        raise InputError(f"{what} {OF_NEWER}")


OF_NEWER = (
    f"was written by a newer MLflow than {mlflow.__version__}, which this one cannot read: pip install --upgrade "
    "mlflow, or set MLFLOW_TRACKING_URI to another store"
)


def is_newer(versions: list[str]) -> bool:
    """Whether versions of a store's schema are of a newer MLflow than this one."""
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    known = {file.name.split("_")[0] for file in migrations.glob("*.py")}
    return bool(known) and not set(versions) <= known


def artifacts_of(database: Path, run_id: str) -> str | None:
    """The artifact location of a run; None where it cannot be told here, as where there is no such run. MLflow's
    `get_run` reads a thousand rows for that."""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", _LOCKED_SECONDS, uri=True)) as store:
            row = store.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row and row[0] else None


def path_of(location: str) -> Path | None:
    """The path of a local artifact location; None where it is not local."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme else Path(location)


def root_of(location: str) -> Path | None:
    """The folder whose `mlruns` a local artifact location lies in; None where it lies in none."""
    path = path_of(location)
    inside = [folder.parent for folder in (path, *path.parents) if folder.name == ARTIFACTS] if path else []
    return inside[0] if inside else None


def left_behind(database: Path, location: str) -> Path | None:
    """The folder of the other store, where an artifact location of this one lies beside that: this one's file was moved
    or copied from there. None where the location is this store's, or is somewhere of the user's choice."""
    path, root = path_of(location), root_of(location)
    if path is None or root is None or root.resolve() == database.parent.resolve():
        return None
    # A folder without a store of its own may be a larger disk that the experiments were given.
    return root if not root.exists() or any((root / name).exists() for name in (NAME, database.name)) else None


def moved(database: Path, old: Path) -> InputError:
    """The error for a store that `left_behind` finds."""
    return InputError(
        f"the store {database} was moved or copied from {old}, and its runs' files are still looked for and written "
        "there: kesikaran store relocate sets their addresses right"
    )
