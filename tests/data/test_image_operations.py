"""TrivialAugment's operations, against Pillow's and SciPy's."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from kesikaran.data.image_operations import OPERATIONS, warped

pytestmark = pytest.mark.tensorflow

SIZE = 64
NAMES = ("identity", "shear_x", "shear_y", "right", "down", "turn", "brightness", "contrast", "colour", "sharpness",
         "solarize", "posterize", "autocontrast", "equalize")  # fmt: skip


def picture(low: int = 10, high: int = 170) -> np.ndarray:
    """uint8 [64, 64, 3], smooth, of many levels, another in each channel."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = np.stack([np.sin(5 * x + y), np.cos(4 * y - x * x), np.sin(7 * x * y + 1)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.1, waves.shape)
    scaled = (waves + noise - (waves + noise).min()) / np.ptp(waves + noise)
    return np.asarray(low + (high - low) * scaled).round().astype(np.uint8)


def changed(name: str, level: float, pixels: np.ndarray | None = None) -> np.ndarray:
    """float64 [64, 64, 3] in 0-255. The second image of the batch has another level, which must not matter."""
    image = (picture() if pixels is None else pixels).astype(np.float32) / 255
    levels = tf.constant([level, -0.3], tf.float32)[:, None, None, None]
    found = OPERATIONS[NAMES.index(name)](tf.constant(np.stack([image, image[::-1]])), levels)
    assert (found.shape, found.dtype) == ((2, SIZE, SIZE, 3), tf.float32)
    return np.asarray(found[0], np.float64) * 255


def test_each_has_its_name() -> None:
    assert len(NAMES) == len(OPERATIONS)
    np.testing.assert_allclose(changed("identity", 0.7), picture(), atol=1e-4)


@pytest.mark.parametrize("level", [-1.0, -0.4, 0.0, 0.7, 1.0])
@pytest.mark.parametrize("name", ["shear_x", "shear_y", "right", "down", "turn"])
def test_a_move_is_about_the_centre_and_leaves_black(name: str, level: float) -> None:
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    angle = np.radians(30 * level)
    moved = {
        "shear_x": (x + 0.3 * level * y, y),
        "shear_y": (x, y + 0.3 * level * x),
        "right": (x + 0.3 * level * SIZE, y),
        "down": (x, y + 0.3 * level * SIZE),
        "turn": (x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)),
    }[name]
    at = [moved[1] + (SIZE - 1) / 2, moved[0] + (SIZE - 1) / 2]
    channels = np.moveaxis(picture().astype(float), -1, 0)
    expected = [ndimage.map_coordinates(channel, at, order=1, mode="grid-constant") for channel in channels]
    np.testing.assert_allclose(changed(name, level), np.moveaxis(np.array(expected), 0, -1), atol=0.05)


@pytest.mark.parametrize("level", [-1.0, -0.4, 0.0, 0.7, 1.0])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("colour", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_the_enhancements_are_pillows(name: str, enhance: Any, level: float) -> None:
    expected = np.asarray(enhance(Image.fromarray(picture())).enhance(1 + 0.9 * level), float)
    inner = slice(1, -1)  # Pillow does not smooth the border
    np.testing.assert_allclose(changed(name, level)[inner, inner], expected[inner, inner], atol=2.0)


@pytest.mark.parametrize("level", [-1.0, -0.25, 0.0, 0.5, 0.75])
def test_posterize_and_solarize_are_pillows(level: float) -> None:
    image = Image.fromarray(picture(0, 255))
    bits = 8 - round(4 * abs(level))
    np.testing.assert_allclose(
        changed("posterize", level, picture(0, 255)), np.asarray(ImageOps.posterize(image, bits)), atol=1e-3
    )
    threshold = max(int(256 * (1 - abs(level))), 1)  # black is not inverted
    solarized = np.asarray(ImageOps.solarize(image, threshold)).astype(float)
    np.testing.assert_allclose(changed("solarize", level, picture(0, 255)), solarized, atol=1e-3)


def test_autocontrast_and_equalize_are_pillows() -> None:
    image = Image.fromarray(picture())
    np.testing.assert_allclose(changed("autocontrast", 0.5), np.asarray(ImageOps.autocontrast(image)), atol=1.0)
    np.testing.assert_allclose(changed("equalize", 0.5), np.asarray(ImageOps.equalize(image)), atol=3.0)


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_an_image_of_one_level_stays(name: str) -> None:
    plain = np.full((SIZE, SIZE, 3), 77, np.uint8)
    plain[..., 1] = 0
    np.testing.assert_allclose(changed(name, 1.0, plain), plain, atol=1e-3)


def test_beyond_the_border() -> None:
    image = tf.constant(np.arange(1.0, 17, dtype=np.float32).reshape(1, 4, 4, 1))
    by = [tf.constant([value], tf.float64) for value in (1, 0, 2, 0, 1, 0)]
    for outside, expected in (("NEAREST", [3, 4, 4, 4]), ("CONSTANT", [3, 4, 0, 0])):
        assert warped(image, by, outside)[0, 0, :, 0].numpy().tolist() == expected
