"""A classifier as a `.tflite` file, for devices and browsers, and what such a file says on this machine.

Its input is one prepared image, float32 [1, size, size, 3] in the backbone's `value_range`, and its output the logit,
float32 [1], of the mean of the features of the image's views. Decoding and resizing stay outside.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from kesikaran.core import share, terminal
from kesikaran.core.errors import InputError, first_line
from kesikaran.data import augment

# Layers with at least this share of the image's side keep floating point in `int8`. The first ones amplify the rounding
# of pixels to 256 steps: with them as integers the demo's probabilities change by up to 0.55, without by up to 0.17.
# Nearly all weights are in the others.
_FINE = 1 / 4


def float16(module: Any, size: int, views: tuple[str, ...]) -> bytes:
    """The bytes of the file with weights of 16 bits, half of the model's size. It computes in float32.

    Args:
        module: a loaded model, with `features` (float32 [n, size, size, 3] -> float32 [n, width]) and `judged`
            (float32 [n, width] -> a dict with `logit`, float32 [n]).
        size: height and width of a prepared image in px.
        views: names of `augment.view`, whose features' mean is judged.

    Raises:
        InputError: the model does what TensorFlow Lite cannot.
    """
    converter = _converter(module, size, views)
    converter.target_spec.supported_types = [tf.float16]
    return _converted(converter.convert)


def int8(module: Any, size: int, views: tuple[str, ...], images: list[np.ndarray]) -> bytes:
    """The bytes of the file with weights and activations of 8 bits, but for the layers next to the pixels. Its input
    and output are float32. The arguments and errors are those of `float16`.

    Args:
        images: prepared training images, float32 [size, size, 3], by which the ranges of the activations are found.
    """
    converter = _converter(module, size, views)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([image[None]] for image in images)

    def convert() -> bytes:
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=_fine(module, size, views))
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
        content: bytes = debugger.get_nondebug_quantized_model()
        return content

    return _converted(convert)


def logits(content: bytes, images: Iterable[np.ndarray]) -> np.ndarray:
    """What a file says of prepared images, float32 [size, size, 3] each: its logits, float32 [n]."""
    with _quiet():
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=share.cores())
        interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in images:
        terminal.stop_if_asked()
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(given["index"])[0])
    return np.array(found, np.float32)


def _converter(module: Any, size: int, views: tuple[str, ...]) -> Any:
    @tf.function(input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32, name="image")])
    def logit(image: tf.Tensor) -> tf.Tensor:
        # The views are one batch: a call for each would write the weights once for each.
        features = module.features(tf.concat([augment.view(image, view) for view in views], axis=0))
        return module.judged(tf.reduce_mean(features, axis=0, keepdims=True))["logit"]

    with terminal.sheltered():  # TensorFlow can lose a signal's exception while it traces
        converter = tf.lite.TFLiteConverter.from_concrete_functions([logit.get_concrete_function()], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter


def _fine(module: Any, size: int, views: tuple[str, ...]) -> list[str]:
    """The names of the tensors that have at least the share `_FINE` of the image's side."""
    converter = _converter(module, size, views)
    converter.optimizations = []
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    found = interpreter.get_tensor_details()
    return [each["name"] for each in found if len(each["shape"]) == 4 and min(each["shape"][1:3]) >= size * _FINE]


def _converted(convert: Callable[[], bytes]) -> bytes:
    with _quiet():
        try:
            return convert()
        except Exception as error:  # the converter's own kind of error is in none of TensorFlow's public rooms
            refused = error
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(refused))))
    why = f"TensorFlow Lite has no {', '.join(missing)}" if missing else first_line(refused)
    raise InputError(f"the model cannot become a .tflite file: {why}; use the SavedModel") from refused


@contextmanager
def _quiet() -> Iterator[None]:
    """A block without the lines that converter and interpreter write to stderr at every call, and without the warning
    that the interpreter is to leave TensorFlow after the version that is required here."""
    with terminal.quiet_start(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
