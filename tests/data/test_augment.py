"""Views keep every pixel; what a random change does to an image depends on the image, the epoch and the seed alone."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kesikaran.config.schema import AugmentConfig, AugmentName
from kesikaran.data import augment, image_operations

pytestmark = pytest.mark.tensorflow

RANDOM = [name for name in AugmentName if name is not AugmentName.none]
BY_NUMPY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda image: image,
    "flip_left_right": np.fliplr,
    "flip_up_down": np.flipud,
    "rotate_90": lambda image: np.rot90(image, 1),
    "rotate_180": lambda image: np.rot90(image, 2),
    "rotate_270": lambda image: np.rot90(image, 3),
    "transpose": lambda image: image.swapaxes(0, 1),
    "transverse": lambda image: np.rot90(image, 2).swapaxes(0, 1),
}
KEYS = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 4000)


def made_images(count: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(0).random((count, size, size, 3), np.float32)


def compiled(size: int, value_range: tuple[float, float], **config: Any) -> Any:
    """As training has it: a program, for batches of any number of images. Outside of one the last bits differ."""
    batch = tf.TensorSpec([None, size, size, 3]), tf.TensorSpec([None], tf.int64)

    @tf.function(input_signature=[*batch, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64)])
    def changed(images: tf.Tensor, keys: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        return augment.augmented(images, keys, seed, epoch, AugmentConfig(**config), list(value_range))

    return changed


program = functools.cache(compiled)


def augmented(
    images: np.ndarray, keys: np.ndarray, seed: int = 0, epoch: int = 0, value_range: tuple[float, float] = (0.0, 1.0),
    **config: Any,
) -> np.ndarray:  # fmt: skip
    return np.asarray(program(images.shape[1], value_range, **config)(images.copy(), keys.copy(), seed, epoch))


def test_the_views_of_each_augmentation() -> None:
    assert augment.views(AugmentName.flips) == ("identity", "flip_left_right")
    assert set(augment.views(AugmentName.dihedral)) == set(BY_NUMPY)
    for name in AugmentName:
        assert augment.views(name)[0] == "identity"
    for name in (AugmentName.none, AugmentName.standard, AugmentName.trivial):
        assert augment.views(name) == ("identity",)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", BY_NUMPY)
def test_a_view_has_the_same_pixels_elsewhere(name: str, dtype: Any) -> None:
    images = (255 * made_images(6, size=5)).astype(dtype).reshape(2, 3, 5, 5, 3)
    for given in (images, images[0], images[0, 0]):
        found = np.asarray(augment.view(tf.constant(given), name))
        assert found.dtype == dtype
        flat, seen = given.reshape(-1, 5, 5, 3), found.reshape(-1, 5, 5, 3)
        np.testing.assert_array_equal(seen, [BY_NUMPY[name](image) for image in flat])


@pytest.mark.parametrize("name", RANDOM)
def test_an_image_is_changed_alike_in_every_batch_and_place(name: AugmentName) -> None:
    images, keys = made_images(201, size=16), KEYS[:201]
    whole = augmented(images, keys, name=name)
    np.testing.assert_array_equal(augmented(images[::-1], keys[::-1], name=name)[::-1], whole)
    np.testing.assert_array_equal(augmented(images[5:12], keys[5:12], name=name), whole[5:12])
    for several in (1, 3):
        parts = [slice(start, start + several) for start in range(0, 201, several)]
        few = [augmented(images[part], keys[part], name=name) for part in parts]
        np.testing.assert_array_equal(np.concatenate(few), whole)
    np.testing.assert_array_equal(augmented(images, keys[::-1], name=name)[100], whole[100])
    assert (augmented(images, keys[::-1], name=name) != whole).any(), "by the key, not by the place"


@pytest.mark.parametrize("name", RANDOM)
def test_epochs_and_seeds_differ_and_each_can_be_repeated(name: AugmentName) -> None:
    images, keys = made_images(40), KEYS[:40]
    first = augmented(images, keys, name=name)
    np.testing.assert_array_equal(augmented(images, keys, name=name), first)
    others = [augmented(images, keys, seed, epoch, name=name) for seed, epoch in ((0, 1), (1, 0), (2**32 - 1, 999_999))]
    for other in (*others, augmented(images, keys + 1, name=name)):
        assert (other != first).any(axis=(1, 2, 3)).sum() > 10
    assert (others[0] != others[1]).any()


@pytest.mark.parametrize("name", RANDOM)
def test_it_is_the_same_in_a_pipeline_and_outside(name: AugmentName) -> None:
    images, keys, config = made_images(12), KEYS[:12], AugmentConfig(name)
    expected = augmented(images, keys, 7, 3, name=name)
    batches = tf.data.Dataset.from_tensor_slices((images, keys)).batch(5)
    mapped = batches.map(lambda images, keys: augment.augmented(images, keys, 7, 3, config, [0.0, 1.0]))
    np.testing.assert_allclose(np.concatenate(list(mapped.as_numpy_iterator())), expected, atol=1e-6)
    np.testing.assert_allclose(augment.augmented(images, keys, 7, 3, config, [0.0, 1.0]), expected, atol=1e-6)


@pytest.mark.parametrize("name", [AugmentName.flips, AugmentName.dihedral])
def test_each_view_is_drawn_equally_often(name: AugmentName) -> None:
    image = made_images(1, size=3)[0]
    found = augmented(np.repeat(image[None], len(KEYS), axis=0), KEYS, name=name)
    names = augment.views(name)
    counts = [int((found == BY_NUMPY[each](image)).all(axis=(1, 2, 3)).sum()) for each in names]
    assert sum(counts) == len(KEYS)
    share = 1 / len(names)
    sigma = np.sqrt(len(KEYS) * share * (1 - share))
    assert np.abs(np.array(counts) - len(KEYS) * share).max() < 4 * sigma


def test_none_changes_nothing() -> None:
    images = made_images(3)
    np.testing.assert_array_equal(augmented(images, KEYS[:3]), images)


@pytest.mark.parametrize("name", RANDOM)
def test_pixels_stay_in_the_value_range_and_do_the_same_in_each(name: AugmentName) -> None:
    images, keys = made_images(200, size=12), KEYS[:200]
    unit = augmented(images, keys, name=name)
    assert (unit.dtype, unit.shape) == (np.float32, images.shape)
    assert 0 <= unit.min() < unit.max() <= 1
    other = augmented(6 * images - 2, keys, value_range=(-2.0, 4.0), name=name)
    # Where pixels are on the edge between two levels, equalize and posterize take one or the other.
    assert np.mean(np.abs(other - (6 * unit - 2)) > 1e-4) < 0.01
    assert -2 - 1e-5 <= other.min() < other.max() <= 4 + 1e-5


# ---- standard


def ramps(count: int, size: int = 32) -> np.ndarray:
    """Images whose pixel (x, y) is (x, y, 0) / size."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    return np.repeat(np.stack([x, y, 0 * x], axis=-1)[None], count, axis=0)


