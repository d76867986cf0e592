"""A page is written whole, outside the repository, and asks for nothing."""

from pathlib import Path

import pytest

from kesikaran import document, paths
from kesikaran.document import Document
from kesikaran.errors import InputError

PAGE = Document("a &lt; b", "p { color: red }", "<p>{braces}</p>")


def test_title_style_and_body_stand_in_their_places(tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    document.write(PAGE, out, "--html")
    text = out.read_text(encoding="utf-8")
    for part in (
        "<title>a &lt; b</title>",
        "<h1>a &lt; b</h1>\n<p>{braces}</p>\n</main>",
        "<style>\np { color: red }\n</style>",
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"",
    ):
        assert text.count(part) == 1, part
    assert list(out.parent.iterdir()) == [out]


def test_a_page_that_cannot_be_written_leaves_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    document.write(PAGE, out, "--html")
    before = out.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paths.os, "fsync", full)
    with pytest.raises(InputError, match=r"page\.html cannot be written: No space left on device"):
        document.write(Document("other", "", ""), out, "--html")
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
