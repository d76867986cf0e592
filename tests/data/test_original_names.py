"""The names that people know their images by."""

from pathlib import Path

import pytest

from kesikaran.data import original_names
from kesikaran.data.original_names import Origin

A, B, C, D = (f"{letter * 40}.png" for letter in "abcd")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"  # names need no images


def test_a_name_is_the_path_from_the_users_folder_on(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(A, "cats/my cat, 1.png", ""), (B, "/home/anna/dog.jpg", ""), (C, "b/2.jpg", ""), (C, "a/1.jpg", "x")]
    original_names.write(images.parent, [Origin(*row) for row in rows])
    capitals = A.upper().removesuffix(".PNG")  # an image is its SHA-1
    assert original_names.of(images, [D, C, B, capitals]) == {
        D: D,
        C: "a/1.jpg (and 1 more)",
        B: "dog.jpg",
        capitals: "cats/my cat, 1.png",
    }
    assert capsys.readouterr().out == ""


def test_without_the_file_an_image_goes_by_its_id(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert original_names.of(images, [A]) == {A: A}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", ["", "name,grams\nflour,500\n", "object_id,path,converted\n\xff"])
def test_a_file_that_is_none_is_told_and_stops_nothing(
    content: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images.parent / "sources.csv").write_bytes(content.encode("latin-1"))
    assert original_names.of(images, [A]) == {A: A}
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(str(images.parent / "sources.csv"))
    assert line.endswith("; the images go by their ids.")


def test_what_a_stranger_wrote_is_short_and_steers_no_terminal(images: Path) -> None:
    (images.parent / "sources.csv").write_text(
        f'object_id,path,converted\n{A},"\x1b[31m\n{"x" * 9000}.jpg",\n{B},"\x1b[31m\n",\n{C},,\n'
    )
    found = original_names.of(images, [A, B, C])
    assert found[A] == "..." + "x" * 196 + ".jpg"
    assert found[B] == r"\x1b[31m\n"
    assert found[C] == C


def test_a_file_is_written_once_and_in_one_order(tmp_path: Path) -> None:
    origins = [Origin(B, "b.jpg", ""), Origin(A.upper(), "a.jpg", "old"), Origin(A, "a.jpg", "new")]
    original_names.write(tmp_path, origins)
    assert original_names.read(tmp_path) == [Origin(A, "a.jpg", "new"), Origin(B, "b.jpg", "")]
    assert (tmp_path / "sources.csv").read_text() == f"object_id,path,converted\n{A},a.jpg,new\n{B},b.jpg,\n"
