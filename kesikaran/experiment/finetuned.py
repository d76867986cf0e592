"""The path of a fine-tuned backbone: the probe of the frozen path, the network trained from there, logits of every
image."""

from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np

from kesikaran.config.schema import AugmentName, Experiment, HeadStart, Monitor
from kesikaran.core import terminal
from kesikaran.core.errors import InputError
from kesikaran.data import augment, object_store
from kesikaran.data.pipeline import ImageRows
from kesikaran.experiment import frozen
from kesikaran.experiment.frozen import Probe
from kesikaran.experiment.identity import Asked
from kesikaran.experiment.judge import Trained
from kesikaran.features.extract import FeatureCache
from kesikaran.models import network
from kesikaran.models.network import Network
from kesikaran.publish.tuned_model import FinetunedClassifier
from kesikaran.reports import notes
from kesikaran.tracking.open_run import Run
from kesikaran.training import checkpoint, device, finetune, head_trainer
from kesikaran.training.task import FitResult, TrainingJob, TuningTask


def train(
    e: Experiment, asked: Asked, run: Run, cache: FeatureCache, device_name: str
) -> Generator[TrainingJob, FitResult, Trained]:
    """Yields the training of the probe, is sent what came of it, fine-tunes from there, and returns what there is to be
    judged. Arguments and errors: as of `frozen.train`, and `finetune.tune`.

    Epochs of fine-tuning have the numbers after those of the probe. The features by which a leak is looked for are
    those of the frozen backbone, since the leak is one of images. With `backbone.engine=openvino` the probe is
    trained on OpenVINO's features; the network is TensorFlow's in any case.
    """
    probe = frozen.prepare(e, asked, run, cache, device_name)
    count = len(probe.train)
    if e.finetune.batch_size > count:
        raise InputError(
            f"finetune.batch_size={e.finetune.batch_size} is not allowed: there are {count} images to train on; give "
            "at most so many"
        )
    # Before the probe is trained, and that of other jobs with it.
    network.need_trainable(probe.net, e.finetune, device.strategy())
    fitted = yield probe.job
    frozen.tell_stop("The probe", e.fit.patience, e.fit.epochs, fitted.epoch + 1, fitted.epochs)

    task = _task(e, asked, run, probe, fitted)
    task.images.keep()
    tuned = finetune.tune(task)
    best = tuned.probe_epochs + tuned.epoch - 1 if tuned.epoch else fitted.epoch
    run.metrics({"best_epoch": best, "epochs": tuned.probe_epochs + tuned.epochs})
    frozen.tell_stop(
        "Fine-tuning", e.finetune.patience or e.finetune.epochs, e.finetune.epochs, tuned.epoch, tuned.epochs
    )
    views, remarks = _views(e, task, probe)
    with terminal.progress(None, "judge", "image", len(probe.table)) as bar:
        logits = finetune.predict(task, np.arange(len(probe.table)), views, bar)
    network.forget()
    classifier = FinetunedClassifier(task.network, e.backbone, views, e.data)
    return Trained(probe.table, logits, classifier, probe.features.matrix, [*tuned.remarks, *remarks])


def _views(e: Experiment, task: TuningTask, probe: Probe) -> tuple[tuple[str, ...], list[str]]:
    """(the views whose mean is judged: all where validation gains by that, else the image as it is; a remark on it)"""
    if len(probe.views) == 1:
        return probe.views, []
    one, mean = (finetune.objective_of(task, views) for views in (probe.views[:1], probe.views))
    chosen = probe.views if mean < one else probe.views[:1]
    how = f"the mean of {len(chosen)} views" if len(chosen) > 1 else "the image as it is, not the mean of its views"
    better = "smaller" if e.fit.monitor is Monitor.loss else "larger"
    metric = "loss" if e.fit.monitor is Monitor.loss else "AUC"
    return chosen, [f"Judged is {how}: on validation its {metric} is {better} ({abs(min(one, mean)):.3f} against "
                    f"{abs(max(one, mean)):.3f})."]  # fmt: skip


def _task(e: Experiment, asked: Asked, run: Run, probe: Probe, fitted: FitResult) -> TuningTask:
    job, weights = probe.job, fitted.weights
    start = job.task.weights if e.finetune.head_start is HeadStart.random else weights
    return TuningTask(
        network=Network(probe.net, e.head, device.strategy()),
        config=e.finetune,
        monitor=e.fit.monitor,
        loss=job.task.loss,
        seed=e.seed,
        images=_images(e, asked, probe),
        labels=probe.table["label"].to_numpy(),
        train=probe.train,
        validation=probe.validation,
        prior_shift=job.task.prior_shift,
        start=start,
        probe=weights,
        # Of the images as they are, as those of each epoch that the probe is compared with.
        probe_logits=head_trainer.predict(weights, probe.features.matrix[probe.validation]),
        on_epoch=run.epoch,
        probe_epochs=fitted.epochs,
        checkpoint=checkpoint.of(asked.fingerprint(e)),
        say=notes.of_run,
        augment=None if e.augment.name is AugmentName.none else partial(_augmented, e),
    )


def _augmented(e: Experiment, images: Any, keys: Any, epoch: Any) -> Any:
    return augment.augmented(images, keys, e.seed, epoch, e.augment, e.backbone.value_range)


def _images(e: Experiment, asked: Asked, probe: Probe) -> ImageRows:
    """The images of the table. The jobs of a sweep share those that are kept in memory."""
    names = list(probe.table["object_id"])
    found = object_store.find(asked.images(e.data).files(), names)
    files = [found[name] for name in names]
    decoding = e.backbone.image_size, e.backbone.value_range, e.backbone.resize_method, e.backbone.antialias
    key = *decoding, e.backbone.jpeg_decode, e.data.max_megapixels, tuple(files)
    return asked.once("decoded", key, lambda: ImageRows(names, files, e.backbone, e.data.max_megapixels))
