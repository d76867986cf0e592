"""Images of strangers into an object store: byte for byte, once, under one label, whatever happens meanwhile."""

import csv
import errno
import hashlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Done, Made, encoded, mutated, one_line
from hostile_images import GREY16, animation, chunk, corpus, deep, saved
from PIL import Image

from kesikaran.core import files
from kesikaran.core.errors import InputError
from kesikaran.data import ingest, ingest_sources, object_store, preprocess, relabel
from kesikaran.data.ingest_file import Intake

pytestmark = pytest.mark.tensorflow

Script = Callable[..., Done]
RANDOM = np.random.default_rng(11)


def noise(kind: str = "JPEG", size: int = 24) -> bytes:
    return encoded(RANDOM.integers(0, 256, (size, size, 3), np.uint8), kind)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Folders 0 and 1 with six images each: JPEG, PNG, in subfolders, under wrong extensions."""
    for label in ("0", "1"):
        (tmp_path / label / "sub").mkdir(parents=True)
        for number in range(3):
            (tmp_path / label / f"{number}.png").write_bytes(noise("JPEG"))
            (tmp_path / label / "sub" / f"{number}.JPEG").write_bytes(noise("PNG"))
    return tmp_path


def folders(given: Path) -> list[str]:
    return [f"{given / '0'}=0", f"{given / '1'}=1"]


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha1(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def report(out: Path) -> dict:
    found = json.loads((out / "ingest_report.json").read_text())
    assert isinstance(found, dict)
    return found


def refused_line(done: Done, says: str) -> None:
    assert done.code == 1, done.out + done.err
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert says in line


# ---- what is stored


@pytest.mark.parametrize("layout", ["flat", "nested"])
def test_both_layouts_hold_the_bytes_under_their_sha1(layout: str, given: Path, script: Script) -> None:
    done = script("ingest", "--out", given / "data", "--layout", layout, *folders(given))
    assert done.code == 0, done.err
    assert "12 images taken, 0 already there, 0 duplicates." in done.out
    expected, rows = {}, []
    for label in (0, 1):
        for path in (p for p in (given / str(label)).rglob("*") if p.is_file()):
            content = path.read_bytes()
            name = sha1(content) + (".png" if content.startswith(b"\x89PNG") else ".jpg")
            expected[name if layout == "flat" else f"{name[:2]}/{name}"] = sha1(content)
            rows.append(f"{name},{label}\n")
    assert tree(given / "data" / "images") == expected
    assert (given / "data" / "label.csv").read_bytes() == ("objectId,value\n" + "".join(sorted(rows))).encode()


def test_a_list_gives_the_same_as_folders(given: Path, script: Script) -> None:
    script("ingest", "--out", given / "data", *folders(given))
    paths = sorted(p for label in ("0", "1") for p in (given / label).rglob("*") if p.is_file())
    lines = [f"{p.relative_to(given) if n % 2 else p},{p.relative_to(given).parts[0]}" for n, p in enumerate(paths)]
    (given / "list.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    assert script("ingest", "--out", given / "other", given / "list.csv").code == 0
    assert tree(given / "other") == tree(given / "data")


def test_a_cameras_jpeg_with_a_second_picture_is_a_jpeg(given: Path, script: Script) -> None:
    second = Image.new("RGB", (20, 20), "red")
    content = saved(Image.new("RGB", (20, 20), "blue"), "MPO", save_all=True, append_images=[second])
    (given / "0" / "camera.jpg").write_bytes(content)
    script("ingest", "--out", given / "data", *folders(given))
    assert (given / "data" / "images" / f"{sha1(content)}.jpg").read_bytes() == content


def test_links(given: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # one thread meets one file many times
    shutil.copy2(given / "0" / "0.png", given / "0" / "again.png")
    for number in range(3):
        (given / "0" / f"link{number}.png").symlink_to("1.png")
    before = {path: path.stat().st_mtime_ns for path in given.rglob("*") if path.is_file()}
    assert script("ingest", "--link", "--out", given / "data", *folders(given)).code == 0
    objects = list((given / "data" / "images").iterdir())
    assert len(objects) == 12
    assert all(path.stat().st_nlink == 2 and not path.is_symlink() for path in objects)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_where_links_cannot_be_made_it_copies(given: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def across(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    assert script("ingest", "--link", "--out", given / "data", *folders(given)).code == 0
    assert [path.stat().st_nlink for path in (given / "data" / "images").iterdir()] == [1] * 12


# ---- where each image came from


def origins(out: Path) -> list[list[str]]:
    with (out / "sources.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["object_id", "path", "converted"]
    return rows


def test_sources_csv_says_which_file_each_image_was_and_what_became_of_it(given: Path, script: Script) -> None:
    shutil.copy(given / "0" / "0.png", given / "0" / "copy, again.jpg")
    (given / "1" / "clear.png").write_bytes(saved(Image.new("RGBA", (8, 8), (9, 9, 9, 99)), "PNG"))
    (given / "1" / "no.jpg").write_bytes(b"text")
    assert script("ingest", "--out", given / "data", *folders(given)).code == 0
    rows = origins(given / "data")
    files = [p for label in "01" for p in (given / label).rglob("*") if p.is_file() and p.name != "no.jpg"]
    assert sorted(path for _, path, _ in rows) == sorted(str(p.relative_to(given)) for p in files)
    assert rows == sorted(rows)
    for object_id, path, converted in rows:
        content = (given / "data" / "images" / object_id).read_bytes()
        if path == "1/clear.png":
            assert converted == "transparency on white, saved as PNG"
        else:
            assert (converted, content) == ("", (given / path).read_bytes())
    labelled = [line.split(",")[0] for line in (given / "data" / "label.csv").read_text().splitlines()[1:]]
    assert {object_id for object_id, _, _ in rows} == set(labelled)


def test_a_later_ingest_adds_its_sources_and_gives_old_data_theirs(given: Path, script: Script) -> None:
    script("ingest", "--out", given / "data", *folders(given))
    once = origins(given / "data")
    (given / "data" / "sources.csv").unlink()  # as data of an earlier version have none
    script("ingest", "--out", given / "data", f"{given / '1'}=1")
    assert origins(given / "data") == [row for row in once if row[1].startswith("1/")]
    shutil.copy(given / "0" / "0.png", given / "elsewhere.png")
    (given / "list").mkdir()
    (given / "list" / "list.csv").write_text(f"path,label\n{given / 'elsewhere.png'},0\n../0/1.png,0\n")
    script("ingest", "--out", given / "data", f"{given / '0'}=0", given / "list" / "list.csv")
    more = [row for row in origins(given / "data") if row not in once]
    assert sorted(path for _, path, _ in more) == ["../0/1.png", str(given / "elsewhere.png")]
    assert [row for row in origins(given / "data") if row in once] == once


def test_an_image_that_is_not_taken_has_no_source(given: Path, script: Script) -> None:
    shutil.copy(given / "0" / "0.png", given / "1" / "same.jpg")
    script("ingest", "--out", given / "data", *folders(given))
    assert {"0/0.png", "1/same.jpg"}.isdisjoint(path for _, path, _ in origins(given / "data"))


def test_a_table_that_is_no_sources_csv_is_not_written_over(given: Path, script: Script) -> None:
    (given / "data").mkdir()
    (given / "data" / "sources.csv").write_text("recipe,grams\nflour,500\n")
    before = tree(given / "data")
    done = script("ingest", "--out", given / "data", *folders(given))
    refused_line(
        done, "sources.csv has no column object_id, path, converted; it has: recipe, grams; rename or remove it"
    )
    assert tree(given / "data") == before | {".ingest.lock": sha1(b"")}


# ---- again, and more


def test_again_changes_nothing_and_more_is_added(given: Path, script: Script) -> None:
    script("ingest", "--out", given / "data", *folders(given))
    once = tree(given / "data")
    old = (given / "data" / "label.csv").read_text().splitlines()
    done = script("ingest", "--out", given / "data", *folders(given))
    assert "0 images taken, 12 already there, 0 duplicates." in done.out
    again = tree(given / "data")
    assert once.pop("ingest_report.json") != again.pop("ingest_report.json")
    assert again == once
    (given / "1" / "new.jpg").write_bytes(noise())
    done = script("ingest", "--out", given / "data", f"{given / '1'}=1")
    assert "1 images taken, 6 already there, 0 duplicates." in done.out
    new = (given / "data" / "label.csv").read_text().splitlines()
    assert new == [new[0], *sorted(new[1:])]
    assert len(new) == len(old) + 1
    assert set(old) < set(new)


def test_a_row_in_capitals_stands_in_the_order_of_its_sha1(given: Path, script: Script) -> None:
    (given / "data").mkdir()
    (given / "data" / "label.csv").write_text(f"objectId,value\n{'F' * 40}.jpg,0\n")
    assert "12 images taken" in script("ingest", "--out", given / "data", *folders(given)).out
    assert (given / "data" / "label.csv").read_text().splitlines()[-1] == f"{'F' * 40}.jpg,0"


def test_a_row_of_another_hand_stays_as_it_is(given: Path, script: Script) -> None:
    content = (given / "0" / "0.png").read_bytes()
    (given / "data" / "images").mkdir(parents=True)
    (given / "data" / "images" / f"{sha1(content)}.jpeg").write_bytes(content)
    (given / "data" / "label.csv").write_text(f"objectId,value\n{sha1(content)}.jpeg,0\n")
    assert "11 images taken, 1 already there" in script("ingest", "--out", given / "data", *folders(given)).out
    assert f"{sha1(content)}.jpeg,0" in (given / "data" / "label.csv").read_text()
    assert len(list((given / "data" / "images").iterdir())) == 12
    (given / "data" / "images" / f"{sha1(content)}.jpeg").unlink()
    assert "0 images taken, 12 already there" in script("ingest", "--out", given / "data", *folders(given)).out
    assert (given / "data" / "images" / f"{sha1(content)}.jpeg").read_bytes() == content


@pytest.mark.parametrize("layout", ["flat", "nested"])
def test_a_lost_or_shortened_object_is_put_back(layout: str, given: Path, script: Script) -> None:
    words = ["--out", given / "data", "--layout", layout, *folders(given)]
    script("ingest", *words)
    once = tree(given / "data" / "images")
    first, second, third, *_ = (p for p in (given / "data" / "images").rglob("*") if p.is_file())
    first.unlink()
    second.write_bytes(second.read_bytes()[:50])
    third.unlink()
    third.symlink_to("nowhere")
    assert "12 already there" in script("ingest", *words).out
    assert tree(given / "data" / "images") == once
    second.write_bytes(second.read_bytes()[:50])
    words[3] = "flat" if layout == "nested" else "nested"  # of new objects: this one has its place
    assert "12 already there" in script("ingest", *words).out
    assert tree(given / "data" / "images") == once


KILLED_AT = """
import os, runpy, signal, sys, types
sys.modules["kesikaran.data.preprocess"] = types.SimpleNamespace(  # in the place of TensorFlow
    decodes=lambda encoded: True, leave_gpus_free=lambda: None
)
at, when, replace, count = int(sys.argv[1]), sys.argv[2], os.replace, 0
def counted(*paths):
    global count
    count += 1
    if count == at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = counted
