"""The demo's photographs: they arrive whole, under their own hash, once."""

import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from kesikaran.core.errors import InputError
from kesikaran.data import elpv


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("elpv")
    return root, *elpv.prepare(root)


@pytest.fixture
def wheel_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's data with files of its own, so that a test may damage them."""
    spec = importlib.util.find_spec("elpv_dataset")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = tmp_path / "site" / "elpv_dataset"
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "data", package / "data")
    (package / "__init__.py").write_text("raise RuntimeError('the package was executed')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
    return package / "data"


def _leftovers(root: Path) -> list[str]:
    return [path.name for path in (root / "elpv").iterdir()]


def test_counts_and_names(prepared: tuple[Path, Path, Path]) -> None:
    root, labels, images = prepared
    assert labels == root / "elpv" / "1.0.0.post1-v2" / "label.csv"
    assert images == root / "elpv" / "1.0.0.post1-v2" / "images"
    raw = labels.read_bytes()
    assert b"\r" not in raw
    header, *rows = raw.decode().removesuffix("\n").split("\n")
    names, values, positions, probabilities, modules = zip(*(row.split(",") for row in rows), strict=True)
    assert header == "objectId,value,position,probability,module"
    assert sorted(map(int, positions)) == list(range(2624))
    assert {(v, p) for v, p in zip(values, probabilities, strict=True)} == {
        ("0", "0.0000"), ("0", "0.3333"), ("1", "0.6667"), ("1", "1.0000"),
    }  # fmt: skip
    assert set(modules) == {"mono", "poly"}
    assert len(rows) == 2624
    assert (values.count("1"), values.count("0")) == (821, 1803)
    assert list(names) == sorted(names)
    assert {path.name for path in images.iterdir()} == set(names)
    for name in names:
        assert hashlib.sha1((images / name).read_bytes()).hexdigest() + ".png" == name
    assert _leftovers(root) == ["1.0.0.post1-v2"]


def test_the_labels_of_the_paper(prepared: tuple[Path, Path, Path]) -> None:
    root, labels, images = prepared
    path, same = elpv.prepare_deitsch(root)
    assert same == images
    table = pd.read_csv(path, dtype={"probability": str})
    first = pd.read_csv(labels, dtype={"probability": str})
    assert table[["objectId", "position", "probability", "module"]].equals(
        first[["objectId", "position", "probability", "module"]]
    )
    assert dict(zip(table["probability"], table["value"], strict=True)) == {
        "0.0000": 0, "0.3333": 1, "0.6667": 1, "1.0000": 1,
    }  # fmt: skip
    weights = dict(zip(table["probability"], table["weight"], strict=True))
    assert weights == {"0.0000": 1, "0.3333": pytest.approx(1 / 3), "0.6667": pytest.approx(2 / 3), "1.0000": 1}
    assert table["value"].sum() == 1116
    assert table["stratum"].nunique() == 8
    path.write_text("damaged")
    assert elpv.prepare_deitsch(root)[0].read_text().startswith("objectId,value,")
    shutil.rmtree(path.parent)


def test_labels_are_those_of_the_wheel(prepared: tuple[Path, Path, Path], wheel_copy: Path) -> None:
    """Against the wheel's own table, read another way: a shifted label would keep every count."""
    rows = [line.split(",") for line in prepared[1].read_text().splitlines()]
    values = {name: value for name, value, *_ in rows}
    positions = {name: position for name, _, position, *_ in rows}
    for place, line in enumerate((wheel_copy / "labels.csv").read_text().splitlines()):
        path, probability, _ = line.split()
        name = hashlib.sha1((wheel_copy / path).read_bytes()).hexdigest() + ".png"
        assert positions[name] == str(place)
        assert values[name] == {"0.0": "0", "0.3333333333333333": "0"}.get(probability, "1")


def test_second_call_touches_nothing_and_needs_no_wheel(
    prepared: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, labels, images = prepared
    before = labels.stat().st_mtime_ns, images.stat().st_mtime_ns
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)  # as if uninstalled
    monkeypatch.setattr(elpv, "_write", lambda *_: pytest.fail("made a second time"))
    assert elpv.prepare(root) == (labels, images)
    assert (labels.stat().st_mtime_ns, images.stat().st_mtime_ns) == before


def test_missing_package_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    with pytest.raises(InputError, match=r'elpv-dataset is not installed: pip install "kesikaran\[demo\]"'):
        elpv.prepare(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_package_is_not_executed(tmp_path: Path, wheel_copy: Path) -> None:
    assert elpv.prepare(tmp_path / "cache")[0].is_file()  # wheel_copy raises when imported


def _drop_a_row(data: Path) -> None:
    lines = (data / "labels.csv").read_text().splitlines(keepends=True)
    (data / "labels.csv").write_text("".join(lines[:-1]))


def _flip_a_label(data: Path) -> None:
    table = (data / "labels.csv").read_text()
    (data / "labels.csv").write_text(table.replace(" 0.0 ", " 1.0 ", 1))


def _swap_two_labels(data: Path) -> None:
    table = (data / "labels.csv").read_text()
    (data / "labels.csv").write_text(table.replace(" 0.0 ", " 9.9 ", 1).replace(" 1.0 ", " 0.0 ", 1))


def _change_an_image(data: Path) -> None:
    with (data / "images" / "cell0007.png").open("ab") as image:
        image.write(b"\0")


def _lose_an_image(data: Path) -> None:
    (data / "images" / "cell0007.png").unlink()


def _write_nonsense(data: Path) -> None:
    (data / "labels.csv").write_text("<html>not found</html>\n")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_drop_a_row, "2623 images"),
        (_flip_a_label, "822 defective"),
        (_swap_two_labels, "not the published one"),
        (_change_an_image, "not the published one"),
        (_lose_an_image, "cell0007"),
        (_write_nonsense, "is not elpv-dataset"),
    ],
)
def test_other_data_is_refused(damage, reason: str, tmp_path: Path, wheel_copy: Path) -> None:  # type: ignore[no-untyped-def]
    damage(wheel_copy)
    with pytest.raises(InputError, match=reason) as caught:
        elpv.prepare(tmp_path / "cache")
    assert "--force-reinstall" in str(caught.value)
    assert _leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("damage", ["labels cut", "no images", "an image less", "an image emptied", "a file"])
def test_a_damaged_folder_is_built_again(
    damage: str, prepared: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(prepared[0], tmp_path, dirs_exist_ok=True, copy_function=os.link)
    labels, images = elpv.prepare(tmp_path)
    assert capsys.readouterr().out == ""
    first = next(images.iterdir())
    size_bytes = first.stat().st_size
    match damage:
        case "labels cut":
            content = labels.read_bytes()
            labels.unlink()
            labels.write_bytes(content[:-100])
        case "no images":
            shutil.rmtree(images)
        case "a file":
            shutil.rmtree(labels.parent)
            labels.parent.touch()
        case _:
            first.unlink()
            if damage == "an image emptied":
                first.touch()
    assert elpv.prepare(tmp_path) == (labels, images)
    assert "The folder of the demo's photographs in the cache is damaged: building it again." in capsys.readouterr().out
    assert first.stat().st_size == size_bytes
    elpv.prepare(tmp_path)
    assert capsys.readouterr().out == ""
