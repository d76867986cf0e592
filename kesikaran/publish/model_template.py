"""The exported model: traced once for each backbone and shape of head, its variables written for each run.

`tf.saved_model.save` takes seconds, but runs on one backbone differ in the values of the head only. The first run
leaves its model folder in the cache as a template. Every run copies the template and writes all variables, the
backbone's included, so that its model is complete and refers to nothing outside itself.
"""

import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import filelock
import numpy as np
import tensorflow as tf

from kesikaran.config.schema import BackboneConfig, HeadConfig
from kesikaran.core import files, folder_lock, paths, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import preprocess
from kesikaran.metrics import decisions
from kesikaran.metrics.decisions import Decision
from kesikaran.models import classifier, head, hub
from kesikaran.models.backbone import Backbone
from kesikaran.models.module_files import digest
from kesikaran.tracking import models
from kesikaran.tracking.runs import Run

# The packages whose versions decide what a template holds
_WRITERS = ("tensorflow", "tf_keras", "tensorflow-hub", "mlflow")
# The rooms whose code ends up in the exported graph or in the MLmodel file, this one included: a change of their code
# may change the model, so it makes other templates. The backbone's SavedModel is in the key by its digest.
_TRACED = (preprocess, hub, head, classifier, models, sys.modules[__name__])
_REMEDY = "or go without the model: tracking.log_model=false"


@dataclass(frozen=True)
class FrozenClassifier:
    """A trained head on a frozen backbone. weights: of the head, as its `get_weights()` gives them."""

    net: Backbone
    config: BackboneConfig
    hidden_units: list[int]
    weights: list[np.ndarray]

    def log(self, run: Run, decision: Decision) -> None:
        """Log the classifier as the model of a run.

        Args:
            decision: the run's rule from logits to labels.

        Raises:
            InputError: the cache is not writable, or the cache or the store of runs is full.
        """
        folded = decisions.fold(decision, self.weights)
        # MLflow writes the model to the temporary folder first.
        room = files.disk_space(f"the store of runs or the temporary folder {tempfile.gettempdir()}", _REMEDY)
        with folder_lock.in_use(lambda: template(self.net, self.config, self.hidden_units).parent) as folder, room:
            pattern = folder / "model"
            run.model(pattern, lambda folder: write(pattern / models.SAVED_MODEL, folded, decision.threshold, folder))


def template(net: Backbone, config: BackboneConfig, hidden_units: list[int]) -> Path:
    """The folder of a model, as `tracking.models.save_model` writes it, with an untrained head of `hidden_units`.

    Dropout and L2 are no part of a graph for inference. Where several processes need a template at once, one builds it
    and the others wait. A template whose bytes have changed is reported, deleted and built again.

    Raises:
        InputError: the cache is not writable or full.
    """
    what = {
        "backbone": net.digest,
        **preprocess.preprocessing(config),
        "hidden_units": list(hidden_units),
        "versions": [platform.python_version(), *map(version, _WRITERS)],
        "code": [hashlib.sha256(Path(str(room.__file__)).read_bytes()).hexdigest() for room in _TRACED],
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    folder = files.writable(paths.cache_dir() / "models", "cache folder", "set KESIKARAN_CACHE to another") / key

    def build(fresh: Path) -> None:
        untrained = head.build_head(net.width, HeadConfig(hidden_units=list(hidden_units)), seed=0)
        fresh.mkdir()
        with files.disk_space(f"the cache folder {folder.parent}", f"set KESIKARAN_CACHE to another folder, {_REMEDY}"):
            models.save_model(classifier.Classifier(net, config, untrained), fresh / "model")
        (fresh / "digest").write_text(digest(fresh / "model"))

    with filelock.FileLock(f"{folder}.lock"):
        if os.path.lexists(folder) and not _whole(folder):
            print("The export template in the cache is damaged: building it again.")
            files.remove(folder)
        with terminal.sheltered():  # TensorFlow can lose a signal's exception while it traces
            files.build_once(folder, "digest", build)
        os.utime(folder / "digest")  # the time of its last use, for `python -m kesikaran.features gc`
        return folder / "model"


def _whole(folder: Path) -> bool:
    written = folder / "digest"
    try:
        return written.is_file() and written.read_bytes() == digest(folder / "model").encode()
    except InputError:  # what lies there is no model
        return False


def write(saved_model: Path, weights: list[np.ndarray], threshold: float, target: Path) -> None:
    """Copy the SavedModel of a template to the folder `target`, with the weights of a trained head.

    Args:
        weights: of the head, as its `get_weights()` gives them, of the template's shapes.
        threshold: the lowest logit of label 1.
    """
    from tensorflow.python.saved_model import fingerprinting_utils

    shutil.copytree(saved_model, target, ignore=shutil.ignore_patterns("variables", "fingerprint.pb"))
    (target / "variables").mkdir()
    stored = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    values = {name: stored.get_tensor(name) for name in stored.get_variable_to_shape_map()}
    written = {f"head/{place}": value for place, value in enumerate(weights)}
    written["threshold"] = np.array(threshold, np.float32)
    for variable, value in written.items():
        name = f"{variable}/.ATTRIBUTES/VARIABLE_VALUE"
        if values[name].shape != value.shape:
            raise AssertionError(f"{name} is {values[name].shape} in the template and {value.shape} in the run")
        values[name] = value
    with tf.device("cpu"):
        tf.raw_ops.SaveV2(
            prefix=str(target / "variables" / "variables"),
            tensor_names=list(values),
            shape_and_slices=[""] * len(values),
            tensors=[tf.constant(value) for value in values.values()],
        )
    fingerprinting_utils.write_fingerprint(str(target))  # holds a hash of the variables' index, so it is not copied