sys.argv = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_killed_anywhere_and_run_again_gives_the_same_bytes(given: Path, script: Script) -> None:
    # Renames: 1-12 images come in, 13-24 they go into the store, 25 the report, 26 sources.csv, 27 label.csv.
    path = Path(__file__).parents[2] / "scripts" / "ingest.py"
    script("ingest", "--out", given / "whole", *folders(given))
    moments = [("5", "before"), ("13", "before"), ("20", "after"), ("25", "before"), ("25", "after"), ("26", "after")]
    killed = {}
    for at, when in moments:
        out = given / f"{at} {when}"
        words = [sys.executable, "-c", KILLED_AT, at, when, str(path), "--out", str(out), *folders(given)]
        killed[out] = subprocess.Popen(words, stderr=subprocess.PIPE)
    for out, process in killed.items():
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, err
        assert tree(out) != tree(given / "whole")
        assert not (out / "label.csv").exists()
        again = script("ingest", "--out", out, *folders(given))
        assert again.code == 0, again.err
        assert tree(out) == tree(given / "whole"), out


def test_a_stop_is_a_stop(given: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    script("ingest", "--out", given / "data", f"{given / '0'}=0")
    before = tree(given / "data")

    def interrupted(encoded: bytes) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    monkeypatch.setattr(preprocess, "decodes", interrupted)
    done = script("ingest", "--out", given / "data", f"{given / '1'}=1")
    assert done.code == 143
    assert done.err == "Stopped. No label was changed: the same command does it all.\n"
    assert tree(given / "data") == before
    assert not (given / "data" / "images" / ".incoming").exists()


# ---- what is refused, what is converted


REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"<html>not found</html>", "not a JPEG or PNG image"),
    "apng": (animation("PNG"), "animated"),
    "gif": (animation("GIF"), "animated"),
    "half jpeg": (noise("JPEG", 64)[:1500], "truncated or damaged: Premature end of JPEG file"),
    "signature": (b"\xff\xd8\xff", "truncated or damaged: it has no scan"),
    "large": (saved(Image.new("L", (101, 100)), "PNG"), "too large in pixels: 101 x 100, allowed 0.01 megapixels"),
}


