"""Feature vectors on disk, in Arrow files that never change. The name of each, a shard, is the hash of its bytes.

A shard is written under another name and renamed, so a reader never sees a part of one, and several processes may
write into one folder. `index.json` notes the size and the time of change of the shards that were found undamaged, so
that a start need not hash gigabytes. It can be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

import filelock
import numpy as np
import pyarrow as pa

from kesikaran.core import files
from kesikaran.core.errors import InputError

_FULL_IMAGES = 4096  # at first each batch is a shard; small shards are merged to at most this many images
_FULL_BYTES = 2**26  # and to at most so much, which is merged in memory


class Shards:
    """The feature vectors in one folder, SHA-1 (20 bytes) -> float32 [width], as of the last `look`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.damaged = 0  # shards that were set aside
        self._matrices: list[np.ndarray] = []  # views into memory-mapped files
        self._starts: list[int] = []  # the number of each matrix's first row, counted through all of them
        self._place: dict[bytes, int] = {}  # SHA-1 -> number of its row
        self._rows = 0
        self._names: set[str] = set()
        self.look()

    def __contains__(self, sha1: bytes) -> bool:
        return sha1 in self._place

    def __len__(self) -> int:
        return len(self._place)

    def look(self) -> None:
        """Read the shards that were added since the last look. A damaged one is renamed to `.damaged`."""
        while self._look():
            pass

    def _look(self) -> bool:
        """Whether to look again: a shard vanished between listing and opening, merged into one that is not listed."""
        names = {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".arrow")}
        if names <= self._names:
            return False
        index, found_whole, gone = _read_index(self.folder), False, False
        for name in sorted(names - self._names):
            path = self.folder / name
            try:
                status = path.stat()
                if not stat.S_ISREG(status.st_mode):
                    self._set_aside(path)
                    continue
                mapped = pa.memory_map(str(path)) if status.st_size else None
            except FileNotFoundError:
                gone = True
                continue
            content = mapped.read_buffer() if mapped else b""
            stamp = [status.st_size, status.st_mtime_ns]
            if index.get(name) != stamp:
                if _checksum(content) != path.stem:
                    self._set_aside(path)
                    continue
                index[name], found_whole = stamp, True
            try:
                self._take(content)
            except pa.ArrowInvalid:  # its bytes changed, and neither its size nor its time
                self._set_aside(path)
                continue
            self._names.add(name)
        if found_whole:
            _write_index(self.folder, {name: stamp for name, stamp in index.items() if name in names})
        return gone

    def gather(self, sha1s: list[bytes], out: np.ndarray) -> None:
        """Write the features of `sha1s[i]` to row i of `out`, float32 [n, width].

        Raises:
            KeyError: an image has no features here.
        """
        places = np.fromiter((self._place[sha1] for sha1 in sha1s), np.int64, len(sha1s))
        shards = np.searchsorted(self._starts, places, side="right") - 1
        for shard in np.unique(shards):
            (rows,) = np.nonzero(shards == shard)
            out[rows] = self._matrices[shard][places[rows] - self._starts[shard]]

    def append(self, rows: dict[bytes, np.ndarray]) -> None:
        """Write one shard of SHA-1 -> float32 [width], without fsync: its checksum tells damage by a power cut.

        Raises:
            InputError: the disk is full or the folder not writable any more.
        """
        shard = self._write(_encode(list(rows), np.stack(list(rows.values()))))
        try:
            self._take(pa.memory_map(str(shard)).read_buffer())
        except FileNotFoundError:
            return  # merged by another process: the next `look` finds it
        self._names.add(shard.name)

    def merge(self) -> None:
        """Merge small shards into large ones. Does nothing where the disk is full or another process merges."""
        lock = filelock.FileLock(self.folder / ".merge.lock")
        try:
            with lock.acquire(timeout=0):
                self._merge()
        except (filelock.Timeout, InputError):
            pass

    def _merge(self) -> None:
        small: list[tuple[Path, pa.Table]] = []
        for path in sorted(self.folder.glob("*.arrow")):
            try:
                table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            except (OSError, pa.ArrowInvalid):
                continue  # gone or damaged: the next `look` treats it
            if table.num_rows < _full_images(table) // 2 and _checksum(path.read_bytes()) == path.stem:
                small.append((path, table))
        while len(small) > 1:
            group = [small.pop()]
            images = group[0][1].num_rows
            while small and images + small[-1][1].num_rows <= _full_images(small[-1][1]):
                group.append(small.pop())
                images += group[-1][1].num_rows
            rows: dict[bytes, np.ndarray] = {}
            for _, table in group:
                for batch in table.to_batches():
                    ids, matrix = _decode(batch)
                    rows.update(zip(ids, matrix, strict=True))
            merged = self._write(_encode(list(rows), np.stack(list(rows.values()))))
            for path, _ in group:
                if path != merged:
                    path.unlink(missing_ok=True)

    def _set_aside(self, path: Path) -> None:
        try:
            path.rename(path.with_suffix(".damaged"))
        except FileNotFoundError:
            return  # another process has done it
        self.damaged += 1
        print(
            f"A shard of the feature cache is damaged: set aside as {path.stem}.damaged. "
            "Its images are computed again when they are asked for."
        )

    def _take(self, content: bytes | pa.Buffer) -> None:
        for batch in pa.ipc.open_file(content).read_all().to_batches():
            ids, matrix = _decode(batch)
            self._matrices.append(matrix)
            self._starts.append(self._rows)
            self._place.update(zip(ids, range(self._rows, self._rows + len(ids)), strict=True))
            self._rows += len(ids)

    def _write(self, content: bytes) -> Path:
        shard = self.folder / f"{_checksum(content)}.arrow"
        try:
            files.write_whole(shard, content, durable=False)
        except OSError as error:
            raise InputError(
                f"the feature cache {self.folder} cannot be written ({error.strerror or error}): free some space or "
                "set KESIKARAN_CACHE to another folder; what was computed before stays"
            ) from None
        return shard


