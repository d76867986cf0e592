"""Two made runs with known predictions through the whole program: terminal, JSON and the page in a real browser."""

import base64
import html.parser
import http.server
import io
import json
import math
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Done, encoded, one_line, store
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from kesikaran import compare
from kesikaran.analysis import wording
from kesikaran.core import paths, terminal
from kesikaran.data import original_names
from kesikaran.data.original_names import Origin
from kesikaran.metrics import intervals
from kesikaran.metrics.predictions import Predictions
from kesikaran.tracking import artifacts, context, runs, sweeps

pytestmark = pytest.mark.tensorflow

Compare = Callable[..., Done]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ITS_OWN = (  # whatever page it opens
    "//clients2.google.com/",
    "update.googleapis.com:443",
    "accounts.google.com:443",
    "www.google.com:443",
)
XML_NAMES = {"www.w3.org", "purl.org", "creativecommons.org"}
KINDS = {"both right": 25, "only A": 3, "only B": 12, "both wrong": 4}


class Page(html.parser.HTMLParser):
    """images: the pictures. named: the object ids of their cards. tags: every tag. rows: of each table row, its first
    header and the numbers in full. headings and text: what a reader sees."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.images: list[bytes] = []
        self.named: list[str] = []
        self.tags = set[str]()
        self.rows: dict[str, list[float]] = {}
        self.shown: list[tuple[str, float]] = []
        self.headings: list[str] = []
        self.text = self._row = self._tag = ""
        self._value = math.nan
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._tag = tag
        given = dict(attrs)
        assert not {"onclick", "onload", "srcset", "action"} & set(given)
        if tag == "li" and given.get("class") == "image":
            self.named.append(given["title"] or "")
        elif tag == "img":
            kind, _, content = (given["src"] or "").partition("base64,")
            assert kind == "data:image/jpeg;"
            assert given["alt"]
            self.images.append(base64.b64decode(content))
        elif tag == "tr":
            self._row = ""
        elif tag == "data":
            self._value = float(given["value"] or "")
            self.rows.setdefault(self._row, []).append(self._value)
        elif "src" in given or (given.get("href") or given.get("xlink:href") or "#")[0] != "#":
            raise AssertionError(f"{tag} asks for another file")

    def handle_data(self, data: str) -> None:
        self.text += f" {data.strip()}"
        if self._tag in ("th", "span") and not self._row:
            self._row = data.strip()
        elif self._tag == "h2":
            self.headings.append(data)
        elif self._tag == "data":
            self.shown.append((data, self._value))

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


@pytest.fixture
def call(run: Callable[..., Done]) -> Compare:
    """`python -m kesikaran.compare WORDS`."""
    return lambda *words: run(compare.main, "kesikaran-compare", *words)


def made_rows(images: Path | None = None, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of A and of B on as many test images as KINDS says, of striped pictures in `images`, and on others.
    As a run before `predicted` and `log_odds` left them."""
    random = np.random.default_rng(seed)
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    names = [f"{number:040x}.png" for number in range(len(kinds))]
    if images:
        images.mkdir(exist_ok=True)
        for number in range(len(kinds)):
            pixels = np.zeros((200, 300, 3), np.uint8)
            pixels[:, :: 2 + number % 5] = 255 - number
            names[number] = store(images, encoded(pixels, "PNG"), ".png")
    labels = np.arange(len(kinds)) % 2
    tables: list[pd.DataFrame] = []
    for run in "AB":
        right = np.array([kind in ("both right", f"only {run}") for kind in kinds])
        logits = np.where(right == (labels == 1), 1, -1) * random.uniform(0.1, 4, len(kinds))
        rows = pd.DataFrame({"object_id": names, "split": "test", "label": labels, "logit": logits})
        other = pd.DataFrame({"object_id": ["f" * 40], "split": "train", "label": [1], "logit": [1.0]})
        rows = pd.concat([rows.sample(frac=1, random_state=len(tables)), other], ignore_index=True)
        tables.append(rows.assign(probability=1 / (1 + np.exp(-rows["logit"]))))
    return tables[0], tables[1]


def made_run(
    name: str, rows: pd.DataFrame | None, params: dict[str, str] | None = None, file: str = artifacts.PREDICTIONS,
    tags: dict[str, str] | None = None, metrics: dict[str, float] | None = None,
) -> str:  # fmt: skip
    with runs.run("compare", name, params or {}) as run:
        run.tags({"split_fingerprint": "s", "data_digest": "d"} | (tags or {}))
        run.metrics(metrics or {})
        if rows is not None:
            run.parquet(rows, file)
    return run.run_id