def test_refusals_are_listed_by_name_and_reason(given: Path, script: Script) -> None:
    for name, (content, _) in REFUSED.items():
        (given / "1" / name).write_bytes(content)
    os.mkfifo(given / "1" / "pipe")
    done = script("ingest", "--out", given / "data", "--max-megapixels", "0.01", *folders(given))
    assert done.code == 0, done.err
    assert "12 images taken" in done.out
    found = report(given / "data")
    expected = {str(given / "1" / name): reason for name, (_, reason) in REFUSED.items()}
    expected[str(given / "1" / "pipe")] = "unreadable: not a regular file"
    assert dict(found["refused_files"]) == expected
    assert found["refused"]["animated"] == 2
    assert sum(found["refused"].values()) == len(expected)
    assert f"Refused {len(expected)} files: animated 2, truncated or damaged 2" in done.out
    for path, reason in expected.items():
        assert f"  {path}: {reason}\n" in done.out
    assert len(list((given / "data" / "images").iterdir())) == 12


def test_a_list_may_name_what_is_not_there(given: Path, script: Script) -> None:
    (given / "list.csv").write_text("path,label\n0/0.png,0\nno.jpg,1\n0,1\n1/0.png,1\n")
    assert script("ingest", "--out", given / "data", given / "list.csv").code == 0
    assert report(given / "data")["refused_files"] == [
        [str(given / "no.jpg"), "missing"],
        [str(given / "0"), "unreadable: not a regular file"],
    ]


