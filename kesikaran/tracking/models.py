"""Models in MLflow."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types.schema import Schema, TensorSpec

SAVED_MODEL = "tf2model"  # where mlflow.tensorflow puts it within a model's folder


def save_model(classifier: Any, folder: Path) -> None:
    """Write a `model.Classifier` as an MLflow model: encoded images in, probability of label 1 out.

    `folder` is made; the SavedModel is its `SAVED_MODEL`.
    """
    import tensorflow as tf

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("O"), (-1,))]),  # bytes: other dtypes refuse an object array
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1,))]),
    )
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    # Requirements given, not inferred: MLflow would start a second process to find them.
    mlflow.tensorflow.save_model(
        classifier,
        str(folder),
        signature=signature,
        pip_requirements=[f"tensorflow=={tf.__version__}"],
        saved_model_kwargs={"signatures": classifier.signatures(), "options": options},
    )
