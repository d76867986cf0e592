"""A store that was moved or copied: the addresses of its runs' files are set to where the files are now."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kesikaran.core.errors import InputError
from kesikaran.tracking import store_file

# Every column of MLflow 3.17's tables that holds where files are read or written. What a run says of where its data
# came from (datasets.dataset_source) stays as it was. A test looks for columns that a newer MLflow may have besides.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
_ITS_RUNS = ("runs", "artifact_uri")


@dataclass(frozen=True)
class Relocated:
    """counts: table.column -> the number of addresses that were set. without_files: the number of runs whose files are
    in neither place."""

    old: Path
    new: Path
    counts: dict[str, int]
    without_files: int


def relocate(database: Path, old: Path | None = None, new: Path | None = None, dry_run: bool = False) -> Relocated:
    """Set the addresses of all files of a store from the folder `old` to the folder `new`, all or none.

    Args:
        database: the store's file. old, new: the folders that hold `mlruns`. Without `old` it is the one folder that
            the addresses name beside `new`; without `new` it is the folder of the store's file.
        dry_run: find and check everything, and change nothing.

    Raises:
        InputError: no store, nothing to set, several folders that `old` may be, or files that are at `old` alone.
    """
    if not database.exists():
        raise InputError(f"there is no store of runs at {database}")
    store_file.check(database, to_write=not dry_run)
    new = (new or database.parent).absolute()
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        found = list(_addresses(db))
        old = old.absolute() if old else _the_old_one(found, new)
        ours = [(table, column, row, value) for table, column, row, value, root in found if root == old]
        if not ours:
            raise InputError(f"no file of the store {database} has an address in {old / store_file.ARTIFACTS}")
        without_files = _check_files(ours, old, new)
        counts: dict[str, int] = {}
        for table, column, row, value in ours:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_set(value, old, new), row))  # noqa: S608
            counts[f"{table}.{column}"] = counts.get(f"{table}.{column}", 0) + 1
        db.execute("ROLLBACK" if dry_run else "COMMIT")
    return Relocated(old, new, counts, without_files)


def _addresses(db: sqlite3.Connection) -> Iterator[tuple[str, str, int, str, Path]]:
    """(table, column, row id, address, the folder whose mlruns it is in) of every local address."""
    for table, column in COLUMNS:
        if not list(db.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column))):
            continue  # of an older schema
        where = "key = 'mlflow.artifactLocation'" if table == "trace_tags" else f"{column} IS NOT NULL"
        rows = db.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}").fetchall()  # noqa: S608
        for row, value in rows:
            root = store_file.root_of(str(value))
            if root is not None:
                yield table, column, row, str(value), root


def _the_old_one(found: list[tuple[str, str, int, str, Path]], new: Path) -> Path:
    # MLflow's own experiment Default lies where the process was that made the store, so that of runs counts first.
    of_runs = {root for table, column, _, _, root in found if (table, column) == _ITS_RUNS}
    roots = of_runs or {root for *_, root in found}
    others = sorted(root for root in roots if root.resolve() != new.resolve())
    if not others:
        raise InputError(f"nothing is to be done: all addresses of the store are in {new / store_file.ARTIFACTS}")
    if len(others) > 1:
        raise InputError(
            f"the store's files have addresses in several folders ({', '.join(map(str, others))}); give the one that "
            "was moved: kesikaran store relocate OLD"
        )
    return others[0]


def _check_files(ours: list[tuple[str, str, int, str]], old: Path, new: Path) -> int:
    """The number of runs whose files are in neither place."""
    if not (new / store_file.ARTIFACTS).is_dir():
        raise InputError(f"{new / store_file.ARTIFACTS} is not there: move or copy {old / store_file.ARTIFACTS} first")
    paths = [store_file.path_of(value) for table, column, _, value in ours if (table, column) == _ITS_RUNS]
    absent = [path for path in paths if path and not (new / path.relative_to(old)).exists()]
    only_there = [path for path in absent if path.exists() and any(path.iterdir())]
    if only_there:
        raise InputError(
            f"the files of {len(only_there)} of {len(paths)} runs are in {old} and not in {new}, the first "
            f"{only_there[0].relative_to(old)}: copy them first"
        )
    return len(absent)


def _set(value: str, old: Path, new: Path) -> str:
    """An address in `old` as that in `new`, in the form that it has."""
    path = store_file.path_of(value)
    assert path is not None
    moved = new / path.relative_to(old)
    return moved.as_uri() if value.startswith("file:") else str(moved)