def test_the_limit_of_pixels_is_50_megapixels(given: Path, script: Script) -> None:
    (given / "1" / "in").write_bytes(saved(Image.new("1", (10000, 5000)), "PNG"))
    (given / "1" / "over").write_bytes(saved(Image.new("1", (10000, 5001)), "PNG"))
    script("ingest", "--out", given / "data", *folders(given))
    ((path, reason),) = report(given / "data")["refused_files"]
    assert (Path(path).name, reason) == ("over", "too large in pixels: 10000 x 5001, allowed 50 megapixels")


def test_the_same_bytes_count_once(given: Path, script: Script) -> None:
    for name in ("copy.jpg", "sub/copy.jpg"):
        shutil.copy(given / "0" / "0.png", given / "0" / name)
    done = script("ingest", "--out", given / "data", *folders(given))
    assert "12 images taken, 0 already there, 2 duplicates." in done.out
    assert (given / "data" / "label.csv").read_text().count("\n") == 13


def test_an_image_under_two_labels_is_not_taken(given: Path, script: Script) -> None:
    here, there = given / "0" / "0.png", given / "1" / "same.jpg"
    shutil.copy(here, there)
    done = script("ingest", "--out", given / "data", *folders(given))
    assert done.code == 0
    assert "11 images taken" in done.out
    assert report(given / "data")["refused_files"] == [
        [str(here), f"two labels: 0 here, 1 in {there}"],
        [str(there), f"two labels: 1 here, 0 in {here}"],
    ]
    assert sha1(here.read_bytes()) not in "".join(tree(given / "data")) + (given / "data" / "label.csv").read_text()


