"""The exported model: traced once for each backbone and shape of head, its variables written for each run.

`tf.saved_model.save` takes seconds and a backbone megabytes, but runs on one backbone differ in the values of the head
only. The first run leaves its model folder in the cache as a template, whose variables lie in two shards: the
backbone's and the head's. The model of a run has the template's graph and its shard of the backbone as hard links and a
head of its own. So each model is a complete SavedModel folder that can be copied away, and a hundred of them take the
disk space of one backbone. Where a link is not possible, because cache and store lie on different file systems, the
model has copies.

A file with several names is one file: whoever changes the bytes under one of them changes all. These files are
therefore read-only. A template whose bytes have changed all the same is not used again.
"""

import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import uuid
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import filelock
import numpy as np
import tensorflow as tf

from kesikaran.config.schema import BackboneConfig, DataConfig, DecisionRule, HeadConfig
from kesikaran.core import files, folder_lock, paths, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import as_people_see, augment, preprocess
from kesikaran.metrics import decisions
from kesikaran.metrics.decisions import Decision
from kesikaran.models import classifier, head, hub
from kesikaran.models.backbone import Backbone
from kesikaran.models.module_files import digest
from kesikaran.publish.facts import Facts
from kesikaran.tracking import models, pyfunc_loader
from kesikaran.tracking.open_run import Run

# The packages whose versions decide what a template holds
_WRITERS = ("tensorflow", "tf_keras", "tensorflow-hub", "mlflow")
# The rooms whose code ends up in the exported graph or in the MLmodel file, this one included: a change of their code
# may change the model, so it makes other templates. The backbone's SavedModel is in the key by its digest.
_TRACED = (preprocess, as_people_see, augment, hub, head, classifier, models, pyfunc_loader, sys.modules[__name__])
_BACKBONE = "backbone"  # the template's folder with the checkpoint of what is equal in all its models
_REMEDY = "or go without the model: tracking.log_model=false"


@dataclass(frozen=True)
class FrozenClassifier:
    """A trained head on a frozen backbone. weights: of the head, as its `get_weights()` gives them. views: of an
    image, whose features' mean the head takes. data: what the run was trained on."""

    net: Backbone
    config: BackboneConfig
    hidden_units: list[int]
    weights: list[np.ndarray]
    views: tuple[str, ...]
    data: DataConfig

    def log(self, run: Run, decision: Decision, rule: DecisionRule) -> None:
        """Log the classifier as the model of a run.

        Args:
            decision: from logits to labels, by the run's `rule`.

        Raises:
            InputError: the cache is not writable, or the cache or the store of runs is full.
        """
        # For a store that is not on a local disk the model is written to the temporary folder first.
        room = files.disk_space(f"the store of runs or the temporary folder {tempfile.gettempdir()}", _REMEDY)
        with folder_lock.in_use(self._template) as folder, room:
            pattern = folder / "model"
            run.model(pattern, lambda folder: self._write(pattern, decision, self._facts(run, decision, rule), folder))

    def _write(self, pattern: Path, decision: Decision, about: Facts, folder: Path) -> None:
        write(pattern / models.SAVED_MODEL, decisions.fold(decision, self.weights), decision, folder)
        about.write(folder)

    def _facts(self, run: Run, decision: Decision, rule: DecisionRule) -> Facts:
        return Facts(
            run.run_id, self.data.name, self.config, self.net.digest, self.net.width, self.views,
            self.data.max_megapixels, rule, decision.threshold, decision.band,
        )  # fmt: skip

    def _template(self) -> Path:
        return template(self.net, self.config, self.hidden_units, self.views).parent


def template(
    net: Backbone, config: BackboneConfig, hidden_units: list[int], views: tuple[str, ...] = (augment.IDENTITY,)
) -> Path:
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
        "views": views,
        "versions": [platform.python_version(), *map(version, _WRITERS)],
        "code": [hashlib.sha256(Path(str(room.__file__)).read_bytes()).hexdigest() for room in _TRACED],
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    folder = files.writable(paths.cache_dir() / "models", "cache folder", "set KESIKARAN_CACHE to another") / key

    def build(fresh: Path) -> None:
        untrained = head.build_head(net.width, HeadConfig(hidden_units=list(hidden_units)), seed=0)
        fresh.mkdir()
        with files.disk_space(f"the cache folder {folder.parent}", f"set KESIKARAN_CACHE to another folder, {_REMEDY}"):
            models.save_model(classifier.Classifier(net, config, untrained, views), fresh / "model")
            _cut(fresh / "model" / models.SAVED_MODEL)
        for path in fresh.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        (fresh / "digest").write_text(_digest(fresh, _state(fresh)))

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
        return written.is_file() and written.read_bytes() == _digest(folder, _state(folder)).encode()
    except (InputError, OSError):  # what lies there is no template
        return False