def verify(folder: Path) -> int:
    """Hash every shard of the folder again. Damaged ones are set aside; returns how many they were."""
    (folder / "index.json").unlink(missing_ok=True)
    return Shards(folder).damaged


def leftovers(folder: Path) -> Iterable[Path]:
    """Damaged shards, and unfinished files of an hour ago or earlier, whose processes were killed."""
    for path in sorted(folder.iterdir()):
        stale = path.suffix == ".tmp" and path.stat().st_mtime < time.time() - 3600
        if path.suffix == ".damaged" or stale:
            yield path


def _encode(ids: list[bytes], matrix: np.ndarray) -> bytes:
    table = pa.table(
        {
            "sha1": pa.array(ids, pa.binary(20)),
            "features": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1]),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _full_images(table: pa.Table) -> int:
    """The number of images to which shards of this width are merged."""
    width = table.schema.field("features").type.list_size
    return min(_FULL_IMAGES, _FULL_BYTES // (4 * width))


def _decode(batch: pa.RecordBatch) -> tuple[list[bytes], np.ndarray]:
    width = batch.schema.field("features").type.list_size
    matrix = batch.column("features").flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    return batch.column("sha1").to_pylist(), matrix


def _checksum(content: bytes | pa.Buffer) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _read_index(folder: Path) -> dict[str, list[int]]:
    try:
        index = json.loads((folder / "index.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return index if isinstance(index, dict) else {}


def _write_index(folder: Path, index: dict[str, list[int]]) -> None:
    """Of several writers the last one wins. A stamp that is lost that way costs one more hash."""
    with contextlib.suppress(OSError):  # a read-only cache can be used without an index
        files.write_whole(folder / "index.json", json.dumps(index), durable=False)
