"""Files judged by a trained model: what training said of them, what ingest would have made of them, each once."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, Made, encoded, refused
from PIL import Image

from kesikaran.cli import model_of
from kesikaran.data import image_file, ingest
from kesikaran.data.image_file import BadImage
from kesikaran.data.image_paths import walk
from kesikaran.data.ingest import Layout
from kesikaran.data.ingest_sources import Source
from kesikaran.features import forward_pass
from kesikaran.publish import predict
from kesikaran.publish.predictor import Predictor

pytestmark = pytest.mark.tensorflow

NOISE = np.random.default_rng(5).integers(0, 256, (40, 56, 4), np.uint8)
PHOTO, GLASS = Image.fromarray(NOISE[..., :3]), Image.fromarray(NOISE)
NUMBERS = ["probability", "log_odds", "label", "sure"]


class Bar:
    """Counts what a progress bar is told."""

    def __init__(self) -> None:
        self.told = 0

    def update(self, n: int = 1) -> None:
        self.told += n


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """The one run of this file, with two views, and its loaded model."""
    return {}


@pytest.fixture
def trained(kept: dict[str, Any], train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]]) -> Any:
    if not kept:
        done = train(*made.words, "augment=flips", "decision.error=0.3", "decision=tuned")
        assert done.code == 0, done.err
        kept["run"] = runs()[-1]
        kept["predictor"] = model_of.find(kept["run"].info.run_id)
    return kept["run"]


@pytest.fixture
def predictor(trained: Any, kept: dict[str, Any]) -> Predictor:
    found: Predictor = kept["predictor"]
    return found


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def computed(own_cache: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward pass had, one view after the other, in a cache that has none."""
    counts: list[int] = []
    features = forward_pass._features

    def counted(missing: dict[bytes, Any], *rest: Any) -> Any:
        counts.append(len(missing))
        return features(missing, *rest)

    monkeypatch.setattr(forward_pass, "_features", counted)
    return counts


def table(predictor: Predictor, *words: object) -> pd.DataFrame:
    bar, files = Bar(), list(walk([str(word) for word in words]))
    rows = pd.concat(list(predict.predict(predictor, files, bar)), ignore_index=True)
    assert (bar.told, list(rows["path"])) == (len(files), [str(path) for path, _ in files])
    return rows


