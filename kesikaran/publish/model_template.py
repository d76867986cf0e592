"""The exported model: traced once for each backbone and shape of head, its variables written for each run.

`tf.saved_model.save` takes seconds, yet of the runs on one backbone only the head's values differ. So the
first of them leaves its model folder in the cache as a template, and every run copies it and writes its own
variables, the backbone's included: a complete model that refers to nothing outside itself.
"""

import hashlib
import json
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import filelock
import numpy as np
import tensorflow as tf

from kesikaran.config.schema import BackboneConfig, HeadConfig
from kesikaran.core import files, paths, terminal
from kesikaran.data import preprocess
from kesikaran.metrics import decisions
from kesikaran.metrics.decisions import Decision
from kesikaran.models import backbone, classifier, head
from kesikaran.models.backbone import Backbone
from kesikaran.tracking import models
from kesikaran.tracking.runs import Run

# What writes the template, and what a model says of itself in its requirements.
_WRITERS = ("tensorflow", "tf_keras", "tensorflow-hub", "mlflow")
# A change of their code may change the exported graph, so that a template of before no longer serves.
_TRACED = (preprocess, head, classifier, models)
_REMEDY = "or go without the model: tracking.log_model=false"


@dataclass(frozen=True)
class FrozenClassifier:
    """A trained head on a frozen backbone. weights: `get_weights()` of the head."""

    net: Backbone
    config: BackboneConfig
    hidden_units: list[int]
    weights: list[np.ndarray]

    def log(self, run: Run, decision: Decision) -> None:
        """Log the classifier as the model of a run.

        Args:
            decision: what the run makes of the head's logits.

        Raises:
            InputError: the cache is not writable, or it or the store of runs is full.
        """
        pattern = template(self.net, self.config, self.hidden_units)
        folded = decisions.fold(decision, self.weights)
        # MLflow writes it to the temporary folder first.
        with files.disk_space(f"the store of runs or the temporary folder {tempfile.gettempdir()}", _REMEDY):
            run.model(pattern, lambda folder: write(pattern / models.SAVED_MODEL, folded, decision.threshold, folder))


def template(net: Backbone, config: BackboneConfig, hidden_units: list[int]) -> Path:
    """A folder as `tracking.save_model` writes it, with a head of `hidden_units` that has learned nothing.

    Dropout and L2 leave no trace in a graph for inference. Several processes may ask at once: the first builds,
    the others wait. One whose bytes are not as they were written is said, thrown away and built again.

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
        (fresh / "digest").write_text(backbone.digest(fresh / "model"))

    with filelock.FileLock(f"{folder}.lock"):
        if folder.exists() and not _whole(folder):
            print("The export template in the cache is damaged: building it again.")
            shutil.rmtree(folder)
        with terminal.sheltered():  # TensorFlow, where it traces, can swallow the exception of a signal
            files.build_once(folder, "digest", build)
        os.utime(folder / "digest")  # when it was last used, for who tidies up
        return folder / "model"


def _whole(folder: Path) -> bool:
    digest = folder / "digest"
    return digest.is_file() and digest.read_text() == backbone.digest(folder / "model")


def write(saved_model: Path, weights: list[np.ndarray], threshold: float, target: Path) -> None:
    """Write a template's SavedModel once more, to the folder `target`, with `weights` for those of its head and
    `threshold` for where label 1 begins."""
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
    fingerprinting_utils.write_fingerprint(str(target))  # it holds a hash of the variables' index: a copy would lie
