"""Models in MLflow: a classifier written as an MLflow model, and such a model logged to a run."""

import hashlib
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
from mlflow.types import DataType
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from kesikaran.core.errors import InputError, printable
from kesikaran.tracking import artifact_writer, pyfunc_loader, run_store, store_client, store_file
from kesikaran.tracking.queries import Record

SAVED_MODEL = "tf2model"  # the folder, within a model's folder, that mlflow.tensorflow names so
CODE = "code"  # the folder with the copy of `pyfunc_loader`, that MLflow names so
_ORDER = ("label", "probability", "sure", "logit")  # of the columns that are answered; others follow


def save_model(classifier: Any, folder: Path) -> None:
    """Write a `classifier.Classifier` as an MLflow model. `mlflow.tensorflow` loads its SavedModel; `mlflow.pyfunc`,
    and a server with it, takes encoded images and gives the outputs of the signature `serving_default` as a table.

    Args:
        folder: made here; the SavedModel is its folder `SAVED_MODEL`.
    """
    import tensorflow as tf

    described, signatures = Model(), classifier.signatures()
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    # Without given requirements MLflow would start a second process to find them.
    mlflow.tensorflow.save_model(
        classifier,
        str(folder),
        mlflow_model=described,
        signature=ModelSignature(Schema([TensorSpec(np.dtype("O"), (-1,))])),  # it takes no other, nor none
        pip_requirements=[f"tensorflow=={tf.__version__}"],
        saved_model_kwargs={"signatures": signatures, "options": options},
    )
    described.signature = _signature(signatures["serving_default"])
    described.flavors["python_function"] |= {"loader_module": _copy_loader(folder), "code": CODE}
    described.save(str(folder / "MLmodel"))


def _signature(serving: Any) -> ModelSignature:
    """What MLflow tells of a model and holds requests to. The column of images has no name: MLflow would refuse a list
    and an array, which have none."""
    given = serving.structured_outputs
    names = sorted(given, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    types = [DataType.from_numpy_type(np.dtype(given[name].dtype.as_numpy_dtype)) for name in names]
    outputs: list[ColSpec | TensorSpec] = [ColSpec(kind, name) for kind, name in zip(types, names, strict=True)]
    return ModelSignature(Schema([ColSpec(DataType.binary)]), Schema(outputs))


def _copy_loader(folder: Path) -> str:
    """Copy `pyfunc_loader` to a model's folder; the name of the copy. It tells the content, since a process that loads
    models of two versions of this package imports each name once."""
    content = Path(pyfunc_loader.__file__).read_bytes()
    name = f"image_classifier_{hashlib.sha256(content).hexdigest()[:12]}"
    (folder / CODE).mkdir()
    (folder / CODE / f"{name}.py").write_bytes(content)
    return name


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
        # By copyfile the files can be written, unlike those of a template.
        shutil.copytree(template, folder, ignore=shutil.ignore_patterns(SAVED_MODEL), copy_function=shutil.copyfile)
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


def of_run(client: mlflow.MlflowClient, record: Record) -> LoggedModel:
    """The whole model of a finished run.

    Raises:
        InputError: the run is a sweep's parent, did not end well, has no model, or the model's files are gone.
    """
    title = f"run {record.run_id} ({printable(record.name)})"
    if record.is_sweep:
        raise InputError(f"{title} is the parent of a sweep, which has no model; give one of its jobs")
    if record.status != "FINISHED":
        raise InputError(f"{title} is {record.status}, not FINISHED: a model is taken from a finished run")
    query = f"source_run_id = '{record.run_id}'"
    experiment_id = client.get_run(record.run_id).info.experiment_id
    found = client.search_logged_models([experiment_id], query)
    ready = [model for model in found if model.status is LoggedModelStatus.READY]
    if not ready:
        raise InputError(f"{title} has no model (tracking.log_model=false, or it was deleted); train again to have one")
    model = max(ready, key=lambda one: one.creation_timestamp)
    run_store.need_not_moved(model.artifact_location)
    path = store_file.path_of(model.artifact_location)
    is_whole = (path / "MLmodel").is_file() if path else bool(client.list_logged_model_artifacts(model.model_id))
    if not is_whole:
        raise InputError(f"the model of {title} is gone: its files are not in {model.artifact_location}")
    return model


@lru_cache(maxsize=4)
def _pattern(template: Path) -> Model:
    """The description of a template, which all models of a sweep have."""
    return Model.load(template)


def _local(model: LoggedModel) -> Path | None:
    """Where the files of the model lie, or are to lie, where that is on a local disk."""
    location = urlsplit(model.artifact_location)
    return Path(url2pathname(location.path)) if location.scheme == "file" else None
