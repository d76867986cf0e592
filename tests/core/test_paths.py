"""Where the configuration, the cache and the store lie, in a checkout and in a wheel."""

from pathlib import Path

import platformdirs
import pytest

from kesikaran.core import paths


@pytest.fixture(params=["checkout", "wheel"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds the package, with what else a checkout has."""
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "kesikaran")
    if request.param == "checkout":
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "config.yaml").touch()
        (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_the_configuration_and_the_store_are_the_checkouts_or_else_the_wheels_and_here(root: Path) -> None:
    if (root / "pyproject.toml").exists():
        assert (paths.checkout(), paths.home(), paths.conf_dir()) == (root, root, root / "conf")
    else:
        assert (paths.checkout(), paths.home(), paths.conf_dir()) == (None, Path.cwd(), root / "kesikaran" / "conf")


def test_this_is_a_checkout() -> None:
    assert (paths.conf_dir() / "config.yaml").is_file()
    assert paths.checkout() == Path(__file__).resolve().parents[2]


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    for given, found in (
        ("cache", tmp_path / "cache"),
        ("~/cache", Path("/home/somebody/cache")),
        ("/a/b", Path("/a/b")),
    ):
        monkeypatch.setenv("KESIKARAN_CACHE", given)
        assert paths.cache_dir() == found
    for empty in (True, False):
        monkeypatch.setenv("KESIKARAN_CACHE", "") if empty else monkeypatch.delenv("KESIKARAN_CACHE")
        assert paths.cache_dir() == Path(platformdirs.user_cache_dir("kesikaran"))
