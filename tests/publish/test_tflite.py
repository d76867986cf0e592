"""A toy classifier as `.tflite` files says what it says itself."""

from typing import Any

import numpy as np
import pytest
from conftest import refused

pytestmark = pytest.mark.tensorflow

SIZE, WIDTH = 32, 24
VIEWS = ("identity", "flip_left_right", "transpose", "rotate_90")


@pytest.fixture(scope="module")
def module() -> Any:
    """What is published of a classifier: `features`, of two convolutions, and `judged`."""
    import tensorflow as tf

    random = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return tf.Variable(random.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32))

    class Toy(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernels = [drawn(3, 3, 3, WIDTH), drawn(3, 3, WIDTH, WIDTH), drawn(3, 3, WIDTH, WIDTH)]
            self.head = drawn(WIDTH, 1)

        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
        def features(self, x: Any) -> Any:
            for kernel in self.kernels:
                x = tf.nn.relu6(tf.nn.conv2d(x, kernel, 2, "SAME"))
            return tf.reduce_mean(x, [1, 2])

        @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32)])
        def judged(self, features: Any) -> dict[str, Any]:
            logit = 5 * tf.squeeze(tf.matmul(features, self.head), 1)
            return {"logit": logit, "probability": tf.sigmoid(logit), "sure": tf.abs(logit) > 1}

    return Toy()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Blurred noise, float32 [40, SIZE, SIZE, 3] in 0-1."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(1).uniform(size=(40, SIZE, SIZE, 3)), (0, 2, 2, 0))
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def own(module: Any, images: np.ndarray, views: tuple[str, ...]) -> np.ndarray:
    """The module's logits, of the mean of the views' features."""
    from kesikaran.data import augment

    mean = sum(module.features(augment.view(images, view)) for view in views) / len(views)
    logits: np.ndarray = module.judged(mean)["logit"].numpy()
    return logits


def test_each_kind_of_file_says_what_the_model_says(
    module: Any, images: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    from kesikaran.publish import tflite

    said = own(module, images, ("identity",))
    assert np.ptp(said) > 1
    for content, near in (
        (tflite.float16(module, SIZE, ("identity",)), 0.005),
        (tflite.int8(module, SIZE, ("identity",), list(images[:20])), 0.1),
    ):
        found = tflite.logits(content, iter(images))
        assert (found.dtype, found.shape) == (np.float32, said.shape)
        assert found == pytest.approx(said, abs=near)
        assert abs(found - said).max() > near / 1000, "the weights are rounded"
    assert capfd.readouterr() == ("", "")


def test_the_views_are_in_the_file_and_the_weights_once(module: Any, images: np.ndarray) -> None:
    from kesikaran.publish import tflite

    content = tflite.float16(module, SIZE, VIEWS)
    said = own(module, images, VIEWS)
    assert abs(said - own(module, images, ("identity",))).max() > 0.1
    assert tflite.logits(content, images) == pytest.approx(said, abs=0.005)
    assert tflite.logits(tflite.int8(module, SIZE, VIEWS, list(images)), images) == pytest.approx(said, abs=0.1)
    assert len(content) < len(tflite.float16(module, SIZE, ("identity",))) + 5000


def test_the_layers_next_to_the_pixels_stay_float_in_int8(module: Any, images: np.ndarray) -> None:
    import tensorflow as tf

    from kesikaran.publish import tflite

    content = tflite.int8(module, SIZE, ("identity",), list(images[:5]))
    with tflite._quiet():
        interpreter = tf.lite.Interpreter(model_content=content)
    found = interpreter.get_tensor_details()
    kinds = {kind: {max(each["shape"][1:3]) for each in found if each["dtype"] is kind and len(each["shape"]) == 4
                    and each["shape"][0] == 1} for kind in (np.float32, np.int8)}  # fmt: skip
    assert kinds[np.float32] >= {SIZE, SIZE // 2, SIZE // 4}
    assert max(kinds[np.int8]) == SIZE // 4


def test_what_tensorflow_lite_cannot_do_is_one_line(module: Any) -> None:
    import tensorflow as tf

    from kesikaran.publish import tflite

    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
        def features(self, x: Any) -> Any:
            return tf.linalg.svd(x[..., 0], compute_uv=False)[:, :WIDTH]

    odd = Odd()
    odd.judged = module.judged
    refused("cannot become a .tflite file: TensorFlow Lite has no Svd;", tflite.float16, odd, SIZE, ("identity",))