def test_a_label_against_label_csv_is_refused_and_the_row_stays(given: Path, script: Script) -> None:
    script("ingest", "--out", given / "data", *folders(given))
    rows = (given / "data" / "label.csv").read_bytes()
    shutil.copy(given / "0" / "0.png", given / "1" / "same.jpg")
    done = script("ingest", "--out", given / "data", *folders(given))
    assert "0 images taken, 12 already there" in done.out
    assert report(given / "data")["refused_files"] == [
        [str(given / "1" / "same.jpg"), f"two labels: 1 here, 0 in {given / 'data' / 'label.csv'}, which stays"]
    ]
    assert (given / "data" / "label.csv").read_bytes() == rows
    assert len(list((given / "data" / "images").iterdir())) == 12


def test_cmyk_and_transparency_are_converted_by_the_stated_rule(given: Path, script: Script) -> None:
    cmyk = Image.fromarray(RANDOM.integers(0, 256, (16, 16, 4), np.uint8), "CMYK")
    rgba = RANDOM.integers(0, 256, (16, 16, 4), np.uint8)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    sources = {
        "cmyk": saved(cmyk, "JPEG", icc_profile=b"x" * 200, quality=100),
        "rgba": saved(Image.fromarray(rgba), "PNG", dpi=(300, 300)),
        "palette": saved(palette, "PNG", transparency=1),
    }
    for name, content in sources.items():
        (given / "1" / name).write_bytes(content)
    done = script("ingest", "--out", given / "data", "--link", f"{given / '1'}=1")
    assert "Converted, CMYK to RGB: 1\nConverted, transparency on white: 2\n" in done.out
    alpha = rgba[..., 3:] / 255
    expected = [
        np.asarray(Image.open(io.BytesIO(sources["cmyk"])).convert("RGB")),
        rgba[..., :3] * alpha + 255 * (1 - alpha),
        np.full((8, 8, 3), 255),
    ]
    old = {sha1(path.read_bytes()) for path in (given / "1").rglob("*") if path.is_file()}
    new = [path for path in (given / "data" / "images").iterdir() if path.stem not in old]
    assert len(new) == 3
    for path in new:
        assert path.name == f"{sha1(path.read_bytes())}.png"
        with Image.open(path) as image:
            assert (image.mode, image.info) == ("RGB", {})
            pixels = np.asarray(image)
        assert any(p.shape == pixels.shape and np.abs(pixels - p).max() <= 1 for p in expected)
    again = script("ingest", "--out", given / "data", f"{given / '1'}=1")
    assert "0 images taken, 9 already there" in again.out


