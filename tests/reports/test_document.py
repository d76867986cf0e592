"""The pages' templates: text of whatever kind stays text, and no value is forgotten."""

import base64
import hashlib
import html.parser
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import pytest
from conftest import sweep_of

from kesikaran.analysis import pairwise, ranking, run_predictions
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.core import paths
from kesikaran.core.errors import InputError
from kesikaran.reports import comparison_page, document, label_page, thumbnails
from kesikaran.reports.thumbnails import Thumbnail

HOSTILE = """<script>x" onload="x' &amp; {{ 7*7 }}{% raise %}{# gone #}"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PAGES = ["comparison", "sweep", "label_doubts"]
WITH_SCRIPT = ["label_doubts"]


class Page(html.parser.HTMLParser):
    """tags and attributes: their names. policy: its Content-Security-Policy. strings: each text and each attribute's
    value."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags, self.attributes = set[str](), set[str]()
        self.strings: list[str] = []
        self.policy: str | None = None
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.strings += [value or "" for _, value in attrs]
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]

    def handle_data(self, data: str) -> None:
        self.strings.append(data)

    def times(self, text: str) -> int:
        return sum(one.count(text) for one in self.strings)


def made_run(number: int, name: str, params: dict[str, str]) -> RunPredictions:
    """A run on 40 images, right in the more the larger its number is."""
    labels = np.arange(40) % 2
    logits = np.where(np.arange(40) < 20 + 5 * number, 1, -1) * np.where(labels == 1, 1.5, -1.5)
    rows = pd.DataFrame({"object_id": [f"{i:040x}.png" for i in range(40)], "split": "test", "label": labels})
    rows = rows.assign(logit=logits, probability=1 / (1 + np.exp(-logits)))
    return run_predictions.run_predictions(f"{number:032x}", name, {"split_fingerprint": name}, params, rows, "test")


def made_comparison(text: str, pictures: bool) -> str:
    """The page of two runs with `text` for every name, setting and reason there is."""
    runs = [made_run(1, text, {text: text, "evaluation.calibration_bins": "4"}), made_run(2, text, {})]
    found = pairwise.compare(runs[0], runs[1], "test")
    changed = pairwise.changed(*runs)
    picture = Thumbnail(f"/{text}", b"jpeg" if pictures else None, "" if pictures else text)
    shown = {name: [picture] * len(rows) for name, rows in changed.items()}
    return comparison_page.pair(found, run_predictions.aligned(runs, "test"), changed, shown)


def made_sweep(text: str) -> str:
    labels = np.arange(40) % 2
    jobs, read = sweep_of({f"{text}{number}": labels - 0.1 * number for number in (1, 2)}, labels, [0.1, 0.1])
    jobs["params.evaluation.calibration_bins"] = ["3", "4"]
    found = ranking.compare(text, jobs, read, "test")
    return comparison_page.sweep(ranking.with_every_pair(found, jobs, read, lambda: None))


