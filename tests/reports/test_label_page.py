"""The page of label doubts: whole in one file, of the right pictures, outside the repository."""

import base64
import html.parser
import io
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Done, Made, encoded, store, write_labels
from PIL import Image

from kesikaran.cli.data import relabel
from kesikaran.core import paths
from kesikaran.data import original_names
from kesikaran.data.original_names import Origin
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
    said = re.search(r"with pictures:  kesikaran data label-doubts (\w{32})\n", done.out)
    assert said
    done = script("label_doubts", said[1])
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
    assert not page.tags & {"link", "iframe"}
    assert str(images) not in (tmp_path / "new" / "page.html").read_text(), "it may be given away"
    shown = re.findall(
        r"rank (\d+) label given (\d) probability ([\d.]+) doubt ([\d.]+)\s+(\w{40}\.\w+) this label is wrong: it is "
        r"(\d)",
        re.sub(r"\s+", " ", page.text),
    )
    other: dict[Any, str] = {0: "1", 1: "0"}
    expected = [
        (str(i + 1), str(row.label), f"{row.probability:.3f}", f"{row.loss:.2f}", row.object_id, other[row.label])
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
        Image.new("RGBA", (40, 40), (0, 0, 0, 127)),  # half transparent black, which lies on white
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
    assert done.out.endswith("These are the demo's own labels, which stay as they are; of your own images you can "
                             "correct them.\n")  # fmt: skip
    assert len(Page(tmp_path / "page.html").images) == 8


def test_what_is_not_ours_is_escaped(images: Path, tmp_path: Path) -> None:
    label_page.write(made_table(images, 2), 2, images, 50, tmp_path / "page.html", "<script>&\"'", False)
    page = Page(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("<script") == 1, "its own"
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
        (["no-such-run"], "there is no run no-such-run in sqlite:"),
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


# ---- from the page to a corrected label


def data_set(folder: Path, count: int = 6) -> pd.DataFrame:
    """A folder with label.csv, images and sources.csv; the doubts about its labels."""
    (folder / "images").mkdir()
    table = made_table(folder / "images", count)
    write_labels(folder / "label.csv", dict(zip(table["object_id"], table["label"], strict=True)))
    files = [Origin(name, f"cats/my cat {number}.jpg", "") for number, name in enumerate(table["object_id"])]
    original_names.write(folder, files)
    return table


def test_ticked_labels_are_saved_by_a_browser_and_corrected_in_the_data_set(
    tmp_path: Path, run: Callable[..., Done]
) -> None:
    data, saved = tmp_path / "my data", tmp_path / "saved"
    data.mkdir()
    saved.mkdir()
    table = data_set(data)
    page = tmp_path / "page.html"
    label_page.write(table, 6, data / "images", 50, page, "Label doubts of run 1", False)
    assert "cats/my cat 3.jpg" in Page(page).text
    assert str(tmp_path) not in page.read_text()
    count = "document.getElementById('count').textContent"
    disabled = "document.getElementById('save').disabled"
    with browser.tab(tmp_path / "profile") as tab:
        tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(saved))
        tab.open(page.as_uri())
        assert (tab.evaluate(count), tab.evaluate(disabled)) == ("0 labels ticked as wrong", True)
        for number in (1, 2, 4, 4):  # the last one is a mistake, taken back
            tab.evaluate(f"document.querySelectorAll('input')[{number}].click()")
        assert (tab.evaluate(count), tab.evaluate(disabled)) == ("2 labels ticked as wrong", False)
        tab.open(page.as_uri())
        assert tab.evaluate(count) == "2 labels ticked as wrong", "ticks survive that the page is loaded anew"
        assert tab.evaluate("[...document.querySelectorAll('input')].map(box => box.checked)").count(True) == 2
        tab.evaluate("document.getElementById('save').click()")
        end = time.monotonic() + 60
        while not (saved / "corrections.csv").is_file():
            assert time.monotonic() < end, tab.said
            time.sleep(0.05)
        source = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('not for files') }})"
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=source)
        for _ in range(2):  # a browser that keeps nothing for a file: the ticks last as long as the page is open
            tab.open(page.as_uri())
            assert tab.evaluate(count) == "0 labels ticked as wrong"
            tab.evaluate("document.querySelector('input').click()")
            assert tab.evaluate(count) == "1 label ticked as wrong"
        assert tab.said == []
        assert set(tab.asked.values()) <= {page.as_uri()} | {
            one for one in tab.asked.values() if one[:5] in ("data:", "blob:")
        }
    names = list(table["object_id"])
    rows = [f"{names[1]},1,0", f"{names[2]},0,1"]
    assert (saved / "corrections.csv").read_text().splitlines() == ["object_id,label,corrected", *rows]

    before = (data / "label.csv").read_bytes()
    done = run(relabel.main, "kesikaran data relabel", data, saved / "corrections.csv")
    assert done.code == 0, done.err
    assert "  1 -> 0  cats/my cat 1.jpg\n  0 -> 1  cats/my cat 2.jpg\n" in done.out
    given = dict(line.split(",") for line in (data / "label.csv").read_text().splitlines()[1:])
    right = dict(zip(names, map(str, table["label"]), strict=True)) | {names[1]: "0", names[2]: "1"}
    assert given == right
    (kept,) = data.glob("label.before-*.csv")
    assert kept.read_bytes() == before


@pytest.mark.parametrize("file", ["label.csv", "near_duplicates.csv", "mine.csv"])
@pytest.mark.tensorflow
def test_the_command_that_corrects_is_said(file: str, tmp_path: Path, script: Script) -> None:
    data = tmp_path / "my data"
    data.mkdir()
    table = data_set(data)
    (data / "label.csv").rename(data / file)
    run_id = sweep_of(table, data / "images", params={"data.labels": str(data / file)})
    if file == "near_duplicates.csv":
        write_labels(data / "label.csv", dict(zip(table["object_id"], table["label"], strict=True)))
    done = script("label_doubts", run_id, "--out", tmp_path / "page.html")
    named = data / file if file == "mine.csv" else data
    assert done.out.endswith(f"\n  kesikaran data relabel '{named}' corrections.csv\n"), done.out
