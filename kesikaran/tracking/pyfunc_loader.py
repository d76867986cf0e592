"""How MLflow calls a logged model, by `mlflow.pyfunc` and by `mlflow models serve`.

A copy of this file lies in the folder of every model (`tracking.models`), and MLflow imports the copy: it needs MLflow
and TensorFlow, and nothing of this package. MLflow's own wrapper of a TensorFlow module takes no DataFrame, which is
what every JSON request becomes.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import BAD_REQUEST

COLUMN = "encoded"
_BATCH = 64  # images in memory at once, decoded
_NEEDED = "the bytes of a JPEG or PNG file, or their base64 text"


def _load_pyfunc(folder: str) -> "ImageClassifier":
    """What MLflow calls, with the folder of the model."""
    import tensorflow as tf

    described = Model.load(folder)
    module = tf.saved_model.load(str(Path(folder) / described.flavors["tensorflow"]["saved_model_dir"]))
    return ImageClassifier(module, described.signature.outputs.input_names())


class ImageClassifier:
    """A SavedModel whose signature `serving_default` takes encoded images."""

    def __init__(self, module: Any, outputs: list[str]):
        self._module = module  # a signature holds its variables by weak references
        self._judge = module.signatures["serving_default"]
        self._outputs = outputs

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The outputs of the signature, a row for each image, with the index of `data`.

        Args:
            data: MLflow's form of what was given, a list, an array, a DataFrame or JSON: of one column, whose values
                are `_NEEDED`.

        Raises:
            MlflowException: of code BAD_REQUEST, for what is no image. A server answers 400 with its sentence.
        """
        # MLflow hands on the first column. It has a number where the images came without a name, and TensorFlow
        # Serving's name for base64 where they came in its form.
        if data.columns[0] not in (COLUMN, "b64", 0, "0"):
            raise _refusal(f"The first column is {str(data.columns[0])[:100]!r}: the images are to be in `{COLUMN}`.")
        if data.empty:
            raise _refusal(f"There is no image: each row is to be {_NEEDED}.")
        contents = [_content(value, f"Image {n} of {len(data)}") for n, value in enumerate(data.iloc[:, 0], 1)]
        parts = [self._judged(contents, start) for start in range(0, len(contents), _BATCH)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}
        return pd.DataFrame(columns, index=data.index)

    def _judged(self, contents: list[bytes], start: int) -> dict[str, np.ndarray]:
        """The outputs for the images of a batch, which begins at `start`."""
        batch = contents[start : start + _BATCH]
        answer = self._answer(batch)
        if answer is not None:
            return answer
        # TensorFlow does not tell which one it was.
        bad = next((n for n, content in enumerate(batch, start + 1) if self._answer([content]) is None), start + 1)
        raise _refusal(f"Image {bad} of {len(contents)} cannot be read: needed are {_NEEDED}.")

    def _answer(self, batch: list[bytes]) -> dict[str, np.ndarray] | None:
        import tensorflow as tf

        try:
            # Of bytes, not of an array: one of bytes has the width of the longest, and no zeros at an end.
            answer = self._judge(**{COLUMN: tf.constant(batch)})
        except tf.errors.InvalidArgumentError:
            return None
        return {name: answer[name].numpy() for name in self._outputs}


def _content(value: object, name: str) -> bytes:
    """The bytes of an image. MLflow decodes base64 in some forms of JSON, and in others it hands on the text."""
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _refusal(f"{name} is of type {type(value).__name__}: needed are {_NEEDED}.")
    content = bytes(value)
    if content.isascii():  # which the bytes of an image hardly are
        try:
            return base64.b64decode(content, validate=True)
        except binascii.Error:
            return content
    return content


def _refusal(sentence: str) -> MlflowException:
    return MlflowException(sentence, error_code=BAD_REQUEST)
