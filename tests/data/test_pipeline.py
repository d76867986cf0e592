"""Images from files to batches: the pixels of the feature pass, in the order asked for, from memory or the disk."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Made, peak_bytes, refused

from kesikaran.config.schema import BackboneConfig

pytestmark = pytest.mark.tensorflow

CONFIG = BackboneConfig("toy", image_size=32, value_range=[-1.0, 1.0])


@pytest.fixture
def paths(made: Made, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copy(path, tmp_path)) for path in sorted(made.images.iterdir())[:20]]


def image_rows(paths: list[Path]) -> Any:
    from kesikaran.data.pipeline import ImageRows

    return ImageRows([path.name for path in paths], paths, CONFIG, 50.0)


def by_hand(paths: list[Path], rows: Any) -> np.ndarray:
    from kesikaran.data import preprocess

    pixels = (preprocess.decode(paths[row].read_bytes(), CONFIG) for row in rows)
    return np.stack([preprocess.resize(image, CONFIG) for image in pixels])


@pytest.mark.parametrize("kept", [True, False])
def test_batches_come_in_the_order_asked_for(kept: bool, paths: list[Path]) -> None:
    images = image_rows(paths)
    if kept:
        images.keep()
    order = np.array([3, 19, 0, 3, 7, 11, 2])
    expected = by_hand(paths, order)
    if kept:
        for path in paths:
            path.unlink()
    batches = list(images.batches(order, 3))
    assert [list(rows) for rows, _ in batches] == [[3, 19, 0], [3, 7, 11], [2]]
    np.testing.assert_array_equal(np.concatenate([pixels for _, pixels in batches]), expected)


def test_what_does_not_fit_is_read_again(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from kesikaran.data import pipeline

    bytes_needed = 20 * 32 * 32 * 3 * 4
    for free, is_kept in ((4 * bytes_needed - 1, False), (4 * bytes_needed, True)):
        monkeypatch.setattr(pipeline, "_free_bytes", lambda free=free: free)
        images = image_rows(paths)
        images.keep()
        assert (images._kept is not None) == is_kept


def test_the_free_memory_is_known() -> None:
    from kesikaran.data import pipeline

    assert 10**7 < pipeline._free_bytes() < 10**14


def test_a_file_that_has_changed_is_one_line(paths: list[Path]) -> None:
    paths[4].write_bytes(paths[5].read_bytes())
    images = image_rows(paths)
    refused(f"image {paths[4].name} cannot be used: its content has another SHA-1", images.keep)
    refused("has changed since", lambda: list(images.batches(np.array([1, 4]), 2)))


def test_the_order_of_an_epoch_is_its_own() -> None:
    from kesikaran.data.pipeline import epoch_order

    orders = [epoch_order(50, seed, epoch) for seed, epoch in ((0, 1), (0, 2), (1, 1))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    np.testing.assert_array_equal(orders[0], epoch_order(50, 0, 1))


def test_a_key_names_an_image(paths: list[Path]) -> None:
    images = image_rows(paths)
    assert images.keys.dtype == np.int64
    assert images.keys[2] == np.frombuffer(bytes.fromhex(paths[2].name[:16]), ">i8")[0]


def test_what_is_kept_is_not_copied_for_each_pass(paths: list[Path]) -> None:
    """A copy of 2,624 images of 224 px took 1.6 GB and, where memory comes slowly, half a minute an epoch."""
    import tensorflow as tf

    images = image_rows(paths)
    images._kept = tf.ones([20, 1024, 1024, 3])
    before = peak_bytes(anew=True)
    assert len(list(images.batches(np.arange(2), 1))) == 2
    assert peak_bytes() - before < 20 * 1024 * 1024 * 3 * 4 / 2
