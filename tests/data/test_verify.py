"""An object store is whole, or what is wrong with it is named."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done, encoded, make_images, store, write_labels

from kesikaran.data import object_store, original_names, preprocess, verify
from kesikaran.data.original_names import Origin

pytestmark = pytest.mark.tensorflow

Script = Callable[..., Done]


@pytest.fixture(params=["flat", "nested"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store of 12 images that is whole."""
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    write_labels(images.parent / "label.csv", make_images(images, 12))
    if request.param == "nested":
        for path in list(images.iterdir()):
            (images / path.name[:2]).mkdir(exist_ok=True)
            path.rename(images / path.name[:2] / path.name)
    return images.parent


def objects(data: Path) -> list[Path]:
    return sorted(path for path in (data / "images").rglob("*") if path.is_file())


def test_a_whole_store_is_one_line_and_read_once(data: Path, script: Script) -> None:
    done = script("verify", data)
    assert (done.code, done.out) == (0, "All is well: 12 objects read, 0 unchanged since they were verified.\n")
    done = script("verify", data)
    assert (done.code, done.out) == (0, "All is well: 0 objects read, 12 unchanged since they were verified.\n")
    done = script("verify", data, "--all")
    assert done.out == "All is well: 12 objects read, 0 unchanged since they were verified.\n"


def test_gpus_are_left_to_trainings(data: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[tuple[object, ...]] = []
    monkeypatch.setattr(preprocess.tf.config, "set_visible_devices", lambda *given: hidden.append(given))
    script("verify", data)
    script("ingest", "--out", data.parent / "other", f"{data / 'images'}=1")
    assert hidden == [([], "GPU")] * 2


def test_whatever_is_wrong_is_named(data: Path, script: Script) -> None:
    script("verify", data)  # the state must hide nothing
    flipped, lost, rowless, foreign, *_ = objects(data)
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    lost.unlink()
    rows = (data / "label.csv").read_text().replace(f"{rowless.name},0\n", "").replace(f"{rowless.name},1\n", "")
    half = store(data / "images", encoded_noise()[:900], ".jpg")
    text = store(data / "images", b"text", ".jpg")
    (data / "label.csv").write_text(rows + f"{half},1\n{text},0\n")
    (data / "images" / "cat.jpg").write_bytes(foreign.read_bytes())
    (data / "images" / "folder").mkdir()
    (data / "images" / ".incoming").mkdir()
    astray = data / "images" / ("00" if foreign.name[:2] != "00" else "11") / foreign.name
    astray.parent.mkdir(exist_ok=True)
    shutil.copy(foreign, astray)
    expected = {
        f"{flipped}: its content has another SHA-1 than its name",
        f"label.csv: {lost.name}: no object",
        f"{rowless}: no row in label.csv",
        f"{data / 'images' / half}: truncated or damaged: Premature end of JPEG file",
        f"{data / 'images' / text}: not a JPEG or PNG image",
        f"{data / 'images' / 'cat.jpg'}: its name is no SHA-1",
        f"{data / 'images' / 'folder'}: not a folder of objects",
        f"{data / 'images' / '.incoming'}: left by a stopped ingest: run it again",
        f"{astray}: in the wrong folder",
    }
    for _ in range(2):  # what is wrong is told each time
        done = script("verify", data)
        assert done.code == 1
        *lines, last = done.out.splitlines()
        twice = [line for line in lines if "is there twice: also" in line]
        assert len(twice) == 1
        assert set(lines) - set(twice) == expected
        assert last.startswith(f"{data}: 10 wrong; ")


def encoded_noise() -> bytes:
    import numpy as np

    return encoded(np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8), "JPEG")


def test_an_extension_that_lies_is_named(data: Path, script: Script) -> None:
    jpeg, other, *_, png = sorted(objects(data), key=lambda path: path.suffix)
    rows = (data / "label.csv").read_text()
    names = {jpeg: jpeg.stem + ".PNG", other: other.stem + ".JPEG", png: png.stem + ".jpg"}
    for path, name in names.items():
        path.rename(path.with_name(name))
        rows = rows.replace(path.name, name)
    (data / "label.csv").write_text(rows)
    for _ in range(2):
        done = script("verify", data)
        assert done.code == 1
        assert sorted(done.out.splitlines()[:-1]) == sorted(
            [
                f"{jpeg.with_suffix('.PNG')}: its content is .jpg, its name says .png",
                f"{png.with_suffix('.jpg')}: its content is .png, its name says .jpg",
            ]
        )


@pytest.mark.parametrize("what", ["content", "time"])
def test_a_change_is_seen_by_size_or_time(what: str, data: Path, script: Script) -> None:
    script("verify", data)
    changed = objects(data)[5]
    status = changed.stat()
    if what == "content":
        changed.write_bytes(changed.read_bytes() + b"x")
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    done = script("verify", data)
    assert "1 objects read, 11 unchanged" in done.out
    assert done.code == (1 if what == "content" else 0)


def test_only_all_sees_a_change_that_leaves_size_and_time(data: Path, script: Script) -> None:
    script("verify", data)
    path = objects(data)[3]
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert script("verify", data).code == 0
    assert script("verify", data, "--all").code == 1
    assert script("verify", data).code == 1  # and it stays known