def test_of_16_bits_of_grey_one_value_may_be_transparent(given: Path, script: Script) -> None:
    clear = deep(GREY16)
    clear = clear[:33] + chunk(b"tRNS", int(GREY16[0, 0]).to_bytes(2)) + clear[33:]
    (given / "1" / "clear.png").write_bytes(clear)
    done = script("ingest", "--out", given / "data", *folders(given))
    assert "Converted, transparency on white: 1\n" in done.out
    expected = np.where(GREY16[0, 0] == GREY16, 255, GREY16 >> 8)
    pixels = [np.asarray(Image.open(path)) for path in (given / "data" / "images").iterdir()]
    assert any(p.shape == (20, 20, 3) and (p == expected[..., None]).all() for p in pixels)


def test_a_harmless_complaint_of_libjpeg_is_told_with_the_files_name(given: Path, script: Script) -> None:
    (given / "1" / "stray.jpg").write_bytes(corpus()["jpeg with stray bytes"][0])
    done = script("ingest", "--out", given / "data", *folders(given))
    assert (done.code, done.err) == (0, "")
    assert "13 images taken" in done.out
    words = "Corrupt JPEG data: 3 extraneous bytes before marker 0xdb"
    assert f"libjpeg complains of 1 images that are whole (the first: {given / '1' / 'stray.jpg'}: {words})" in done.out
    assert report(given / "data")["remarks"] == [[str(given / "1" / "stray.jpg"), words]]


def test_hidden_files_and_links(given: Path, script: Script, tmp_path: Path) -> None:
    (given / "1" / ".hidden").mkdir()
    for name in (".DS_Store", ".hidden/x.jpg"):
        (given / "1" / name).write_bytes(noise())
    (given / "1" / "inside.png").symlink_to("sub/0.JPEG")
    (given / "1" / "outside.png").symlink_to("../0/0.png")
    (given / "1" / "broken.png").symlink_to("nowhere")
    (given / "1" / "folder").symlink_to("sub")
    done = script("ingest", "--out", given / "data", *folders(given))
    assert "12 images taken, 0 already there, 1 duplicates." in done.out
    assert dict(report(given / "data")["refused_files"]) == {
        str(given / "1" / "outside.png"): "a link out of its folder",
        str(given / "1" / "broken.png"): "missing",
        str(given / "1" / "folder"): "a link to a folder",
    }


def test_names_that_no_terminal_should_see(given: Path, script: Script) -> None:
    name = os.fsencode(given / "1") + b"/\x1b[31m\xff\n.jpg"
    with open(name, "wb") as file:
        file.write(b"text")
    done = script("ingest", "--out", given / "data", *folders(given))
    assert done.code == 0
    assert r"\x1b[31m\udcff\n.jpg': not a JPEG or PNG image" in done.out
    assert "\x1b" not in done.out
    ((path, _),) = report(given / "data")["refused_files"]
    assert os.fsencode(path) == name
    with open(name, "wb") as file:
        file.write(noise())
    assert script("ingest", "--out", given / "data", *folders(given)).code == 0
    assert r"1/\x1b[31m\xff\n.jpg" in [path for _, path, _ in origins(given / "data")]


# ---- bad input


