"""Pixels as the backbone gets them: three channels, one size, one range, whatever the file holds."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from conftest import encoded
from PIL import Image

from kesikaran.config.schema import BackboneConfig, JpegDecode, ResizeMethod
from kesikaran.data import preprocess

pytestmark = pytest.mark.tensorflow

CONFIG = BackboneConfig(image_size=32)


@pytest.mark.parametrize(
    ("kind", "height", "width", "decoded"),
    [
        ("JPEG", 63, 80, (63, 80)),
        ("JPEG", 64, 80, (32, 40)),
        ("JPEG", 300, 200, (75, 50)),
        ("JPEG", 256, 999, (32, 125)),
        ("JPEG", 2000, 3000, (250, 375)),
        ("PNG", 300, 200, (300, 200)),
    ],
)
def test_a_large_jpeg_is_decoded_smaller_where_asked(
    kind: str, height: int, width: int, decoded: tuple[int, int]
) -> None:
    across = np.sin(np.arange(width) / 40)[None, :, None] + np.cos(np.arange(height) / 30)[:, None, None]
    pixels = np.repeat((across * 50 + 120).astype(np.uint8), 3, axis=2)
    reduced = dataclasses.replace(CONFIG, jpeg_decode=JpegDecode.reduced)
    content = tf.constant(encoded(pixels, kind))
    full, small = preprocess.decode(content, CONFIG), preprocess.decode(content, reduced)
    assert tuple(full.shape) == (height, width, 3)
    assert tuple(small.shape) == (*decoded, 3)
    np.testing.assert_allclose(preprocess.resize(small, CONFIG), preprocess.resize(full, CONFIG), atol=0.03)


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("LA", "PNG")])
def test_grey_is_repeated_and_alpha_dropped(mode: str, kind: str) -> None:
    sink = io.BytesIO()
    image = Image.fromarray(np.arange(64 * 4, dtype=np.uint8).reshape(8, 8, 4)).convert(mode)
    image.save(sink, kind)
    as_stored = dataclasses.replace(CONFIG, as_seen=False)
    pixels = preprocess.decode(tf.constant(sink.getvalue()), as_stored).numpy()
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    plain = Image.open(io.BytesIO(sink.getvalue())).convert("RGBA").convert("RGB")
    np.testing.assert_allclose(pixels.astype(int), np.asarray(plain).astype(int), atol=3 * (kind == "JPEG"))


@pytest.mark.parametrize("method", ResizeMethod)
@pytest.mark.parametrize("value_range", [[0.0, 1.0], [-1.0, 1.0], [0.0, 255.0]])
def test_no_pixel_leaves_the_range(method: ResizeMethod, value_range: list[float]) -> None:
    """Edges between black and white, at which some methods overshoot."""
    config = dataclasses.replace(CONFIG, resize_method=method, value_range=value_range)
    edges = np.zeros((2, 45, 70, 3), np.uint8)
    edges[:, 10:30, 20:50] = 255
    pixels = preprocess.resize(tf.constant(edges), config).numpy()
    assert (pixels.shape, pixels.dtype) == ((2, 32, 32, 3), np.float32)
    low, high = value_range
    assert pixels.min() == pytest.approx(low, abs=1e-5 * (high - low))
    assert pixels.max() == pytest.approx(high, abs=1e-5 * (high - low))
    assert low <= pixels.min() <= pixels.max() <= high


def test_the_whole_image_is_in_the_square() -> None:
    across = np.zeros((8, 64, 3), np.uint8)
    across[:, 32:] = 255
    pixels = preprocess.resize(tf.constant(across), CONFIG).numpy()
    assert pixels[:, :15].max() == 0
    assert pixels[:, 17:].min() == 1


@pytest.mark.parametrize("change", [{"batch_size": 8}, {"handle": "another"}])
def test_what_does_not_change_the_pixels_is_not_described(change: dict[str, object]) -> None:
    assert preprocess.preprocessing(dataclasses.replace(CONFIG, **change)) == preprocess.preprocessing(CONFIG)  # type: ignore[arg-type]