def made_doubts(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    rows = pd.DataFrame({"object_id": [text], "label": [1], "probability": [0.1], "loss": [2.3]})
    with monkeypatch.context() as patch:
        patch.setattr(thumbnails, "make", lambda names, *_: [Thumbnail(text, None, text) for _ in names])
        label_page.write(rows, 1, folder, 1, folder / "page.html", text, False)
    return (folder / "page.html").read_text()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """The page of a name in PAGES with a text."""
    makers: dict[str, Callable[[str], str]] = {
        "comparison": lambda text: made_comparison(text, False),
        "sweep": made_sweep,
        "label_doubts": lambda text: made_doubts(text, tmp_path, monkeypatch),
    }
    return lambda name, text: makers[name](text)


@pytest.mark.parametrize("name", PAGES)
def test_hostile_text_stays_text(name: str, make: Callable[[str, str], str]) -> None:
    plain, hostile = Page(make(name, "plain")), Page(make(name, HOSTILE))
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert hostile.policy == plain.policy
    assert (plain.policy or "").partition("; script-src ")[0] == POLICY
    assert ("script" in plain.tags) is (name in WITH_SCRIPT)
    assert hostile.times(HOSTILE) == plain.times("plain") > 3


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_lets_the_pages_own_script_run_and_no_other(name: str, make: Callable[[str, str], str]) -> None:
    page = make(name, HOSTILE)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    sources = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    allowed = (Page(page).policy or "").partition("; script-src ")[2]
    assert allowed == " ".join(f"'sha256-{source}'" for source in sources)
    assert len(scripts) == (name in WITH_SCRIPT)


def test_hostile_text_in_every_place(make: Callable[[str, str], str]) -> None:
    """The places that a name can come to: no page may lack one, or the test above would not see it."""
    two, sweep, doubts = (Page(make(name, HOSTILE)).strings for name in PAGES)
    assert f"A: {HOSTILE} – B: {HOSTILE}" in two
    assert two.count(HOSTILE) >= 2 + 2 + 2, "names, fingerprints, a setting and its value"
    assert any("had others" in text and HOSTILE in text for text in two), "a remark"
    assert two.count(f"/{HOSTILE}") == 15, "the name of each image"
    assert any("had others" in text and HOSTILE in text for text in sweep)
    assert f"Sweep {HOSTILE}" in sweep
    assert sweep.count(f"{HOSTILE}1") == 2, "a job's name in both tables"
    assert doubts.count(HOSTILE) == 6, "title, heading, reason, name and twice the id of the image"


def test_a_hostile_name_of_a_picture() -> None:
    found = Page(made_comparison(HOSTILE, True))
    assert found.tags.isdisjoint({"script"})
    assert "onload" not in found.attributes
    assert f"/{HOSTILE}" in found.strings
    assert "data:image/jpeg;base64,anBlZw==" in found.strings


@pytest.mark.parametrize("name", PAGES)
def test_a_missing_value_is_an_error(
    name: str, make: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    render, given = document.render, dict[str, Any]()

    def noted(template: str, **values: Any) -> str:
        assert template == f"{name}.html"
        given.update(values)
        return render(template, **values)

    monkeypatch.setattr(document, "render", noted)
    make(name, "plain")
    assert len(given) >= 3
    for lacking in given:
        with pytest.raises(jinja2.UndefinedError, match=f"'{lacking}' is undefined"):
            render(f"{name}.html", **{key: value for key, value in given.items() if key != lacking})


def test_one_thing_is_marked_safe() -> None:
    files = sorted(Path(document.__file__).with_name("templates").iterdir())
    assert {path.stem for path in files if path.suffix == ".html"} == {"base", "macros", *PAGES}
    text = "".join(re.sub(r"{#.*?#}", "", path.read_text(), flags=re.DOTALL) for path in files)
    assert re.findall(r"{{[^}]*\bsafe\b[^}]*}}", text) == ["{{ svg | safe }}"]
    assert "autoescape" not in text


def test_a_page_that_cannot_be_written_leaves_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    document.write("<p>first</p>", out, "--html")
    before = out.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"page\.html cannot be written: No space left on device"):
        document.write("other", out, "--html")
    assert out.read_text() == before


def test_no_page_is_written_into_the_repository_or_over_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    (repository / "deep").mkdir(parents=True)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "link").symlink_to(repository / "deep")
    monkeypatch.setattr(paths, "checkout", lambda: repository)
    for inside in (
        repository / "a.html",
        tmp_path / "link" / "a.html",
        tmp_path / "x" / ".." / "repository" / "a.html",
    ):
        with pytest.raises(InputError, match=r"is inside the repository, .* give --html outside"):
            document.check(inside, "--html")
    for bad in (tmp_path / "page.htm", tmp_path / "folder.html"):
        with pytest.raises(InputError, match=r"--html .* is not allowed: a file that ends in \.html"):
            document.check(bad, "--html")
    document.check(tmp_path / "repository.html", "--html")
    monkeypatch.setattr(paths, "checkout", lambda: None)
    document.check(repository / "a.html", "--html")
