"""The files that a person names, path after path."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import refused

from kesikaran.core.errors import InputError
from kesikaran.data import image_paths

LINK = "a link to a folder"


def made(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def walked(*words: str) -> list[tuple[str, str]]:
    image_paths.check(list(words))
    found = [(str(path), reason) for path, reason in image_paths.walk(list(words))]
    assert image_paths.count(list(words)) == len(found)
    return found


def test_files_and_folders_are_read_in_their_order(here: Path) -> None:
    made(here, "b.png", "photos/z.jpg", "photos/a.jpg", "photos/2/c.jpg", "photos/10/d.jpg", "photos/10/e/f.jpg")
    expected = ["photos/a.jpg", "photos/z.jpg", "photos/10/d.jpg", "photos/10/e/f.jpg", "photos/2/c.jpg", "b.png"]
    assert walked("photos", "b.png") == [(name, "") for name in expected]
    assert walked("b.png", "b.png", "photos/2/") == [("b.png", ""), ("b.png", ""), ("photos/2/c.jpg", "")]


def test_hidden_files_and_folders_are_left_out_and_read_where_they_are_named(here: Path) -> None:
    made(here, "photos/a.jpg", "photos/.DS_Store", "photos/.git/b.jpg")
    assert walked("photos") == [("photos/a.jpg", "")]
    assert walked("photos/.DS_Store", "photos/.git") == [("photos/.DS_Store", ""), ("photos/.git/b.jpg", "")]


def test_a_link_to_a_folder_is_named_and_not_followed(here: Path) -> None:
    made(here, "photos/deep/a.jpg", "other/b.jpg")
    os.symlink("..", here / "photos" / "deep" / "circle")
    os.symlink(here / "other", here / "photos" / "elsewhere")
    os.symlink(here / "other" / "b.jpg", here / "photos" / "file.jpg")
    os.symlink("nothing", here / "photos" / "lost.jpg")
    os.symlink("photos", here / "album")
    expected = [("elsewhere", LINK), ("file.jpg", ""), ("lost.jpg", ""), ("deep/circle", LINK), ("deep/a.jpg", "")]
    assert walked("photos") == [(f"photos/{name}", reason) for name, reason in expected]
    assert walked("album") == [(f"album/{name}", reason) for name, reason in expected], "one that is named is followed"


def test_a_folder_that_cannot_be_read_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(here, "photos/closed/a.jpg", "photos/open/b.jpg")
    scan = os.scandir

    def closed(path: str) -> object:
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    expected = [("photos/open/b.jpg", ""), ("photos/closed", "unreadable: Permission denied")]
    assert walked("photos") == expected


def test_the_paths_of_a_csv_are_relative_to_its_folder(here: Path) -> None:
    made(here, "lists/a.png", "x.png")
    text = f"label,path\n1,a.png\n0,../x.png\n1,{here}/x.png\n1,gone.png\n"
    (here / "lists" / "All.CSV").write_text(text)
    expected = ["lists/a.png", "lists/../x.png", f"{here}/x.png", "lists/gone.png"]
    assert walked("lists/All.CSV") == [(name, "") for name in expected]
    assert walked("lists") == [("lists/All.CSV", ""), ("lists/a.png", "")], "in a folder a CSV is a file as any other"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\na.png,1\n,0\n", "list l.csv line 3: the path is empty"),
        ("file\na.png\n", "list l.csv has no column path; it has: file"),
        ("", "list l.csv is empty"),
        ("path\n", "list l.csv has a header and no rows"),
    ],
)
def test_a_csv_that_is_refused(here: Path, text: str, says: str) -> None:
    (here / "l.csv").write_text(text)
    refused(says, image_paths.check, ["l.csv"])


def test_a_csv_that_cannot_be_opened_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    made(here, "l.csv")
    monkeypatch.setattr(Path, "open", closed)
    refused("list l.csv cannot be read: Permission denied", image_paths.check, ["l.csv"])


def test_standard_input_has_a_path_a_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.BytesIO(b"a.png\r\n\nphotos/b c.png\n\xff.png")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given))
    assert image_paths.count(["-", "d.png"]) is None
    found = [(os.fsencode(path), reason) for path, reason in image_paths.walk(["-", "d.png"])]
    assert found == [(b"a.png", ""), (b"photos/b c.png", ""), (b"\xff.png", ""), (b"d.png", "")]


def test_standard_input_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lines() -> Iterator[bytes]:
        yield b"a.png\n"
        pytest.fail("the second line is waited for")

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=lines()))
    assert next(image_paths.walk(["-"])) == (Path("a.png"), "")


def test_a_standard_input_that_is_closed_has_no_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert list(image_paths.walk(["-"])) == []


@pytest.mark.parametrize("word", ["gone", "gone.csv", "gone/", "", "x" * 300, "\x1b[31m"])
def test_what_does_not_exist_is_refused_at_once(here: Path, word: str) -> None:
    made(here, "a.png")
    refused("does not exist: give files, folders, a CSV with a column path, or -", image_paths.check, ["a.png", word])


def test_a_link_to_nothing_exists(here: Path) -> None:
    os.symlink("nothing", here / "lost.png")
    image_paths.check(["lost.png", "-"])
    with pytest.raises(InputError):
        image_paths.check(["lost.png/"])
