"""The files of a run are found from its settings, or what is missing is named."""

from pathlib import Path

import pytest

from kesikaran.config.schema import DataConfig, DataSource
from kesikaran.core.errors import InputError
from kesikaran.data import data_source, elpv


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current and the home folder, with a folder `images`."""
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_users_own_files_are_found_from_here_and_from_home(here: Path) -> None:
    for labels, images in (
        ("label.csv", "images"),
        ("~/label.csv", "~/images"),
        (f"{here}/label.csv", f"{here}/images"),
    ):
        config = DataConfig(DataSource.label_csv, labels=labels, images=images)
        assert data_source.locate(config) == (here / "label.csv", here / "images")


def test_an_image_folder_that_is_not_there_is_named(here: Path) -> None:
    config = DataConfig(DataSource.label_csv, labels="label.csv", images="no")
    with pytest.raises(InputError, match=r"image folder no does not exist; give data\.images=FOLDER"):
        data_source.locate(config)
    for given, params in ((Path("no"), {"data.images": "images"}), (None, {"data.images": "no"})):
        with pytest.raises(InputError, match=rf"image folder {here}/no does not exist; give --images FOLDER"):
            data_source.images_folder(given, params)


def test_the_embedded_set_is_laid_down_in_the_cache(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KESIKARAN_CACHE", str(here / "cache"))
    monkeypatch.setattr(elpv, "prepare", lambda root: (root / "label.csv", root / "images"))
    assert data_source.locate(DataConfig(DataSource.elpv)) == (here / "cache" / "label.csv", here / "cache" / "images")
    params = {"data.source": "elpv", "data.images": "None"}
    assert data_source.images_folder(None, params) == here / "cache" / "images"
    assert data_source.images_folder(Path("images"), params) == here / "images"
    (here / "file").touch()
    monkeypatch.setenv("KESIKARAN_CACHE", str(here / "file"))
    with pytest.raises(InputError, match=r"the cache folder .* is not writable .*set KESIKARAN_CACHE"):
        data_source.locate(DataConfig(DataSource.elpv))


def test_the_images_of_a_run_are_its_own_or_those_that_are_given(here: Path) -> None:
    (here / "other").mkdir()
    params = {"data.source": "label_csv", "data.images": "~/images"}
    assert data_source.images_folder(None, params) == here / "images"
    assert data_source.images_folder(Path("~/other"), params) == here / "other"


def test_the_limit_of_pixels_is_the_runs_own() -> None:
    assert data_source.max_megapixels({"data.max_megapixels": "0.5"}) == 0.5
    assert data_source.max_megapixels({}) == 50