def test_bad_sources_are_one_line_and_leave_nothing(given: Path, script: Script) -> None:
    zero, one = given / "0", given / "1"
    (given / "void").mkdir()
    (given / "void" / ".hidden").touch()
    (given / "alias").symlink_to("0")
    lists = {
        "columns": "file,label\na,1\n",
        "label": "path,label\na.jpg,1\nb.jpg,cat\n",
        "short": "path,label\na.jpg\n",
        "nameless": "path,label\n,1\n",
        "rowless": "path,label\n",
        "blank": "",
        "ragged": 'path,label\n"a.jpg,1\n',
        "long": "path,label\nnote,a.jpg,1\nnote,b.jpg,0\n",
        "latin": "path,label\n\xff\xfe,1\n",
    }
    for name, content in lists.items():
        (given / f"{name}.csv").write_bytes(content.encode("latin-1"))
    cases: list[tuple[list[object], str]] = [
        ([f"{given / 'no'}=0"], "no does not exist; give FOLDER=0"),
        ([given / "no.csv"], "is neither FOLDER=0 or FOLDER=1 nor a CSV file"),
        ([zero], "is neither FOLDER=0 or FOLDER=1 nor a CSV file"),
        ([f"{given / 'void'}=0"], "void has no images"),
        ([f"{zero}=cat"], "the label 'cat' is not allowed; 0 or 1 is"),
        ([f"{zero}=2"], "the label '2' is not allowed"),
        ([f"{zero}=0", f"{zero}/=0"], f"0/ is given twice, first as {zero}=0"),
        ([f"{zero}=0", f"{given / 'alias'}=1"], f"alias is given twice, first as {zero}=0"),
        ([f"{zero}=0", f"{zero / 'sub'}=1"], "one is inside the other"),
        ([f"{zero / 'sub'}=0", f"{zero}=1"], "one is inside the other"),
        ([given / "columns.csv"], "has no column path; it has: file, label"),
        ([given / "label.csv"], "label.csv line 3: label 'cat' is not allowed"),
        ([given / "short.csv"], "short.csv line 2: label '' is not allowed"),
        ([given / "nameless.csv"], "nameless.csv line 2: the path is empty"),
        ([given / "rowless.csv"], "has a header and no rows"),
        ([given / "blank.csv"], "blank.csv is empty; a CSV with the columns path,label is needed"),
        ([given / "ragged.csv"], "ragged.csv is not a readable UTF-8 CSV: line 2: unexpected end of data"),
        ([given / "long.csv"], "fields, more than its header, which has 2"),
        ([given / "latin.csv"], "latin.csv is not a readable UTF-8 CSV"),
        ([f"{zero}=0", "--max-megapixels", "nan"], "--max-megapixels nan is not allowed"),
        ([f"{zero}=0", "--max-megapixels", "500"], "--max-megapixels 500 is not allowed"),
    ]
    for words, says in cases:
        refused_line(script("ingest", "--out", given / "data", *words), says)
        assert not (given / "data").exists()
    for out in (zero, zero / "sub" / "data", given / "alias" / "data"):
        refused_line(script("ingest", "--out", out, f"{one}=1", f"{zero}=0"), "is inside the source folder")
    assert not (zero / "sub" / "data").exists()


def test_a_thousand_mutated_lists_end_in_files_or_in_one_line(tmp_path: Path) -> None:
    path, lists = tmp_path / "list.csv", 0
    messages: list[str] = []
    for content in mutated("path,label\n" + "".join(f"folder/{i}.jpg,{i % 2}\n" for i in range(12)), 1000):
        path.write_bytes(content)
        try:
            (source,) = ingest_sources.read([str(path)], tmp_path / "data")
        except InputError as error:
            messages.append(str(error))
        else:
            lists += 1
            assert {label for _, label in source.files} <= {0, 1}
            read = [Intake({}, {}, tmp_path, False, 50).take(file) for file in source.files]
            assert all(isinstance(reason, str) for reason in read), "there is no such image"
    assert all(map(one_line, messages)), messages
    assert min(lists, len(messages)) > 100, "both ends are reached"


def test_an_output_folder_that_cannot_be_written(given: Path, script: Script) -> None:
    (given / "file").touch()
    refused_line(script("ingest", "--out", given / "file" / "data", *folders(given)), "data/images is not writable")


@pytest.mark.parametrize("rows", ["objectId,value,type\n" + "a" * 40 + ".jpg,1,train\n", "objectId,value\ncat.jpg,1\n"])
def test_a_label_csv_that_is_not_ours(rows: str, given: Path, script: Script) -> None:
    (given / "data").mkdir()
    (given / "data" / "label.csv").write_text(rows)
    says = "has further columns" if "type" in rows else "is not a SHA-1 file name"
    refused_line(script("ingest", "--out", given / "data", *folders(given)), says)
    assert tree(given / "data").keys() <= {"label.csv", ".ingest.lock"}


