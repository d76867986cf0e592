"""Models in MLflow: a classifier written as an MLflow model, and such a model logged to a run."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import numpy as np
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec

from kesikaran.tracking import artifact_writer, store_client

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


@contextmanager
def logged_model(run_id: str, experiment_id: str, params: Mapping[str, str]) -> Iterator[LoggedModel]:
    """The model of a run, for a block that writes it: READY when the block has ended, and FAILED, without its files,
    where something was raised.

    Args:
        params: those of the run, which become the model's too.
    """
    # These are the records that mlflow.tensorflow.log_model makes, without what it does beside. Without an active run
    # it would make the model in another experiment. And it reads the history of each metric of the run, which takes a
    # fifth of a second, and takes the first epoch's values for the model's.
    client = store_client.client()
    model = client.create_logged_model(experiment_id, "model", source_run_id=run_id, params=dict(params))
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        yield model
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except BaseException:
        # Half a model is of no use, and on a full disk it would leave no space to write that the run has failed.
        if place := _local(model):
            shutil.rmtree(place, ignore_errors=True)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise


def save_files(model: LoggedModel, template: Path, write: Callable[[Path], None]) -> None:
    """Save the files of a model that is made of `template`. On a local disk they appear by one rename.

    Args:
        template: a folder of `save_model`.
        write: writes the model's SavedModel to the folder that it is given, which does not exist yet.
    """
    pattern, place = _pattern(template), _local(model)
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
    # A model that is made where it stays can have links to files of the template.
    with tempfile.TemporaryDirectory(dir=place.parent if place else None) as making:
        folder = Path(making) / "model"
        folder.mkdir()
        for path in template.iterdir():
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        saved_model = folder / SAVED_MODEL
        write(saved_model)
        Model(
            artifact_path=model.artifact_location,
            run_id=model.source_run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
            flavors=pattern.flavors,
            signature=pattern.signature,
            model_size_bytes=sum(f.stat().st_size for f in saved_model.rglob("*") if f.is_file()),
        ).save(str(folder / "MLmodel"))
        if place:
            folder.rename(place)
        else:
            artifact_writer.send_folder(model.artifact_location, folder)


@lru_cache(maxsize=4)
def _pattern(template: Path) -> Model:
    """The description of a template, which all models of a sweep have."""
    return Model.load(template)


def _local(model: LoggedModel) -> Path | None:
    """Where the files of the model lie, or are to lie, where that is on a local disk."""
    location = urlsplit(model.artifact_location)
    return Path(url2pathname(location.path)) if location.scheme == "file" else None
