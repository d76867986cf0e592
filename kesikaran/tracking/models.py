"""Models in MLflow: a classifier written as an MLflow model, and such a model logged to a run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import numpy as np
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec

SAVED_MODEL = "tf2model"  # the folder, within a model's folder, that mlflow.tensorflow names so


def save_model(classifier: Any, folder: Path) -> None:
    """Write a `classifier.Classifier` as an MLflow model: encoded images in, probability of label 1 out.

    Args:
        folder: made here; the SavedModel is its folder `SAVED_MODEL`.
    """
    import tensorflow as tf

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("O"), (-1,))]),  # bytes: other dtypes refuse an object array
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1,))]),
    )
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    # Without given requirements MLflow would start a second process to find them.
    mlflow.tensorflow.save_model(
        classifier,
        str(folder),
        signature=signature,
        pip_requirements=[f"tensorflow=={tf.__version__}"],
        saved_model_kwargs={"signatures": classifier.signatures(), "options": options},
    )


def log_model(
    run_id: str, experiment_id: str, metrics: list[Metric], template: Path, write: Callable[[Path], None]
) -> None:
    """Log a model made of `template` as the model of a run.

    Args:
        metrics: those of the run as a whole, which become the model's too.
        template: a folder of `save_model`.
        write: writes the model's SavedModel to the folder that it is given.
    """
    client = mlflow.MlflowClient()
    flavor = SimpleNamespace(save_model=_saver(run_id, template, write))
    # As mlflow.tensorflow.log_model does, but for two things. Without an active run `Model.log` would make the model in
    # another experiment, so the model is made here. And `Model.log`, where it is given the run, reads the history of
    # each metric, which takes a fifth of a second, and takes the first epoch's values; so the metrics are written here.
    model = client.create_logged_model(
        experiment_id, "model", source_run_id=run_id, params=client.get_run(run_id).data.params
    )
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        ids = {"run_id": run_id, "model_id": model.model_id}
        client.log_batch(run_id, [Metric(m.key, m.value, m.timestamp, m.step, **ids) for m in metrics])
        Model.log(artifact_path=None, name="model", flavor=flavor, model_id=model.model_id)
    except BaseException:
        _remove_artifacts(model)
        raise


def _saver(run_id: str, template: Path, write: Callable[[Path], None]) -> Callable[[str, Model], None]:
    """What `Model.log` calls to save a model to a folder."""
    pattern = Model.load(template)

    def save(path: str, mlflow_model: Model) -> None:
        saved_model = Path(path) / SAVED_MODEL
        shutil.copytree(template, path, ignore=shutil.ignore_patterns(SAVED_MODEL))
        write(saved_model)
        mlflow_model.flavors, mlflow_model.signature = pattern.flavors, pattern.signature
        mlflow_model.run_id = run_id
        mlflow_model.model_size_bytes = sum(f.stat().st_size for f in saved_model.rglob("*") if f.is_file())
        mlflow_model.save(str(Path(path) / "MLmodel"))

    return save


def _remove_artifacts(model: LoggedModel) -> None:
    """Half a model is of no use, and on a full disk it would leave no space to write that the run has failed."""
    location = urlsplit(model.artifact_location)
    if location.scheme == "file":
        shutil.rmtree(url2pathname(location.path), ignore_errors=True)