def test_a_folder_without_a_usable_image_takes_nothing(given: Path, script: Script) -> None:
    (given / "text").mkdir()
    (given / "text" / "a.txt").write_text("text")
    done = script("ingest", "--out", given / "data", *folders(given), f"{given / 'text'}=1")
    refused_line(done, f"text has no usable image (the first: {given / 'text' / 'a.txt'}: not a JPEG or PNG image)")
    assert tree(given / "data").keys() <= {".ingest.lock"}
    assert not (given / "data" / "images" / ".incoming").exists()


def test_a_full_disk(given: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_whole", full)
    refused_line(script("ingest", "--out", given / "data", *folders(given)), "cannot be written: No space left")
    assert tree(given / "data").keys() <= {".ingest.lock"}


def test_one_at_a_time(given: Path, script: Script) -> None:
    (given / "data").mkdir()
    with object_store.alone(given / "data"):
        refused_line(
            script("ingest", "--out", given / "data", *folders(given)), "another ingest, verify or relabel is at work"
        )
    assert script("ingest", "--out", given / "data", *folders(given)).code == 0


# ---- what comes next


def test_the_last_line_is_a_command_that_trains(
    made: Made, script: Script, train: Callable[..., Done], tmp_path: Path
) -> None:
    labels = dict(line.split(",") for line in made.labels.read_text().splitlines()[1:])
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{made.images / n},{v}\n" for n, v in labels.items()))
    done = script("ingest", "--layout", "nested", "--out", tmp_path / 'my "new" data', tmp_path / "list.csv")
    assert done.code == 0, done.err
    command = shlex.split(done.out.splitlines()[-1])
    assert command[:4] == ["Next:", "python", "-m", "kesikaran.train"]
    assert command[-1] == "data.name=my__new__data"
    trained = train(*command[4:], *made.words[4:], "fit.epochs=1", "tracking.log_model=false")
    assert trained.code == 0, trained.err
    assert "Features of 240 images" in trained.out


def test_a_single_class_is_said_in_the_last_line(given: Path, script: Script) -> None:
    done = script("ingest", "--out", given / "data", f"{given / '0'}=0")
    assert done.out.splitlines()[-1] == "Next: images of label 1; training needs both."
    done = script("ingest", "--out", given / "data", f"{given / '1'}=1")
    *_, labels, sources, last = done.out.splitlines()
    assert labels == f"{given / 'data' / 'label.csv'}: 6 images of label 0, 6 of label 1."
    assert sources == f"{given / 'data' / 'sources.csv'}: which file each image came from."
    assert last.startswith("Next: python -m kesikaran.train ")


def test_an_image_whose_label_was_corrected_stays_so_and_is_not_refused(
    given: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("ingest", "--out", given / "data", *folders(given))
    name, label = (given / "data" / "label.csv").read_text().splitlines()[1].split(",")
    (given / "corrections.csv").write_text(f"object_id,label,corrected\n{name},{label},{1 - int(label)}\n")
    relabel.relabel(given / "data" / "label.csv", given / "corrections.csv")
    rows = (given / "data" / "label.csv").read_bytes()
    done = script("ingest", "--out", given / "data", *folders(given))
    assert "0 images taken, 12 already there" in done.out
    assert report(given / "data")["refused_files"] == []
    assert (given / "data" / "label.csv").read_bytes() == rows
    (kept,) = (given / "data").glob("label.before-*.csv")
    kept.write_text("nothing")
    monkeypatch.delattr(ingest, "_read_all")
    done = script("ingest", "--out", given / "data", *folders(given))
    assert (done.code, kept.name in done.err) == (1, True), "before any image is read"
