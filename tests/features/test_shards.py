"""Feature vectors on disk come back whole, in the order that is asked for."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kesikaran.features import shards
from kesikaran.features.shards import Shards


def rows(*numbers: int) -> dict[bytes, np.ndarray]:
    """SHA-1 -> a vector, both made of the number."""
    return {bytes([number] * 20): np.array([number, number + 0.5, -number], np.float32) for number in numbers}


def gathered(known: Shards, *numbers: int) -> list[float]:
    out = np.full((len(numbers), 3), np.nan, np.float32)
    known.gather(list(rows(*numbers)), out)
    np.testing.assert_array_equal(out[:, 1], out[:, 0] + 0.5)
    np.testing.assert_array_equal(out[:, 2], -out[:, 0])
    return [float(number) for number in out[:, 0]]


@pytest.mark.parametrize("again", [False, True], ids=["written", "read"])
def test_rows_of_several_shards_in_any_order(again: bool, tmp_path: Path) -> None:
    known = Shards(tmp_path)
    assert len(known) == 0
    for some in ((1, 2, 3), (4,), (5, 6)):
        known.append(rows(*some))
    known = Shards(tmp_path) if again else known
    assert len(known) == 6
    assert gathered(known, 6, 1, 4, 3, 5, 2) == [6, 1, 4, 3, 5, 2]
    assert gathered(known, 5) == [5]
    assert next(iter(rows(7))) not in known
    with pytest.raises(KeyError):
        gathered(known, 1, 7)


def test_what_another_has_written_is_there_after_a_look(tmp_path: Path) -> None:
    known, other = Shards(tmp_path), Shards(tmp_path)
    known.append(rows(1))
    other.append(rows(2, 3))
    assert len(known) == 1
    known.look()
    assert gathered(known, 3, 1, 2) == [3, 1, 2]


@pytest.mark.parametrize("damage", ["cut", "emptied", "changed", "under another name"])
def test_a_damaged_shard_costs_its_own_rows_alone(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = Shards(tmp_path)
    writer.append(rows(1, 2))
    (shard,) = tmp_path.glob("*.arrow")
    writer.append(rows(3))
    content = shard.read_bytes()
    if damage == "under another name":
        shard = shard.rename(tmp_path / f"{'0' * 32}.arrow")
    else:
        changed = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        shard.write_bytes({"cut": content[:-1], "emptied": b"", "changed": changed}[damage])
    known = Shards(tmp_path)
    assert (len(known), known.damaged) == (1, 1)
    assert gathered(known, 3) == [3]
    assert shard.with_suffix(".damaged").exists()
    assert f"set aside as {shard.stem}.damaged" in capsys.readouterr().out
    assert Shards(tmp_path).damaged == 0


def test_merging_takes_small_shards_and_leaves_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_FULL_IMAGES", 4)
    known = Shards(tmp_path)
    known.append(rows(1, 2))
    (large,) = tmp_path.glob("*.arrow")
    for number in (3, 4, 5, 6, 7):
        known.append(rows(number))
    known.merge()
    merged = Shards(tmp_path)
    assert large.exists()
    assert len(list(tmp_path.glob("*.arrow"))) == 3, "2 of before, 4 together, and 1 left over"
    assert gathered(merged, 7, 6, 5, 4, 3, 2, 1) == [7, 6, 5, 4, 3, 2, 1]


def test_a_shard_that_is_merged_while_it_is_looked_for_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process merges between the listing of the folder and the opening of its files."""
    sha1s = [bytes([number] * 20) for number in range(2)]
    writer = Shards(tmp_path)
    for sha1 in sha1s:
        writer.append({sha1: np.ones(4, np.float32)})
    read_index = shards._read_index
    merges: list[Path] = []

    def merged_meanwhile(folder: Path) -> dict[str, list[int]]:
        if not merges:
            merges.append(folder)
            writer.merge()
        return read_index(folder)

    monkeypatch.setattr(shards, "_read_index", merged_meanwhile)
    known = Shards(tmp_path)
    assert all(sha1 in known for sha1 in sha1s)


def test_a_shard_is_there_once_it_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another process merges it before it is opened again."""
    sha1s = [bytes([number] * 20) for number in range(3)]
    known = Shards(tmp_path)
    known.append({sha1s[0]: np.ones(4, np.float32)})
    assert sha1s[0] in known
    write = Shards._write

    def merged_at_once(self: Any, content: bytes) -> Path:
        path = write(self, content)
        Shards(tmp_path).merge()
        return path

    monkeypatch.setattr(Shards, "_write", merged_at_once)
    known.append({sha1s[1]: np.ones(4, np.float32)})
    known.look()
    assert sha1s[1] in known
    assert len(known) == 2


def test_merging_loses_nothing_of_shards_that_overlap(tmp_path: Path) -> None:
    rows = {bytes([number] * 20): np.full(4, number, np.float32) for number in range(3)}
    known = Shards(tmp_path)
    known.append(rows)
    known.append({sha1: rows[sha1] for sha1 in list(rows)[:1]})
    known.merge()
    merged = Shards(tmp_path)
    out = np.empty((3, 4), np.float32)
    merged.gather(list(rows), out)
    np.testing.assert_array_equal(out, np.stack(list(rows.values())))
    assert len(list(tmp_path.glob("*.arrow"))) == 1


def test_leftovers_are_the_damaged_and_the_files_that_nobody_writes_any_more(tmp_path: Path) -> None:
    hours = {"a.1.tmp": 0.9, "b.1.tmp": 1.1, "c.damaged": 0, "d.arrow": 9, "index.json": 9}
    for name, age in hours.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 3600 * age,) * 2)
    assert [path.name for path in shards.leftovers(tmp_path)] == ["b.1.tmp", "c.damaged"]