def _state(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Of each file of a template: its path, its inode, its size and the time at which its bytes were last written."""
    found = [(str(path), path.stat()) for part in ("model", _BACKBONE) for path in (folder / part).rglob("*")]
    return tuple(sorted((path, file.st_ino, file.st_size, file.st_mtime_ns) for path, file in found))


@lru_cache(maxsize=16)
def _digest(folder: Path, _: tuple[tuple[str, int, int, int], ...]) -> str:
    """The digest of a template's files. A process reads their bytes once for each `_state` of the files."""
    return digest(folder / "model") + digest(folder / _BACKBONE)


def _cut(saved_model: Path) -> None:
    """Cut the one shard of a SavedModel that TensorFlow has just written into two. What is equal in all models of the
    template becomes a checkpoint of its own as well, from which `_write_variables` takes it."""
    from tensorflow.python.saved_model import fingerprinting_utils

    stored = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    values = {name: stored.get_tensor(name) for name in stored.get_variable_to_shape_map()}
    own = {name: value for name, value in values.items() if name.startswith(("head/", "threshold/", "band/"))}
    backbone = saved_model.parents[1] / _BACKBONE
    backbone.mkdir()
    _save(backbone / "variables", {name: value for name, value in values.items() if name not in own})
    shutil.rmtree(saved_model / "variables")
    _write_variables(backbone, own, saved_model / "variables")
    fingerprinting_utils.write_fingerprint(str(saved_model))  # holds a hash of the variables' index


def _write_variables(backbone: Path, own: dict[str, np.ndarray], variables: Path) -> None:
    """Make the folder `variables` of a SavedModel, in two shards: a link to the backbone's, and one with `own`."""
    variables.mkdir()
    files.link_or_copy(backbone / "variables.data-00000-of-00001", variables / "backbone.data-00000-of-00001")
    shutil.copyfile(backbone / "variables.index", variables / "backbone.index")
    _save(variables / "head", own)
    # Renames the shards, writes one index for both and removes the two of the parts.
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(variables / "backbone"), str(variables / "head")],
        destination_prefix=str(variables / "variables"),
        delete_old_dirs=False,
    )


def _save(prefix: Path, values: dict[str, np.ndarray]) -> None:
    with tf.device("cpu"):
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(values),
            shape_and_slices=[""] * len(values),
            tensors=[tf.constant(value) for value in values.values()],
        )


def write(saved_model: Path, weights: list[np.ndarray], decision: Decision, target: Path) -> None:
    """Write the SavedModel of a template, with the weights of a trained head, to the folder `target`.

    Args:
        weights: of the head, as its `get_weights()` gives them, of the template's shapes; its logits are the log-odds
            of `decision`.
    """
    written = {f"head/{place}": value for place, value in enumerate(weights)}
    written["threshold"] = np.array(decision.threshold, np.float32)
    ends = (decision.band.low, decision.band.high) if decision.band else classifier.NO_BAND
    written["band"] = np.array(ends, np.float32)
    own = {f"{variable}/.ATTRIBUTES/VARIABLE_VALUE": value for variable, value in written.items()}
    shapes = tf.train.load_checkpoint(str(saved_model / "variables" / "variables")).get_variable_to_shape_map()
    for name, value in own.items():
        if shapes[name] != list(value.shape):
            raise AssertionError(f"{name} is {shapes[name]} in the template and {value.shape} in the run")
    left_out = shutil.ignore_patterns("variables", "fingerprint.pb")
    shutil.copytree(saved_model, target, ignore=left_out, copy_function=files.link_or_copy)
    _write_variables(saved_model.parents[1] / _BACKBONE, own, target / "variables")
    _write_fingerprint(saved_model, target)


def _write_fingerprint(saved_model: Path, target: Path) -> None:
    """The fingerprint of `target`, as TensorFlow writes it, from that of the template. They differ in a random number
    and in the hash of the variables' index. To compute the others TensorFlow reads the graph, which takes longer than
    everything else of a model."""
    from tensorflow.core.protobuf import fingerprint_pb2

    fingerprint = fingerprint_pb2.FingerprintDef.FromString((saved_model / "fingerprint.pb").read_bytes())
    index = (target / "variables" / "variables.index").read_bytes()
    with tf.device("cpu"):
        fingerprint.checkpoint_hash = int.from_bytes(tf.fingerprint(tf.constant([index])).numpy().tobytes(), "little")
    fingerprint.uuid = str(uuid.uuid4().int)
    (target / "fingerprint.pb").write_bytes(fingerprint.SerializeToString())