def made_sweep(
    several: list[pd.DataFrame], losses: list[float], monkeypatch: pytest.MonkeyPatch, monitor: str = "loss",
    params: dict[str, str] | None = None, oof: pd.DataFrame | None = None,
) -> str:  # fmt: skip
    parent = sweeps.open_sweep("compare", "sweep: a=1,2")
    with monkeypatch.context() as patch:
        patch.setenv(context.SWEEP_ENV, parent)
        for number, (rows, loss) in enumerate(zip(several, losses, strict=True)):
            metrics = {"validation/log_loss": loss, "validation/roc_auc": 1 - loss}
            made_run(f"a={number}", rows, {"fit.monitor": monitor} | (params or {}), metrics=metrics)
    with sweeps.closing_sweep(parent, "FINISHED") as (run, _):
        if oof is not None:
            run.parquet(oof, artifacts.OOF_PREDICTIONS)
    return parent


def read_json(path: Path) -> Any:
    def refused(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    return json.loads(path.read_text(), parse_constant=refused)


def test_two_runs_on_the_terminal_in_json_and_on_the_page(call: Compare, tmp_path: Path) -> None:
    images = tmp_path / "images"
    a, b = made_rows(images)
    given = {"data.source": "label_csv", "data.images": str(images)}
    ids = [
        made_run("first <b>", a, given | {"optimizer.lr": "0.1", "seed": "0"}),
        made_run("second", b, given | {"optimizer.lr": "0.2", "seed": "0"}),
    ]
    original_names.write(tmp_path, [Origin(name, f"cats/{name[:8]}.jpg", "") for name in a["object_id"]])
    out, json_file = tmp_path / "new" / "page.html", tmp_path / "numbers" / "c.json"
    done = call(*ids, "--html", out, "--json", json_file)
    assert done.code == 0, done.err
    found = read_json(json_file)

    assert (found["format"], found["kind"], found["split"], found["n"], found["ones"]) == (1, "pair", "test", 44, 22)
    assert [found["a"]["run_id"], found["b"]["run_id"]] == ids
    assert [found[k] for k in ("both_right", "only_a_right", "only_b_right", "both_wrong")] == [*KINDS.values()]
    assert found["params"] == {"optimizer.lr": ["0.1", "0.2"]}
    accuracy = found["differences"]["accuracy"]
    assert accuracy["a"] == pytest.approx(28 / 44)
    assert accuracy["b"] == pytest.approx(37 / 44)
    assert accuracy["p_value"] == pytest.approx(binomtest(3, 15).pvalue)
    for run, rows in ((found["a"], a), (found["b"], b)):
        test = rows[rows["split"] == "test"]
        assert run["metrics"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(test["label"], test["logit"]))
    assert found["conclusion"].startswith("B is better in accuracy: 0.636 and 0.841, B - A = +0.205 [")
    counts = "Right in both 25, in A only 3, in B only 12, wrong in both 4."
    for line in (found["conclusion"], *found["remarks"], counts):
        assert line in done.out
    assert done.out.splitlines()[-1] == f"Look at it in a browser:  {out.as_uri()}"

    page = Page(out.read_text())
    same(page, found)
    assert not page.tags & {"script", "link", "iframe", "object", "b"}
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in out.read_text()
    assert "first <b>" in page.text
    assert page.headings[3:] == ["Fixed by B: 12 images", "Broken by B: 3 images", "Wrong in both: 4 images"]
    assert len(page.images) == len(page.named) == 12 + 3 + 4
    assert str(images) not in out.read_text(), "the page may be given away, and says nothing of this disk"
    both = a.merge(b, on="object_id", suffixes=("_a", "_b")).set_index("object_id")
    names = page.named
    assert all(f"cats/{name[:8]}.jpg" in page.text for name in names)
    for part, sure in ((names[:12], "b"), (names[12:15], "b"), (names[15:], None)):
        logits = both.loc[part, ["logit_a", "logit_b"]].abs()
        by = logits.min(axis=1) if sure is None else logits[f"logit_{sure}"]
        assert list(by) == sorted(by, reverse=True)


def same(page: Page, found: Any) -> None:
    """The page's numbers are those of the JSON, to the last digit where it says them in full, and rounded to read."""
    for name, difference in found["differences"].items():
        expected = [run["metrics"][name][end] for run in (found["a"], found["b"]) for end in ("value", "low", "high")]
        expected += [difference[key] for key in ("difference", "low", "high", "p_value")]
        assert page.rows.get(name, []) == [value for value in expected if value is not None], name
    assert len(page.shown) > 50
    for text, value in page.shown:
        if re.fullmatch(r"[+-]?\d\.\d{3}", text):
            assert float(text) == pytest.approx(value, abs=0.00051)
        else:
            assert text == wording.p_in_words(value)
    assert found["conclusion"] in page.text
    for remark in found["remarks"]:
        assert remark in page.text
    for key, count in (("A right", "both_right"), ("A wrong", "only_b_right")):
        assert re.search(rf"{key}\s+{found[count]:,}\s", page.text)


class Proxy(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 (emptied by `opened`)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_CONNECT = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """(the page's DOM as a headless Chromium has it, what it asked the network for)."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page was not opened in a browser")
    Proxy.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={profile}", "--dump-dom"]
        options += [f"--proxy-server=127.0.0.1:{proxy.server_port}", "--proxy-bypass-list=<-loopback>"]
        command = [CHROMIUM, *options, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        proxy.shutdown()
    return done.stdout, [url for url in Proxy.asked if not any(host in url for host in ITS_OWN)]


def test_the_page_in_a_browser_asks_for_nothing(call: Compare, tmp_path: Path) -> None:
    a, b = made_rows(tmp_path / "images")
    ids = [made_run("a", a, {"data.images": str(tmp_path / "images")}), made_run("b", b)]
    out, json_file = tmp_path / "page.html", tmp_path / "c.json"
    assert call(*ids, "--html", out, "--json", json_file).code == 0
    dom, asked = opened(out, tmp_path / "profile")
    page = Page(dom)
    same(page, read_json(json_file))
    assert len(page.images) == 19
    assert dom.count("<svg") == 3
    assert asked == []
    # Its own hosts are left out above, so that the page must not name any: but for those of XML names
    assert set(re.findall(r"//([\w-]+(?:\.[\w-]+)+)", out.read_text())) <= XML_NAMES
    asking = out.read_text().replace("</main>", '<img src="http://page.example/x.png"></main>')
    for content, expected in ((asking, []), (re.sub("<meta http-equiv[^>]*>", "", asking), ["page.example/x.png"])):
        (tmp_path / "asking.html").write_text(content)
        _, asked = opened(tmp_path / "asking.html", tmp_path / "profile")
        assert [url.removeprefix("http://") for url in asked] == expected, "its policy keeps even such an image away"


def test_the_sharp_picture_is_only_in_the_page_when_asked_for(call: Compare, tmp_path: Path) -> None:
    a, b = made_rows(tmp_path / "images")
    ids = [made_run("a", a, {"data.images": str(tmp_path / "images")}), made_run("b", b)]

    def detail(*words: str) -> list[float]:
        assert call(*ids, "--html", tmp_path / "page.html", *words).code == 0
        found = []
        for content in Page((tmp_path / "page.html").read_text()).images:
            with Image.open(io.BytesIO(content)) as image:
                found.append(float(np.abs(np.diff(np.asarray(image, float), axis=1)).mean()))
        return found

    assert max(detail()) < 5
    assert min(detail("--no-blur")) > 20


def test_an_image_beyond_the_limit_of_run_a_has_no_picture(call: Compare, tmp_path: Path) -> None:
    a, b = made_rows(tmp_path / "images")  # of 0.06 megapixels
    low, high = ({"data.images": str(tmp_path / "images"), "data.max_megapixels": most} for most in ("0.05", "0.07"))
    ids = [made_run("a", a, low), made_run("b", b, high)]
    out = tmp_path / "page.html"
    for compared, pictures in ((ids, 0), (ids[::-1], 19)):
        done = call(*compared, "--html", out)
        assert done.code == 0, done.err
        assert len(Page(out.read_text()).images) == pictures
        assert ("19 images have no picture (too large in pixels 19) in" in done.out) == (pictures == 0)


def test_no_more_than_sixty_of_a_kind_and_images_that_are_gone(
    call: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "only B", 70)
    a, b = made_rows()
    ids = [made_run("a", a, {"data.images": str(tmp_path / "gone")}), made_run("b", b)]
    out = tmp_path / "page.html"
    done = call(*ids, "--html", out)
    assert done.code == 0, done.err
    assert "The page has no pictures: image folder" in done.out
    page = Page(out.read_text())
    assert "Fixed by B: 70 images" in page.headings
    assert "The first 60 are shown." in page.text
    assert page.text.count("no folder") == 60 + 3 + 4
    assert page.images == []
    (tmp_path / "empty").mkdir()
    done = call(*ids, "--html", out, "--images", tmp_path / "empty")
    assert f"67 images have no picture (missing 67) in {tmp_path / 'empty'}; --images gives another" in done.out


def test_decisions_are_those_of_the_run(call: Compare, tmp_path: Path) -> None:
    a, _ = made_rows()
    decided = a.assign(log_odds=a["logit"] + 1.0, predicted=(a["logit"] > 2).astype(int))
    decided["probability"] = 1 / (1 + np.exp(-decided["log_odds"]))
    ids = [made_run("a", a), made_run("b", decided)]
    assert call(*ids, "--html", tmp_path / "p.html", "--json", tmp_path / "c.json").code == 0
    found = read_json(tmp_path / "c.json")
    test = decided[decided["split"] == "test"]
    assert found["b"]["metrics"]["accuracy"]["value"] == pytest.approx((test["predicted"] == test["label"]).mean())
    assert found["differences"]["roc_auc"]["p_value"] == 1


def test_groups_of_one_run_are_those_of_both(call: Compare, tmp_path: Path) -> None:
    a, b = made_rows()
    grouped = b.assign(group=b["object_id"].str[38:40].map(lambda two: str(int(two, 16) // 4)))
    words = ["--html", tmp_path / "p.html", "--json", tmp_path / "c.json"]
    done = call(made_run("a", a), made_run("b", grouped), *words)
    found = read_json(tmp_path / "c.json")
    assert found["groups"] == 11
    assert found["differences"]["accuracy"]["test"] == "t of group sums"
    assert "the units are 11 groups" in done.out
    others = a.assign(group=a["label"].astype(str))
    done = call(made_run("c", others), made_run("d", grouped), *words)
    assert "keep different images together" in done.err
    assert one_line(done.err.strip())


def test_confidence_and_bins_are_those_of_the_first_run(
    call: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = made_rows()
    wide = {"evaluation.confidence": "0.8", "evaluation.calibration_bins": "4"}
    first, second, old = made_run("first", a, wide), made_run("second", b, wide), made_run("old", b)
    words = ["--html", tmp_path / "p.html", "--json", tmp_path / "c.json"]
    said = "evaluation.confidence=0.8, evaluation.calibration_bins=4 and evaluation.verdict=accuracy are those of run "
    for other, remarks in ((second, []), (old, [f"{said}{first[:8]} (first); run {old[:8]} (old) had others."])):
        done = call(first, other, *words)
        assert done.code == 0, done.err
        found = read_json(tmp_path / "c.json")
        assert (found["confidence"], found["calibration_bins"]) == (0.8, 4)
        expected = intervals.intervals(Predictions.from_table(b[b["split"] == "test"]), 0.8, 4)
        for name in ("accuracy", "calibration_error"):
            assert found["b"]["metrics"][name]["high"] == pytest.approx(expected[name].high)
        assert [line for line in found["remarks"] if "evaluation.confidence" in line] == remarks
        assert "80 % intervals" in done.out
    call(old, first, *words)
    assert read_json(tmp_path / "c.json")["confidence"] == 0.95
    alike = made_sweep([a, b], [0.2, 0.1], monkeypatch, params=wide)
    assert call(f"sweep:{alike}", *words).code == 0
    found = read_json(tmp_path / "c.json")
    assert found["confidence"] == 0.8
    assert found["candidates"][0]["primary"]["high"] == pytest.approx(expected["accuracy"].high)


@pytest.mark.parametrize("setting", [{"split.group": "module"}, {"split.group": "None", "split.rule": "blocks"}])
def test_images_kept_together_by_a_run_that_does_not_tell_which_are_said(
    setting: dict[str, str], call: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = made_rows()
    grouped = b.assign(group=b["object_id"].str[38:40].map(lambda two: str(int(two, 16) // 4)))
    words = ["--html", tmp_path / "p.html", "--json", tmp_path / "c.json"]
    old, new = made_run("old", a, setting), made_run("new", grouped, setting)
    how = "split.group=module" if setting["split.group"] == "module" else "split=blocks"
    told = f"Which images were kept together is not told by run {old[:8]} (old) with {how}, of an older version: "

    def remarks(*runs: str) -> list[str]:
        done = call(*runs, *words)
        assert done.code == 0, done.err
        listed: list[str] = read_json(tmp_path / "c.json")["remarks"]
        assert all(line in done.out.splitlines() for line in listed)
        assert all(line in Page((tmp_path / "p.html").read_text()).text for line in listed)
        return [line for line in listed if "kept together" in line]

    assert remarks(old, new) == [f"{told}the groups are those of another run; train again to have it told."]
    (line,) = remarks(old, made_run("alone", b, {"split.group": "None", "split.rule": "sha1_low_byte"}))
    assert line.startswith(f"{told}every image counts as independent, ")
    assert remarks(new, made_run("alone", b)) == []
    sweep = made_sweep([a, b], [0.1, 0.2], monkeypatch, params=setting)
    (line,) = remarks(f"sweep:{sweep}")
    assert line.count(how) == 2


@pytest.mark.parametrize("images", [1, 22])
def test_one_class_or_one_image_is_said_and_not_a_number(call: Compare, tmp_path: Path, images: int) -> None:
    kept = [rows[(rows["label"] == 0) | (rows["split"] == "train")] for rows in made_rows()]
    names = [*sorted(kept[0]["object_id"])[:images], "f" * 40]
    ids = [made_run("ab"[i], rows[rows["object_id"].isin(names)]) for i, rows in enumerate(kept)]
    done = call(*ids, "--html", tmp_path / "p.html", "--json", tmp_path / "c.json")
    assert done.code == 0, done.err
    found = read_json(tmp_path / "c.json")
    assert (found["n"], found["ones"]) == (images, 0)
    for name in ("roc_auc", "balanced_accuracy", "recall", "pr_auc"):
        assert found["differences"][name]["p_value"] is None
        assert found["a"]["metrics"][name] == {"value": None, "low": None, "high": None}
    assert re.search(r"Undefined on these images for one run at least: .*roc_auc", done.out)
    assert "nan" not in (done.out + (tmp_path / "p.html").read_text()).lower()
    assert (tmp_path / "p.html").read_text().count("<svg") == 1


def test_two_cross_validations_out_of_fold(call: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = made_rows(tmp_path / "images")
    tables = [rows[rows["split"] == "test"].drop(columns="split").assign(fold=0) for rows in both]
    ids = []
    for rows, table, rate in zip(both, tables, ("0.1", "0.2"), strict=True):
        params = {"data.images": str(tmp_path / "images"), "optimizer.lr": rate}
        ids.append(made_sweep([rows], [0.1], monkeypatch, params=params, oof=table))
    words = ["--split", "oof", "--html", tmp_path / "p.html"]
    done = call(*ids, *words)
    assert "44 oof images" in done.out, done.err
    assert "optimizer.lr: 0.1 in A, 0.2 in B" in done.out, "their jobs' settings are theirs"
    assert len(Page((tmp_path / "p.html").read_text()).images) == 19
    several = made_run("c", pd.concat(tables), file=artifacts.OOF_PREDICTIONS)
    assert "holds the folds of several settings" in call(ids[0], several, *words).err


def test_a_sweep(call: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = made_rows()
    bad = a.assign(logit=-9.0 * (2 * a["label"] - 1))
    bad["probability"] = 1 / (1 + np.exp(-bad["logit"]))
    parent = made_sweep([a, b, bad, a], [0.4, 0.3, 0.5, 0.6], monkeypatch)
    words = ["--html", tmp_path / "p.html", "--json", tmp_path / "s.json"]
    done = call(f"sweep:{parent[:10]}", *words)
    assert done.code == 0, done.err
    found = read_json(tmp_path / "s.json")
    assert (found["format"], found["kind"], found["sweep_id"]) == (1, "sweep", parent)
    assert [one["name"] for one in found["candidates"]] == ["a=1", "a=0", "a=2", "a=3"]  # by validation log_loss
    single = binomtest(3, 15).pvalue  # 3 others: of two p-values that are equal the second is no smaller
    assert [one["p_adjusted"] for one in found["candidates"]][1::2] == pytest.approx([2 * single] * 2)
    assert found["candidates"][2]["against_best"]["difference"] == pytest.approx(-37 / 44)
    matrix = np.array(found["p_adjusted"], float)
    assert np.array_equal(matrix, matrix.T, equal_nan=True)
    assert matrix[1, 3] == 1  # the same predictions
    assert np.isnan(np.diag(matrix)).all()
    best = found["candidates"][0]["run_id"][:8]
    line = (
        f"Judged by accuracy on the 44 test images, the best of 4 by validation log loss (a=1, run {best}), is better "
        "than 1 other; 2 are not distinguishable from it (Holm over 3 comparisons at 5%)."
    )
    assert found["conclusion"] == line
    assert line in done.out
    page = Page((tmp_path / "p.html").read_text())
    assert line in page.text
    assert page.rows["2"][-3:] == [p for p in matrix[1].tolist() if not math.isnan(p)]
    assert not page.images
    assert done.err == "", "no bar where it is quick"
    by_auc = made_sweep([a, b], [0.4, 0.3], monkeypatch, "auc")
    assert "the best of 2 by validation ROC AUC (a=1, run " in call(f"sweep:{by_auc}", *words).out


def test_all_pairs_of_a_sweep_have_a_bar(call: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = made_rows()
    parent = made_sweep([a, b, a, b], [0.4, 0.3, 0.5, 0.6], monkeypatch)
    monkeypatch.setattr(terminal, "_Bar", lambda *given, **named: tqdm(*given, **named | {"delay": 0}))
    done = call(f"sweep:{parent}", "--html", tmp_path / "p.html")
    assert re.search(r"comparing: 100%\|.*\| 6/6 \[", done.err)


def test_bad_input_is_one_line_and_writes_nothing(
    call: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = made_rows()
    ours = paths.checkout()
    assert ours
    first, second = made_run("a", a), made_run("b", b)
    fewer = made_run("fewer", b[b["object_id"] != b["object_id"][0]], tags={"split_fingerprint": "x"})
    flipped = made_run("flipped", b.assign(label=1 - b["label"]))
    twice = made_run("repeated", pd.concat([b, b]))
    outside = made_run("outside", b.replace({"object_id": {f"{30:040x}.png": "../../etc/passwd"}}))
    outside_too = made_run("outside", a.replace({"object_id": {f"{30:040x}.png": "../../etc/passwd"}}))
    with pytest.raises(ZeroDivisionError), runs.run("compare", "failed", {}) as failed:
        raise ZeroDivisionError
    sweep = made_sweep([a], [0.1], monkeypatch)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    cases: list[tuple[list[object], str]] = [
        ([first], "is not allowed: two runs, or sweep:ID"),
        ([first, second, fewer], "is not allowed: two runs, or sweep:ID"),
        ([f"sweep:{sweep}", first], "there is no run sweep:"),
        ([first, first[:20]], f"are the same run, {first}"),
        ([first, "no such"], "there is no run no such in"),
        ([first, failed.run_id], "(failed) is FAILED, not FINISHED"),
        ([first, made_run("none", None)], "has no predictions.parquet; train again"),
        ([first, sweep], f"it is a sweep's parent: sweep:{sweep} are its jobs, --split oof its folds"),
        ([first, fewer], "were not scored on the same test images: 1 only in the first, 0 only in the second, 43 in "
                         "both (split_fingerprint s and x). They were split in other ways: train"),
        ([first, flipped], "give different labels to 44 of 44 test images (their fingerprints do not tell). "
                          "Labels were corrected between them: train the settings of the older one again"),
        ([first, twice], "names an image twice"),
        ([outside, outside_too, "--images", tmp_path], "1 of its object_ids are no names of images, which are SHA-1s"),
        ([first, second, "--split", "validation"], "has no image in its validation split"),
        ([first, second, "--split", "oof"], "has no oof_predictions.parquet; the parent run of a cross-validation has"),
        ([first, second, "--images", tmp_path / "no"], "no does not exist; give --images FOLDER"),
        ([first, second, "--html", ours / "page.html"], "page.html is inside the repository"),
        ([first, second, "--html", tmp_path / "page.txt"], "page.txt is not allowed: a file that ends in .html"),
        ([first, second, "--html", tmp_path / "file" / "p.html"], "file is not writable"),
        ([first, second, "--json", tmp_path / "folder"], "folder is not allowed: it is a folder"),
        ([f"sweep:{first}"], "is no sweep; compare it with another run"),
        ([f"sweep:{sweep}"], "has 1 finished jobs; at least 2 can be compared"),
        ([f"sweep:{sweep}", "--no-blur"], "--no-blur are of two runs"),
    ]  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    for words, says in cases:
        done = call("--html", tmp_path / "page.html", *words)
        assert done.code == 1, (words, done.out)
        (line,) = done.err.splitlines()
        assert line.startswith("error: ")
        assert says in line, says
        assert sorted(tmp_path.rglob("*")) == before, words
    assert not (ours / "page.html").exists()
