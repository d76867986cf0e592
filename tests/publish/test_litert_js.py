"""LiteRT.js comes by the user's own npm, once, and is the package that is known."""

import hashlib
import io
import json
import os
import stat
import tarfile
from base64 import b64encode
from pathlib import Path

import pytest
from conftest import refused

from kesikaran.core import paths
from kesikaran.publish import litert_js


def archive(names: tuple[str, ...]) -> bytes:
    """An npm package with files whose content is their name."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as made:
        for name in (*names, "../../outside"):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(name)
            made.addfile(member, io.BytesIO(name.encode()))
    return sink.getvalue()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `npm` that writes its words to `words`, and `given` as the archive of the package. The cache is empty,
    and the package that is known is `given` at the start."""
    content = archive((litert_js.LIBRARY, litert_js.GLUE, litert_js.WASM))
    (tmp_path / "given").write_bytes(content)
    program = tmp_path / "npm"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\ncp {tmp_path}/given package.tgz\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(litert_js, "_SHA512", b64encode(hashlib.sha512(content).digest()).decode())
    return program


def test_the_package_is_got_once_and_only_the_files_that_are_needed(npm: Path) -> None:
    for _ in range(2):
        folder = litert_js.folder()
        wanted = (litert_js.LIBRARY, litert_js.GLUE, litert_js.WASM)
        assert {name: (folder / name).read_text() for name in wanted} == {name: name for name in wanted}
        assert len([path for path in paths.cache_dir().rglob("*") if path.is_file()]) == 4
    words = npm.with_name("words").read_text().splitlines()
    assert words == ["pack @litertjs/core@2.5.3 --json --ignore-scripts"]


def test_another_package_under_that_name_is_refused(npm: Path) -> None:
    npm.with_name("given").write_bytes(archive(("other",)))
    refused("is not the one that is known, by its SHA-512", litert_js.folder)
    assert not list(paths.cache_dir().glob("litert/*/whole"))


def test_without_npm_or_where_it_fails_one_line_says_what_to_do(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = "no such package at https://user:secret1@host.example/\n2"
    npm.with_name("said").write_text(json.dumps({"error": {"code": "E404", "summary": summary}}))
    for script, reason in (
        (f"cat {npm.with_name('said')}; exit 1", "(no such package at https://user:***@host.example/)"),
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", "(npm error code ENOTFOUND)"),
        ("exit 7", "(exit code 7)"),
    ):
        npm.write_text(f"#!/bin/sh\n{script}\n")
        refused(f"npm pack @litertjs/core@2.5.3 fails {reason}: ", litert_js.folder)
    npm.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(litert_js, "_LONGEST_SECONDS", 0.2)
    refused("took over 0.2 s", litert_js.folder)
    monkeypatch.setenv("PATH", str(npm.parent / "nothing"))
    refused("npm is not installed: install it, or publish with --no-page", litert_js.folder)
