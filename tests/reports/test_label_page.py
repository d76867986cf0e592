"""The page of label doubts: whole in one file, of the right pictures, outside the repository."""

import base64
import html.parser
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Done, Made, encoded, store
from PIL import Image

from kesikaran.core import paths
from kesikaran.reports import label_page

Script = Callable[..., Done]


class Page(html.parser.HTMLParser):
    """images: the pictures in their order. text: what a reader sees. tags: every tag."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[bytes] = []
        self.text, self.tags = "", set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        source = dict(attrs).get("src") or dict(attrs).get("href")
        if source:
            kind, _, content = source.partition("base64,")
            assert (tag, kind) == ("img", "data:image/jpeg;"), "it asks for another file"
            self.images.append(base64.b64decode(content))

    def handle_data(self, data: str) -> None:
        self.text += f" {data.strip()}"


def made_table(images: Path, count: int = 8) -> pd.DataFrame:
    """Doubts of striped images of 300 x 200 px, JPEG and PNG, put into `images`."""
    rows = []
    for number in range(count):
        pixels = np.zeros((200, 300, 3), np.uint8)
        pixels[:, :: 2 + number] = 255
        name = store(images, encoded(pixels, ("PNG", "JPEG")[number % 2]), (".png", ".jpg")[number % 2])
        rows.append((name, number % 2, 0.9 - number / 100, 3.0 - number / 10))
    return pd.DataFrame(rows, columns=["object_id", "label", "probability", "loss"])


def sweep_of(
    table: pd.DataFrame | str, images: Path | str, status: str = "FINISHED", params: dict[str, str] | None = None
) -> str:
    """A sweep's parent with one job, as a cross-validation leaves them; its id."""
    from kesikaran.tracking import context, runs, sweeps

    parent = sweeps.open_sweep("doubts", "sweep: split.fold=range(0,2)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(context.SWEEP_ENV, parent)
        source = "elpv" if images == "elpv" else "label_csv"
        given = {"data.source": source, "data.images": str(images), "split.fold": "0"} | (params or {})
        with runs.run("doubts", None, given):
            pass
    with sweeps.closing_sweep(parent, status) as (run, _):
        run.metrics({"oof/n": 8})
        run.text(table if isinstance(table, str) else table.to_csv(index=False), "label_doubts.csv")
    return parent


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def test_from_a_cross_validation_to_the_page(train: Callable[..., Done], script: Script, made: Made) -> None:
    done = train("experiment=cv", *made.words, "split.folds=2", "fit.epochs=1")
    assert done.code == 0, done.err
    done = script("label_doubts")
    assert done.code == 0, done.err
    assert re.match(r"100 of 240 images, the most doubted of run \w{32}\.\nLook at it in a browser:  file://", done.out)
    (path,) = (ROOT / "cache" / "label_doubts").iterdir()
    page = Page(path)
    assert len(page.images) == 100
    assert path.stem in page.text
    path.unlink()


@pytest.mark.tensorflow
def test_the_page_shows_the_rows_in_their_order(images: Path, script: Script, tmp_path: Path) -> None:
    table = made_table(images)
    run_id = sweep_of(table, images)
    (images / table["object_id"][2]).unlink()
    (images / table["object_id"][3]).write_bytes((images / table["object_id"][5]).read_bytes())
    done = script("label_doubts", run_id, "--top", 6, "--out", tmp_path / "new" / "page.html")
    assert done.code == 0, done.err
    assert f"2 without a picture (missing 1, its content has another SHA-1 than its name 1) in {images};" in done.out
    assert done.out.splitlines()[2] == f"Look at it in a browser:  {(tmp_path / 'new' / 'page.html').as_uri()}"
    page = Page(tmp_path / "new" / "page.html")
    assert not page.tags & {"script", "link", "iframe"}
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'"Content-Security-Policy" content="{policy}"' in (tmp_path / "new" / "page.html").read_text()
    shown = re.findall(
        r"rank (\d+) label given (\d) probability ([\d.]+) doubt ([\d.]+)\s+(\w{40}\.\w+)",
        re.sub(r"\s+", " ", page.text),
    )
    expected = [
        (str(i + 1), str(row.label), f"{row.probability:.3f}", f"{row.loss:.2f}", row.object_id)
        for i, row in enumerate(table.head(6).itertuples())
    ]
    assert shown == expected
    assert len(page.images) == 4
    for content, name in zip(page.images, table["object_id"][[0, 1, 4, 5]], strict=True):
        with Image.open(io.BytesIO(content)) as thumbnail, Image.open(images / name) as whole:
            assert (thumbnail.format, thumbnail.size) == ("JPEG", (224, 149))
            small = np.asarray(whole.convert("RGB").resize(thumbnail.size), float)
            assert np.abs(np.asarray(thumbnail, float) - small).mean() < 8


def test_blurred_means_that_the_sharp_picture_is_not_in_the_file(images: Path, tmp_path: Path) -> None:
    def detail(blur: bool) -> list[float]:
        label_page.write(table, 8, images, 50, tmp_path / "page.html", "t", blur)
        found = []
        for content in Page(tmp_path / "page.html").images:
            with Image.open(io.BytesIO(content)) as image:
                assert image.size == (224, 149)
                found.append(float(np.abs(np.diff(np.asarray(image, float), axis=1)).mean()))
        return found

    table = made_table(images)
    sharp, blurred = detail(False), detail(True)
    assert min(sharp) > 20
    assert max(blurred) < 5


def test_any_image_that_trains_has_a_thumbnail_without_metadata(images: Path, tmp_path: Path) -> None:
    grey16 = np.full((40, 40), 0x8000, np.uint16)
    pictures = [
        Image.fromarray(grey16),
        Image.new("RGBA", (40, 40), (128, 128, 128, 0)),
        Image.new("CMYK", (40, 40), (0, 0, 0, 127)),
        Image.new("P", (40, 40), 1),
        Image.new("1", (500, 2), 1),
    ]
    pictures[3].putpalette([0, 0, 0, 128, 128, 128])
    rows = []
    for picture in pictures:
        sink = io.BytesIO()
        picture.save(sink, "JPEG" if picture.mode == "CMYK" else "PNG")
        rows.append((store(images, sink.getvalue(), ".jpg"), 1, 0.5, 0.7))
    sink = io.BytesIO()
    Image.new("RGB", (40, 40), (128, 128, 128)).save(sink, "JPEG", comment=b"secret", exif=b"Exif\0\0secret")
    rows.append((store(images, sink.getvalue(), ".jpg"), 1, 0.5, 0.7))
    table = pd.DataFrame(rows, columns=["object_id", "label", "probability", "loss"])
    for blur in (False, True):
        assert label_page.write(table, 10, images, 50, tmp_path / "page.html", "t", blur) == {}
        found = Page(tmp_path / "page.html").images
        for content in found[:4] + found[5:]:
            assert b"secret" not in content
            with Image.open(io.BytesIO(content)) as image:
                assert np.abs(np.asarray(image.convert("L"), float) - 128).max() <= 2


@pytest.mark.tensorflow
def test_an_image_beyond_the_runs_limit_of_pixels_has_no_picture(images: Path, tmp_path: Path, script: Script) -> None:
    table = made_table(images, 2)  # of 0.06 megapixels
    name = store(images, encoded(np.zeros((100, 100, 3), np.uint8), "PNG"), ".png")
    table = pd.concat([table, pd.DataFrame([(name, 1, 0.5, 0.7)], columns=table.columns)], ignore_index=True)
    run_id = sweep_of(table, images, params={"data.max_megapixels": "0.05"})
    for words in ([], ["--images", images]):
        done = script("label_doubts", run_id, "--out", tmp_path / "page.html", *words)
        assert f"2 without a picture (too large in pixels 2) in {images};" in done.out, done.err
        page = Page(tmp_path / "page.html")
        assert len(page.images) == 1
        assert page.text.count("too large in pixels: 300 x 200, allowed 0.05 megapixels") == 2
    done = script("label_doubts", sweep_of(table, images), "--out", tmp_path / "page.html")
    assert len(Page(tmp_path / "page.html").images) == 3, done.err


@pytest.mark.tensorflow
def test_the_latest_finished_sweep_with_the_table_is_taken(images: Path, script: Script, tmp_path: Path) -> None:
    from kesikaran.tracking import runs

    table = made_table(images)
    sweep_of(table, images)
    wanted = sweep_of(table, images)
    sweep_of(table, images, "FAILED")
    with runs.run("doubts", None, {}):
        pass
    assert f"the most doubted of run {wanted}." in script("label_doubts", "--out", tmp_path / "page.html").out


@pytest.mark.tensorflow
def test_the_demos_folder_is_the_caches(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    from kesikaran.data import elpv

    monkeypatch.setattr(elpv, "prepare", lambda cache: (cache / "label.csv", images))
    run_id = sweep_of(made_table(images), "elpv")
    done = script("label_doubts", run_id, "--out", tmp_path / "page.html")
    assert "without a picture" not in done.out
    assert len(Page(tmp_path / "page.html").images) == 8


def test_what_is_not_ours_is_escaped(images: Path, tmp_path: Path) -> None:
    label_page.write(made_table(images, 2), 2, images, 50, tmp_path / "page.html", "<script>&\"'", False)
    page = Page(tmp_path / "page.html")
    assert "script" not in page.tags
    assert "<script>&\"'" in page.text


@pytest.mark.tensorflow
def test_bad_input_is_one_line_and_writes_nothing(
    images: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kesikaran.tracking import queries, run_store

    table = made_table(images)
    good = sweep_of(table, images)
    ours = paths.checkout()
    assert ours
    (tmp_path / "link").symlink_to(ours)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    escaping = table.assign(object_id=["../../etc/passwd", *table["object_id"][1:]])
    out = tmp_path / "page.html"
    cases: list[tuple[list[object], str]] = [
        (["no-such-run"], "run no-such-run cannot be read from sqlite:"),
        ([queries.sweep_jobs(good)["run_id"][0]], "has no label_doubts.csv; the parent run of a cross-validation has"),
        ([sweep_of(escaping, images)], "its column object_id holds what is no name of an image"),
        ([sweep_of("object_id,label\n", images)], "is damaged: Usecols do not match columns"),
        ([sweep_of(table.assign(loss="x"), images)], "is damaged: "),
        ([sweep_of(table, tmp_path / "no")], "no does not exist; give --images FOLDER"),
        ([good, "--images", tmp_path / "file"], "file does not exist; give --images FOLDER"),
        ([good, "--top", "0"], "--top 0 is not allowed: at least 1"),
        ([good, "--out", ours / "page.html"], "page.html is inside the repository"),
        ([good, "--out", tmp_path / "link" / "mlruns" / "page.html"], "page.html is inside the repository"),
        ([good, "--out", tmp_path / "page.txt"], "page.txt is not allowed: a file that ends in .html"),
        ([good, "--out", tmp_path / "folder.html"], "folder.html is not allowed"),
        ([good, "--out", tmp_path / "file" / "page.html"], "file is not writable"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for words, says in cases:
        done = script("label_doubts", "--out", out, *words)
        assert done.code == 1, (words, done.out)
        (line,) = done.err.splitlines()
        assert line.startswith("error: ")
        assert says in line
        assert sorted(tmp_path.rglob("*")) == before, words
    assert not (ours / "page.html").exists()
    monkeypatch.setattr(run_store, "_uri_given", f"sqlite:///{tmp_path / 'none.db'}")
    assert "there is no store of runs at" in script("label_doubts", "--out", out).err
    assert not (tmp_path / "none.db").exists()


@pytest.mark.tensorflow
def test_a_table_whose_jobs_or_images_are_gone(images: Path, tmp_path: Path, script: Script, client: Any) -> None:
    from kesikaran.tracking import queries

    run_id = sweep_of(made_table(images), images)
    client.delete_run(queries.sweep_jobs(run_id)["run_id"][0])
    out = tmp_path / "page.html"
    assert "are gone, and with them its folder of images; give --images" in script("label_doubts", run_id).err
    shutil.rmtree(images)
    images.mkdir()
    done = script("label_doubts", run_id, "--images", images, "--out", out)
    assert done.code == 0
    assert f"8 without a picture (missing 8) in {images}; --images FOLDER" in done.out
    assert Page(out).images == []