@pytest.mark.parametrize("crop", [0.1, 0.5, 1.0])
def test_a_crop_has_its_share_of_the_area_and_its_shape(crop: float) -> None:
    keys = KEYS[:500]
    found = augmented(ramps(500), keys, name=AugmentName.standard, crop=crop, brightness=0.0, contrast=0.0)
    steps = (found[:, 15, 17, 0] - found[:, 15, 15, 0]), (found[:, 17, 15, 1] - found[:, 15, 15, 1])
    width, height = (16 * np.abs(step) for step in steps)
    area = width * height
    assert area.min() > crop - 0.01
    assert area.max() < 1.01
    assert (width / height).max() < 4 / 3 + 0.02
    assert (height / width).max() < 4 / 3 + 0.02
    assert 0.4 < np.mean(steps[0] > 0) < 0.6, "half of them are flipped"
    if crop < 1:
        assert area.min() < crop + 0.1
        assert area.max() > 0.9
        assert np.mean(area) == pytest.approx((1 + crop) / 2, abs=0.05)
        assert (width / height).max() > 1.25
        # The place: what is left of the crop, as a share of what there is beside it
        left = np.where(steps[0] > 0, found[:, 15, 0, 0], found[:, 15, -1, 0])
        places = left[width < 0.9] / (1 - width[width < 0.9])
        assert places.min() < 0.1
        assert places.max() > 0.9
        assert np.mean(places) == pytest.approx(0.5, abs=0.1)
    else:
        flipped = steps[0] < 0
        np.testing.assert_allclose(
            found, np.where(flipped[:, None, None, None], ramps(500)[:, :, ::-1], ramps(500)), atol=1e-6
        )


def test_brightness_and_contrast() -> None:
    keys = KEYS[:300]
    whole: dict[str, Any] = {"name": AugmentName.standard, "crop": 1.0}
    images = np.full((300, 8, 8, 3), 0.5, np.float32)
    images[:, ::2] += 0.1
    images[:, 1::2] -= 0.1
    brighter = augmented(images, keys, brightness=0.3, contrast=0.0, **whole)
    added = (brighter - images)[:, 0, 0, 0]
    np.testing.assert_allclose(brighter - images, np.broadcast_to(added[:, None, None, None], images.shape), atol=1e-6)
    assert (added.min(), added.max()) == pytest.approx((-0.3, 0.3), abs=0.02)
    harder = augmented(images, keys, brightness=0.0, contrast=0.4, **whole)
    factors = (harder[:, 0, 0, 0] - 0.5) / 0.1
    assert (factors.min(), factors.max()) == pytest.approx((0.6, 1.4), abs=0.02)
    np.testing.assert_allclose(harder.mean(axis=(1, 2, 3)), 0.5, atol=1e-6)
    assert abs(np.corrcoef(added, factors)[0, 1]) < 0.2, "one is drawn apart from the other"


# ---- trivial


def test_each_operation_is_drawn_equally_often_and_with_every_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    def noting(number: int) -> Any:
        return lambda images, level: tf.zeros_like(images) + tf.concat([0 * level + number, level, level], axis=-1)

    monkeypatch.setattr(image_operations, "OPERATIONS", [noting(number) for number in range(14)])
    noted = compiled(1, (0.0, 1.0), name=AugmentName.trivial, strength=0.8)
    found = np.asarray(noted(made_images(len(KEYS), size=1), KEYS, 0, 0))[:, 0, 0]
    counts = np.bincount(found[:, 0].astype(int), minlength=14)
    assert np.abs(counts - len(KEYS) / 14).max() < 4 * np.sqrt(len(KEYS) / 14)
    for number in range(14):
        levels = found[found[:, 0] == number, 1]
        assert (levels.min(), levels.max()) == pytest.approx((-0.8, 0.8), abs=0.05)
        assert abs(np.mean(levels)) < 0.1
