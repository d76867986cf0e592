"""The names and the layouts of an object store, and its lock."""

from pathlib import Path

import pandas as pd
import pytest

from kesikaran.core.errors import InputError
from kesikaran.data import object_store

A, B = "a" * 40, "b" * 40


def test_of_an_object_in_both_layouts_the_flat_one_counts(tmp_path: Path) -> None:
    for name in (f"{A}.jpg", f"{B}.jpg"):
        (tmp_path / name[:2]).mkdir()
        (tmp_path / name[:2] / name).touch()
    (tmp_path / f"{A}.jpg").touch()
    assert object_store.objects(tmp_path) == {
        f"{A}.jpg": tmp_path / f"{A}.jpg",
        f"{B}.jpg": tmp_path / "bb" / f"{B}.jpg",
    }


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        (A, [f"{A}.jpg"], f"{A}.jpg"),
        (f"{A.upper()}.JPG", [f"{A}.jpg"], f"{A}.jpg"),
        (f"{A}.jpg", [f"{A}.jpeg"], f"{A}.jpeg"),
        (f"{A}.jpg", [A], A),
        (f"{A}.jpg", [f"{A.upper()}.PNG"], f"{A.upper()}.PNG"),
        (f"{A}.png", [f"{A}.jpg", f"{A}.png"], f"{A}.png"),  # the exact name goes first
        (A, [f"{A}.png", f"{A}.jpg"], f"{A}.jpg"),  # then the first image by name
        (A, [f"{A}.csv", f"{A}.jpg"], f"{A}.jpg"),
        (A, [f"{A}.csv"], f"{A}.csv"),
        (A, [f"{A[1:]}.jpg", f"x{A}.jpg", f"{B}.jpg"], None),
    ],
)
def test_an_image_is_found_by_its_sha1(name: str, files: list[str], found: str | None, tmp_path: Path) -> None:
    there = {file: tmp_path / file for file in files}
    assert object_store.find(there, [name]) == ({} if found is None else {name: tmp_path / found})
    nested = {file: tmp_path / file[:2] / file for file in files}
    assert object_store.find(nested, iter([name])) == ({} if found is None else {name: nested[found]})


def test_a_data_set_is_locked_by_one_at_a_time(tmp_path: Path) -> None:
    locked = pytest.raises(InputError, match=f"another ingest, verify or relabel is at work in {tmp_path}")
    with object_store.alone(tmp_path), locked, object_store.alone(tmp_path):
        pass
    with object_store.alone(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="file/data cannot be written: "),
        object_store.alone(tmp_path / "file" / "data"),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "is_one"),
    [(A, True), (f"{A}.jpg", True), (f"{A.upper()}.tar.GZ", True), (A[1:], False), (f"{A}.", False), (f"../{A}", False),
     (f"{A}/x", False), (f"{A}.jpg\n", False), (f"g{A[1:]}", False), (f"{A}a", False)],
)  # fmt: skip
def test_an_object_id_is_a_sha1_and_extensions(name: str, is_one: bool) -> None:
    assert object_store.is_object_id(name) == is_one


def test_the_sha1_of_a_name_is_in_lower_case() -> None:
    names = [f"{A.upper()}.tar.GZ", A]
    assert [object_store.sha1_of(name) for name in names] == object_store.sha1s(pd.Series(names)).tolist() == [A, A]
