"""What an ingest is given, in the order in which it is given."""

from pathlib import Path

import pytest

from kesikaran.data import ingest_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.jpg", "sub/d.jpg", "sub/c.jpg", "sub/.hidden.jpg", "another/e.jpg"):
        (tmp_path / "in=1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in=1" / name).touch()
    return tmp_path / "in=1"


def test_a_folder_is_walked_in_the_order_of_names_and_may_have_an_equals_sign(folder: Path, tmp_path: Path) -> None:
    (source,) = ingest_sources.read([f"{folder}=0"], tmp_path / "out")
    names = ["a.jpg", "b.jpg", "another/e.jpg", "sub/c.jpg", "sub/d.jpg"]
    assert source.files == [(folder / name, 0) for name in names]
    assert (source.name, source.refused) == (str(folder), [])


def test_sources_keep_the_order_in_which_they_are_given(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list=1"  # a file, whatever its name looks like
    listed.write_text("\ufefflabel,path,note\n 1 ,x.jpg,n\n0,/far/y.jpg,\n", encoding="utf-8")
    found = ingest_sources.read([str(listed), f"{folder}=1", str(listed)], tmp_path / "out")
    assert [source.name for source in found] == [str(listed), str(folder), str(listed)]
    assert found[0].files == [(tmp_path / "x.jpg", 1), (Path("/far/y.jpg"), 0)]
    assert {label for _, label in found[1].files} == {1}


def test_a_folder_beside_another_is_not_inside_it(folder: Path, tmp_path: Path) -> None:
    beside = tmp_path / "in=12"
    beside.mkdir()
    (beside / "z.jpg").touch()
    found = ingest_sources.read([f"{folder}=0", f"{beside}=1"], tmp_path / "in")
    assert [len(source.files) for source in found] == [5, 1]
