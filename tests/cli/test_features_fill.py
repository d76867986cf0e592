"""`kesikaran features fill`: after it a training computes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Made

from kesikaran.cli import features

NO_HEAD = ("fit.", "optimizer.", "data.name=")


@pytest.fixture
def words(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Those of `made` that the pass reads, with a cache of its own."""
    monkeypatch.setenv("KESIKARAN_CACHE", str(tmp_path / "cache"))
    return [word for word in made.words if not word.startswith(NO_HEAD)]


@pytest.fixture
def fill(run: Callable[..., Done]) -> Callable[..., Done]:
    return lambda *words: run(features.main, "kesikaran.features", "fill", *words)


def test_after_a_fill_a_training_computes_nothing(
    fill: Callable[..., Done], train: Callable[..., Done], words: list[str], made: Made, runs: Callable[[], list[Any]]
) -> None:
    first = fill(*words, "shard=1", "shards=3")
    assert first.code == 0, first.err
    assert first.out.splitlines()[-3:] == [
        "Shard 1 of 3: features of 80 images, 80 of them computed now, the others cached.",
        "Of all 240 images 160 have no features yet: the other shards compute or refuse them.",
        f"Next, when all shards are done: python -m kesikaran.train {' '.join(words)}",
    ]
    rest = fill("-m", *words, "shard=range(0,3)", "shards=3")
    assert rest.code == 0, rest.err
    assert "Shard 1 of 3: features of 80 images, 0 of them computed now" in rest.out
    assert "All 240 images have features." in rest.out
    assert not runs(), "a pass opens no run"
    assert "Features of 240 images, 0 of them computed now" in train(*made.words, "tracking.log_model=false").out


def test_the_views_of_an_augmentation_are_filled(
    fill: Callable[..., Done], train: Callable[..., Done], words: list[str], made: Made, runs: Callable[[], list[Any]]
) -> None:
    assert fill(*words).code == 0
    done = fill(*words, "augment=flips")
    assert done.code == 0, done.err
    assert "features of 240 images, 240 of them computed now" in done.out
    assert done.out.splitlines()[-1].endswith("augment=flips")
    trained = train(*made.words, "tracking.log_model=false", "augment=flips")
    assert "Features of 240 images in 2 views, 0 of them computed now" in trained.out
    endless = fill(*words, "augment=standard")
    assert (endless.code, endless.err.startswith("error: augment.name=standard is not allowed")) == (1, True)


def test_images_that_are_refused(fill: Callable[..., Done], words: list[str], made: Made, tmp_path: Path) -> None:
    images = shutil.copytree(made.images, tmp_path / "images")
    for path in sorted(images.iterdir())[:11]:
        path.write_bytes(b"no image")
    words = [word for word in words if not word.startswith("data.images=")] + [f"data.images={images}"]
    done = fill(*words)
    assert done.code == 0, done.err
    assert "Refused 11 of 240 images:" in done.out
    assert "  and 1 more: a training lists all of them" in done.out
    assert "All 229 images have features." in done.out
    strict = fill(*words, "data.on_bad_image=fail")
    assert strict.code == 1
    assert strict.err.startswith("error: 11 of 240 images were refused")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["optimizer.lr=1"], "optimizer.lr=1 does nothing for the features: leave it out (read are data, backbone"),
        (["data.name=x"], "data.name=x does nothing for the features"),
        (["seed=1"], "seed=1 does nothing for the features"),
        (["experiment=seeds"], "seed=0 does nothing for the features"),
        (["shard=3", "shards=3"], "shard=3 is not allowed: 0 to 2, below shards=3"),
        (["shards=0"], "shards=0 is not allowed: at least 1"),
        (["shard=x"], "shard=x is not allowed"),
        (["nonsense=1"], "there is no setting nonsense"),
        (["backbone.image_size=1"], "backbone.image_size=1 is not allowed"),
        (["hydra/launcher=joblib"], "hydra/launcher=joblib does nothing without -m and several shards"),
        (["-m", "hydra/launcher=vectorized", "shard=0,1"], "hydra/launcher=vectorized trains heads and fills nothing"),
        (["-m", "hydra/launcher=in_turn", "shard=0,1"], "hydra/launcher=in_turn trains heads and fills nothing"),
        (["data=elpv"], "data.labels="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_nothing_or_is_wrong_is_refused(
    given: list[str], says: str, fill: Callable[..., Done], words: list[str], runs: Callable[[], list[Any]]
) -> None:
    done = fill(*words, *given)
    assert (done.code, done.err.splitlines()[0].startswith(f"error: {says}")) == (1, True), done.err
    assert not runs()


def test_help(fill: Callable[..., Done]) -> None:
    done = fill("--help")
    assert done.code == 0
    assert "hydra/launcher=joblib" in done.out


def test_a_signal(fill: Callable[..., Done], words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from kesikaran.features import extract

    def stopped(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(extract, "fill", stopped)
    done = fill(*words)
    assert done.code == 143
    assert done.err == "Stopped. Features computed so far are kept: the same command goes on from there.\n"