def put(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def saved(path: Path, image: Image.Image, kind: str, **how: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    image.save(path, kind, **how)
    return path


def photo(number: int) -> bytes:
    return encoded(np.random.default_rng(number).integers(0, 256, (20, 24, 3), np.uint8), "PNG")


def test_images_of_the_run_get_what_the_run_has_logged_of_them(
    trained: Any, predictor: Predictor, made: Made, computed: list[int]
) -> None:
    logged = pd.read_parquet(Path(trained.info.artifact_uri.removeprefix("file://")) / "predictions.parquet")
    rows = table(predictor, made.images)
    assert list(rows) == ["path", "sha1", *NUMBERS, "refused"]
    assert sum(computed) == 2 * 240, "by the graph, of both views, and not from the cache of training"
    rows = rows.assign(object_id=[os.path.basename(path) for path in rows["path"]])
    both = logged.merge(rows, on="object_id", suffixes=("_logged", ""), validate="one_to_one")
    assert len(both) == len(logged) == 240
    assert np.abs(both["probability"] - both["probability_logged"]).max() <= 1e-6
    assert both["label"].eq(both["predicted"]).all()
    assert both["sure"].eq(both["sure_logged"]).all()
    assert 0 < both["sure"].sum() < 240
    assert both["label"].nunique() == 2
    assert list(rows["sha1"]) == [name[:40] for name in rows["object_id"]]
    assert (rows["refused"] == "").all()


def test_what_training_has_computed_is_not_computed_again(
    predictor: Predictor, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_pass, "_features", pytest.fail)
    assert len(table(predictor, made.images)) == 240


def raw(folder: Path) -> Iterator[Path]:
    """An image of each kind, as a stranger has it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = NOISE[..., 0].astype(np.uint16) * 257
    yield saved(folder / "alpha.png", GLASS, "PNG")
    yield saved(folder / "grey and alpha.png", GLASS.convert("LA"), "PNG")
    yield saved(folder / "palette.png", PHOTO.quantize(8), "PNG", transparency=3)
    yield saved(folder / "palette and alpha.png", GLASS.quantize(16), "PNG")
    yield saved(folder / "deep.png", Image.fromarray(grey), "PNG")
    yield saved(folder / "deep and transparent.png", Image.fromarray(grey), "PNG", transparency=int(grey[0, 0]))
    yield saved(folder / "turned.jpg", PHOTO, "JPEG", exif=exif)
    yield saved(folder / "cmyk.jpg", Image.frombytes("CMYK", PHOTO.size, NOISE.tobytes()), "JPEG")
    yield saved(folder / "plain.jpg", PHOTO, "JPEG")


def test_an_image_is_judged_as_its_ingested_file(predictor: Predictor, tmp_path: Path, own_cache: None) -> None:
    before = [(path, 0) for path in raw(tmp_path / "in")]
    other = put(tmp_path / "other", a=photo(0)) / "a"
    ingest.ingest([Source("0", before, []), Source("1", [(other, 1)], [])], tmp_path / "out", Layout.flat, False, 50.0)
    both = table(predictor, tmp_path / "in", other, tmp_path / "out" / "images")
    rows, ingested = both[:10], both[10:]
    assert (rows["refused"] == "").all()
    assert rows["log_odds"].nunique() == len(rows) == 10
    assert len(set(rows["sha1"]) & set(ingested["sha1"])) == 4, "the others have been converted"
    one, other_one = (found.sort_values("log_odds", ignore_index=True)[NUMBERS] for found in (rows, ingested))
    pd.testing.assert_frame_equal(one, other_one, rtol=0, atol=1e-6)


def test_files_with_the_same_bytes_are_computed_once(predictor: Predictor, tmp_path: Path, computed: list[int]) -> None:
    folder = put(tmp_path / "in", a=photo(1), b=photo(2), c=photo(1), d=photo(1))
    rows = table(predictor, folder)
    assert computed == [2, 2], "two images in each of two views"
    assert len(set(rows["log_odds"][[0, 2, 3]])) == 1
    assert rows["log_odds"][0] != rows["log_odds"][1]
    assert table(predictor, folder).equals(rows)
    assert len(computed) == 2, "a second call computes nothing"


def test_a_call_that_was_stopped_goes_on(
    predictor: Predictor, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "_TOGETHER", 3)
    folder = put(tmp_path / "in", **{f"{number}.png": photo(number) for number in range(8)})
    with closing(predict.predict(predictor, walk([str(folder)]), Bar())) as tables:
        next(tables), next(tables)
    assert sum(computed) == 2 * 6
    computed.clear()
    rows = table(predictor, folder)
    assert sum(computed) == 2 * 2
    monkeypatch.setattr(predict, "_TOGETHER", 4096)
    pd.testing.assert_frame_equal(table(predictor, folder), rows, rtol=0, atol=1e-6)


def test_the_size_of_the_pieces_changes_nothing(
    predictor: Predictor, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = sorted(made.images.iterdir())[:7]
    put(tmp_path / "in", **{"text.png": b"text", "empty.png": b""})
    files = [(path, "") for path in [good[0], tmp_path / "in" / "text.png", *good, tmp_path / "in" / "empty.png"]]
    whole = pd.concat(list(predict.predict(predictor, files, Bar())))
    monkeypatch.setattr(predict, "_TOGETHER", 3)
    pieces = list(predict.predict(predictor, iter(files), Bar()))
    assert [len(piece) for piece in pieces] == [3, 3, 3, 1]
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole, rtol=0, atol=1e-6)
    assert {str(kind) for kind in whole.dtypes[NUMBERS]} == {"float32", "Int64", "boolean"}


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def hostile(folder: Path) -> dict[str, str]:
    """Files that cannot be used, the name of each -> the beginning of the reason."""
    whole = encoded(NOISE[..., :3], "JPEG")
    put(folder, **{"a.png": photo(1), "cut.jpg": whole[: len(whole) // 2], "cut.png": photo(2)[:300], "empty.jpg": b""})
    put(folder, **{"short.jpg": whole[:3], "text.png": b"text", "wide.png": photo(3)[:16] + bytes(4) + photo(3)[20:]})
    saved(folder / "a.gif", PHOTO, "GIF")
    pipe(folder / "pipe.jpg")
    os.symlink("nothing", folder / "lost.jpg")
    os.symlink("circle.jpg", folder / "circle.jpg")
    os.symlink(".", folder / "again")
    none = "not a JPEG or PNG image"
    return {"again": "a link to a folder", "a.gif": none, "text.png": none, "empty.jpg": "empty", "lost.jpg": "missing",
            "pipe.jpg": "unreadable: not a regular file", "circle.jpg": "unreadable: Too many levels",
            "cut.jpg": "truncated or damaged: ", "cut.png": "truncated or damaged: ",
            "short.jpg": "truncated or damaged: it has no scan", "wide.png": "truncated or damaged: "}  # fmt: skip


def test_refused_files_have_the_reason_that_ingest_gives(predictor: Predictor, tmp_path: Path, own_cache: None) -> None:
    expected = hostile(tmp_path / "in")
    rows = table(predictor, tmp_path / "in")
    found = {os.path.basename(path): reason for path, reason in zip(rows["path"], rows["refused"], strict=True)}
    assert found.pop("a.png") == ""
    assert {name: reason[: len(expected[name])] for name, reason in found.items()} == expected
    for name, reason in found.items():
        if name not in ("again", "cut.jpg"):  # whether a JPEG is whole is told by decoding alone
            with pytest.raises(BadImage) as caught, image_file.opened(tmp_path / "in" / name, 50.0, None):
                pass
            assert reason == str(caught.value)
    bad = rows[rows["refused"] != ""]
    assert bad[NUMBERS].isna().all(axis=None)
    read = bad["refused"].str.startswith("truncated")
    assert (bad["sha1"].str.len() == np.where(read, 40, 0)).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(photo(9)), "unreadable: it changed while it was read"),
        (lambda path: os.replace(pipe(path.with_name(".pipe")), path), "unreadable: not a regular file"),
    ],
)
def test_a_file_that_changes_between_its_hash_and_its_decoding(
    change: Callable[[Path], object], reason: str, predictor: Predictor, tmp_path: Path, own_cache: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = put(tmp_path / "in", a=photo(1), b=photo(2), c=photo(3))
    compute = forward_pass.compute

    def later(*words: Any) -> Any:
        change(folder / "b")
        return compute(*words)

    monkeypatch.setattr(forward_pass, "compute", later)
    assert list(table(predictor, folder)["refused"]) == ["", reason, ""]


def test_a_name_that_is_no_text(predictor: Predictor, tmp_path: Path, own_cache: None) -> None:
    folder = put(tmp_path / "in", **{os.fsdecode(b"\xff.png"): photo(1)})
    (path,) = table(predictor, folder)["path"]
    assert os.fsencode(path) == os.fsencode(folder) + b"/\xff.png"


def test_no_usable_image_and_no_file(predictor: Predictor, tmp_path: Path, computed: list[int]) -> None:
    rows = table(predictor, put(tmp_path / "in", a=b"text"))
    assert list(rows["refused"]) == ["not a JPEG or PNG image"]
    assert [str(kind) for kind in rows.dtypes[NUMBERS]] == ["float32", "float32", "Int64", "boolean"]
    assert list(predict.predict(predictor, [], Bar())) == []
    assert computed == []


def test_a_damaged_model_is_one_line(predictor: Predictor, tmp_path: Path, own_cache: None) -> None:
    copy = tmp_path / "model"
    shutil.copytree(predictor.saved_model, copy)
    (copy / "saved_model.pb").write_bytes(b"text")
    found = model_of.find(str(copy))
    refused(f"{copy} is damaged: ", table, found, put(tmp_path / "in", a=photo(1)))