def test_the_file_that_a_wrong_object_came_from_is_named(data: Path, script: Script) -> None:
    lost, damaged, other, *_ = objects(data)
    names = [(lost.name, "cats/lost.jpg"), (damaged.name, "cats/tabby.jpg"), (other.name, "cats/good.jpg")]
    original_names.write(data, [Origin(*row, "") for row in names])
    lost.unlink()
    damaged.write_bytes(b"")
    (data / "images" / "notes.txt").touch()
    assert script("verify", data).out.splitlines()[:-1] == [
        f"label.csv: {lost.name} (from cats/lost.jpg): no object",
        f"{damaged} (from cats/tabby.jpg): empty",
        f"{data / 'images' / 'notes.txt'}: its name is no SHA-1",
    ]


def test_a_stop_keeps_what_was_verified(data: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(verify, "_AHEAD", 1)
    decode, seen = preprocess.decodes, []

    def interrupted(encoded: bytes) -> bool:
        seen.append(encoded)
        if len(seen) == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return decode(encoded)

    monkeypatch.setattr(preprocess, "decodes", interrupted)
    done = script("verify", data)
    assert done.code == 130
    assert done.err == "Stopped. What was verified is kept: the same command goes on from there.\n"
    assert 5 <= len(json.loads((data / ".verified.json").read_text())["right"]) <= 9
    assert not list(data.glob(".*.tmp"))


def test_the_state_is_saved_on_the_way(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves: list[int] = []
    monkeypatch.setattr(verify, "_SAVE_EVERY", 5)
    monkeypatch.setattr(verify, "_save", lambda data, rules, right: saves.append(len(right)))
    verify.verify(data, 50)
    assert saves == [5, 10, 12]


RIGHT = '{"rules": "2, 50 megapixels", "right": {"a.png": %s}}'


@pytest.mark.parametrize("state", ["", "[1]", '{"a": 1', "\xff", '{"rules": 2}', RIGHT % "[1, 2]", RIGHT % "7"])
def test_a_damaged_state_is_no_state(state: str, data: Path, script: Script) -> None:
    (data / ".verified.json").write_bytes(state.encode("latin-1"))
    assert script("verify", data).out.startswith("All is well: 12 objects read, 0 unchanged")


def test_what_an_earlier_judgement_found_right_is_read_again(data: Path, script: Script) -> None:
    """Before there was a PNG of half its rows among it; and with another limit another image may be wrong."""
    state = {path.relative_to(data / "images").as_posix(): verify._mark(path) for path in objects(data)}
    (data / ".verified.json").write_text(json.dumps(state))
    assert script("verify", data).out.startswith("All is well: 12 objects read, 0 unchanged")
    done = script("verify", data, "--max-megapixels", "0.001")
    assert done.code == 1
    assert "allowed 0.001 megapixels" in done.out
    assert script("verify", data).out.startswith("All is well: 12 objects read, 0 unchanged")


def test_a_harmless_complaint_is_a_remark_each_time(data: Path, script: Script) -> None:
    content = encoded_noise()
    names = [store(data / "images", content[:-2] + b"stray" * n + content[-2:], ".jpg") for n in range(4, 11)]
    with (data / "label.csv").open("a") as file:
        file.writelines(f"{name},1\n" for name in names)
    for read in (19, 0):
        done = script("verify", data)
        assert (done.code, done.err) == (0, "")
        remark, last = done.out.splitlines()
        assert remark.startswith("libjpeg complains of 7 objects that are whole: ")
        assert "extraneous bytes before marker 0xd9; " in remark
        assert remark.endswith("; ...")
        assert last.startswith(f"All is well: {read} objects read")


def test_the_temporary_state_of_a_killed_call_is_removed(data: Path, script: Script) -> None:
    (data / "..verified.json.7-7.tmp").write_text("{")
    (data / "mine.tmp").write_text("of the user")
    assert script("verify", data).code == 0
    assert {path.name for path in data.glob("*.tmp")} | {path.name for path in data.glob(".*.tmp")} == {"mine.tmp"}


def test_bad_input_is_one_line(data: Path, script: Script) -> None:
    def says(words: str) -> None:
        done = script("verify", data)
        assert done.code == 1
        (line,) = done.err.splitlines()
        assert line.startswith("error: ")
        assert words in line

    with object_store.alone(data):
        says("another ingest, verify or relabel is at work")
    (data / "label.csv").write_text("objectId,value\ncat.jpg,1\n")
    says("is not a SHA-1 file name")
    (data / "label.csv").unlink()
    says("label.csv does not exist")
    shutil.rmtree(data / "images")
    says("has no folder images; give the folder that an ingest wrote to")


def test_a_row_finds_its_object_by_the_sha1(data: Path, script: Script) -> None:
    rows = [line.split(",") for line in (data / "label.csv").read_text().splitlines()[1:]]
    for change in (lambda name: name[:40], lambda name: name.upper(), lambda name: name[:40] + ".tif"):
        write_labels(data / "label.csv", {change(name): int(label) for name, label in rows})
        done = script("verify", data)
        assert done.code == 0, done.out
    _, further, *_ = objects(data)
    beside = further.with_suffix(".xyz")
    shutil.copy(further, beside)
    done = script("verify", data)
    assert f"{beside}: no row in label.csv" in done.out
    assert f"{further}: " not in done.out
