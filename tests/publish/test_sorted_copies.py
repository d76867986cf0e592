"""Images in folders by what a model decided of them."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import refused

from kesikaran.publish.sorted_copies import SortedCopies


def rows(*found: tuple[Path, int | None, bool | None]) -> pd.DataFrame:
    """Rows of `publish.predict.predict`: a file, its label, whether the model is sure; None of both: refused."""
    sha1s = [hashlib.sha1(path.read_bytes()).hexdigest() if path.is_file() else "0" * 40 for path, _, _ in found]
    return pd.DataFrame(
        {
            "path": pd.Series([str(path) for path, _, _ in found], dtype=object),
            "sha1": sha1s,
            "label": pd.array([label for _, label, _ in found], "Int64"),
            "sure": pd.array([sure for _, _, sure in found], "boolean"),
            "refused": ["missing" if label is None else "" for _, label, _ in found],
        }
    )


def image(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Path -> content and the number of the file, which another copy does not have."""
    files = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.lstat().st_ino) for path in files}


@pytest.mark.parametrize("link", [False, True])
def test_each_image_lies_in_the_folder_of_its_decision_and_a_second_call_changes_nothing(
    tmp_path: Path, link: bool
) -> None:
    one, zero, doubt, bad = (image(tmp_path / "in" / f"{name}.png", name.encode()) for name in ("1", "0", "d", "bad"))
    found = rows((one, 1, True), (zero, 0, True), (doubt, 1, False), (bad, None, None))
    out = tmp_path / "a" / "out"
    copies = SortedCopies(out, link)
    copies.check()
    copies.add(found)
    first = tree(out)
    assert {name: content for name, (content, _) in first.items()} == {
        "0/0.png": b"0", "1/1.png": b"1", "not_sure/d.png": b"d"
    }  # fmt: skip
    assert all(path.is_symlink() == link for path in out.rglob("*.png"))
    again = SortedCopies(out, link)
    again.add(found)
    assert tree(out) == first
    assert (copies.lost, again.lost) == (0, 0)


@pytest.mark.parametrize("link", [False, True])
def test_two_images_of_one_name_are_both_there(tmp_path: Path, link: bool) -> None:
    first, second = (image(tmp_path / name / "x.png", name.encode()) for name in ("a", "b"))
    found = rows((first, 1, True), (second, 1, True))
    left = []
    for _ in range(2):
        copies = SortedCopies(tmp_path / "out", link)
        copies.add(found)
        assert copies.lost == 0
        left.append(tree(tmp_path / "out"))
    assert left[0] == left[1], "a second call changes nothing"
    sha1 = hashlib.sha1(b"b").hexdigest()[:12]
    contents = {name: content for name, (content, _) in tree(tmp_path / "out").items()}
    assert contents == {"1/x.png": b"a", f"1/x-{sha1}.png": b"b"}


def test_one_image_from_two_folders_is_copied_once(tmp_path: Path) -> None:
    paths = [image(tmp_path / name / "x.png") for name in ("a", "b")]
    SortedCopies(tmp_path / "out", False).add(rows(*((path, 1, True) for path in paths)))
    assert list(tree(tmp_path / "out")) == ["1/x.png"]


def test_links_lead_to_the_image_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image(Path("in/x.png"))
    SortedCopies(Path("out"), True).add(rows((Path("in/x.png"), 0, True)))
    assert os.readlink("out/0/x.png") == str(tmp_path / "in" / "x.png")


def test_a_name_that_is_no_text_is_copied(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    SortedCopies(tmp_path / "out", False).add(rows((image(tmp_path / name), 1, True)))
    assert os.listdir(os.fsencode(tmp_path / "out" / "1")) == [b"\xff.png"]


def test_a_file_that_vanished_or_became_a_pipe_is_counted_and_the_others_are_copied(tmp_path: Path) -> None:
    good, gone, pipe = (image(tmp_path / f"{name}.png") for name in ("good", "gone", "pipe"))
    found = rows((gone, 1, True), (pipe, 1, True), (good, 1, True))
    gone.unlink()
    pipe.unlink()
    os.mkfifo(pipe)
    copies = SortedCopies(tmp_path / "out", False)
    copies.add(found)
    assert copies.lost == 2
    assert list(tree(tmp_path / "out")) == ["1/good.png"]


def test_a_name_of_the_greatest_length_is_copied(tmp_path: Path) -> None:
    longest = "x" * 251 + ".png"
    paths = [image(tmp_path / name / longest, name.encode()) for name in ("a", "b")]
    copies = SortedCopies(tmp_path / "out", False)
    copies.add(rows(*((path, 1, True) for path in paths)))
    assert copies.lost == 0
    names = sorted(os.listdir(tmp_path / "out" / "1"))
    assert names == sorted([longest, "x" * 238 + f"-{hashlib.sha1(b'b').hexdigest()[:12]}.png"])


def test_a_full_disk_is_one_line_and_leaves_no_part_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    found = rows((image(tmp_path / "x.png"), 1, True))
    refused("out has no room left (No space left on device)", SortedCopies(tmp_path / "out", False).add, found)
    assert tree(tmp_path / "out") == {}


def test_what_cannot_be_written_to_is_refused_before_the_first_image(tmp_path: Path) -> None:
    file = image(tmp_path / "file")
    refused("file is a file; give another folder", SortedCopies(file, False).check)
    refused("is not writable (Not a directory)", SortedCopies(file / "out", False).check)
    image(tmp_path / "out" / "not_sure")
    refused("out/not_sure is a file; give another folder", SortedCopies(tmp_path / "out", False).check)


@pytest.mark.parametrize("link", [False, True])
def test_links_become_copies_and_copies_stay(tmp_path: Path, link: bool) -> None:
    """Whoever asks for copies may remove the images afterwards."""
    found = rows((image(tmp_path / "in" / "x.png", b"x"), 1, True))
    SortedCopies(tmp_path / "out", link).add(found)
    SortedCopies(tmp_path / "out", not link).add(found)
    assert [path.name for path in (tmp_path / "out" / "1").iterdir()] == ["x.png"]
    assert not (tmp_path / "out" / "1" / "x.png").is_symlink()


def test_what_a_killed_call_has_left_goes(tmp_path: Path) -> None:
    code = "import os; from pathlib import Path; from kesikaran.core import scratch\n"
    code += "with scratch.held_folder(Path('out'), '.copying-') as making: (making / 'copy').touch(); os._exit(9)"
    (tmp_path / "out").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path)
    assert len(list((tmp_path / "out").glob(".copying-*"))) == 1
    SortedCopies(tmp_path / "out", False).add(rows((image(tmp_path / "x.png"), 1, True)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]
