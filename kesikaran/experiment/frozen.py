"""The path of a frozen backbone: features from the cache, a head trained on them, logits of every image."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kesikaran.config.schema import Experiment, Monitor, SplitConfig
from kesikaran.data import augment, label_file, near_duplicates, split
from kesikaran.experiment.identity import Asked, Images
from kesikaran.experiment.judge import Trained
from kesikaran.experiment.refusals import settle_refusals, tell_complaints
from kesikaran.features.extract import FeatureCache, Features
from kesikaran.metrics import decisions
from kesikaran.models import backbone
from kesikaran.models.head import first_weights
from kesikaran.publish.model_template import FrozenClassifier
from kesikaran.reports import notes, run_report
from kesikaran.tracking.claims import FINGERPRINT_TAG
from kesikaran.tracking.open_run import Run
from kesikaran.training import device, halves, head_trainer, imbalance
from kesikaran.training.task import FeatureRows, FitResult, HeadTask, TrainingJob


def train(
    e: Experiment, asked: Asked, run: Run, cache: FeatureCache, device_name: str
) -> Generator[TrainingJob, FitResult, Trained]:
    """Yields the one training of the experiment, is sent what came of it, and returns what there is to be judged.

    Args:
        asked: what the jobs of the command ask for.

    Raises:
        InputError: whatever is wrong with the data, the backbone or the cache.
    """
    probe = prepare(e, asked, run, cache, device_name)
    fitted = yield probe.job
    run.metrics({"best_epoch": fitted.epoch, "epochs": fitted.epochs})
    tell_stop("The head", e.fit.patience, e.fit.epochs, fitted.epoch + 1, fitted.epochs)

    features = probe.features.means if len(probe.views) > 1 else probe.features.matrix
    logits = head_trainer.predict(fitted.weights, features)
    classifier = FrozenClassifier(probe.net, e.backbone, e.head.hidden_units, fitted.weights, probe.views, e.data)
    return Trained(probe.table, logits, classifier, probe.features.matrix)


def tell_stop(what: str, patience: int | None, most: int, best: int, made: int) -> None:
    """Say which epoch was kept, and whether the training ended early.

    Args:
        patience, most: as `FitConfig` has patience and epochs. best: the number of the best epoch, from 1; 0 where none
            was kept. made: how many were run.
    """
    if patience is None or not best:
        return
    end = "stopped early" if made < most else "made all its epochs"
    notes.of_run(f"{what} {end}: best epoch {best} of {made}, by validation.")


@dataclass(frozen=True)
class Probe:
    """A head that is to be trained on the features of a frozen backbone.

    table: of the images that have features, each with its side. features: of these images, row by row. views: those
    whose mean is judged. train, validation: row numbers in `table`, int [n]; a training image may come more than once.
    job: the training of the head, whose rows are those of each view.
    """

    net: backbone.Backbone
    table: pd.DataFrame
    features: Features
    views: tuple[str, ...]
    train: np.ndarray
    validation: np.ndarray
    job: TrainingJob


def prepare(e: Experiment, asked: Asked, run: Run, cache: FeatureCache, device_name: str) -> Probe:
    """All that comes before a head is trained. Arguments and errors: as of `train`."""
    images = asked.images(e.data)
    split.need_columns(e.split, images.table)  # this and what follows before the features, which take time
    if e.data.weight:
        label_file.weights(images.table, e.data.weight)
    given = asked.split(e.split.file)
    if not images.finds_near_duplicates:
        split.need_default_similarity(e.split)
    net = backbone.load(e.backbone.handle, e.backbone.image_size, e.backbone.trusted)
    if asked.learn_backbone(e.backbone.handle, net.digest):
        run.tags({FINGERPRINT_TAG: asked.fingerprint(e)})
    views = augment.views(e.augment.name)
    names = list(images.table["object_id"])
    found = cache.extract(names, images.files(), net, e.backbone, e.data.max_megapixels, views)
    each = f" in {len(views)} views" if len(views) > 1 else ""
    notes.of_data(
        f"Features of {len(found.object_ids)} images{each}, {found.computed} of them computed now, the others cached.",
        f"features {found.key}",
    )
    run_report.log_engine_deviation(run, e.backbone, found.deviation)
    tell_complaints(found.remarks, images.folder)
    settle_refusals(run, found.refused, len(images.table), e.data.on_bad_image, images.folder)

    asks = str(e.data), str(e.split), found.key, tuple(found.refused)
    ready = asked.once("split", asks, lambda: _split(e.split, images, found, given))
    table = ready.table
    if e.fit.monitor is Monitor.auc:
        split.need_both_classes(table, ("train", "validation"))
    decisions.need_labels(e.decision, table.loc[table["split"] == "validation", "label"].to_numpy())
    identity = {"backbone_digest": net.digest, "feature_cache_key": found.key, "device": device_name}
    run.tags({**ready.identity, **identity})
    run_report.log_inputs(run, ready.inputs, e.data.name, images.labels_path)

    labels = table["label"].to_numpy()
    train_rows, validation = (split.rows(table, side) for side in ("train", "validation"))
    groups = split.groups(e.split, table)
    own_groups = None if groups is None else groups[train_rows]
    train_rows = train_rows[halves.rows(labels[train_rows], own_groups, e.fit.half)]
    chosen, loss = imbalance.treat(labels[train_rows], e.imbalance, e.seed)
    shift = imbalance.prior_shift(labels[train_rows], labels[validation], e.imbalance)
    weights = first_weights(net.width, e.head, e.seed)
    task = HeadTask(weights, e.head, e.optimizer, e.fit, loss, e.seed, run.epoch, shift)
    every = FeatureRows(found.stacked, np.tile(labels, found.blocks))
    chosen_rows = train_rows[chosen]
    judged = found.in_means(validation) if e.augment.average else validation
    job = TrainingJob(task, every, found.in_views(chosen_rows), judged)
    return Probe(net, table, found, views if e.augment.average else views[:1], chosen_rows, validation, job)


@dataclass(frozen=True)
class _Split:
    """table: the images that have features, each with its side, row by row those of the features. identity: tags that
    say what the table is. inputs: as `run_report.inputs` gives them."""

    table: pd.DataFrame
    identity: dict[str, str]
    inputs: run_report.Inputs


def _split(config: SplitConfig, images: Images, found: Features, given: pd.DataFrame | None) -> _Split:
    """given: the table of `split.file`."""
    table = images.table[~images.table["object_id"].isin(list(found.refused))]
    if images.finds_near_duplicates:
        table = table.assign(**{near_duplicates.COLUMN: found.near_duplicates(config.near_duplicate_similarity)})
    table = split.apply(config, table, given)
    if list(table["object_id"]) != found.object_ids:
        raise AssertionError("the rows of the features are not the rows of the split")
    identity = {"data_digest": label_file.data_digest(table), "split_fingerprint": split.fingerprint(table)}
    return _Split(table, identity, run_report.inputs(table))


def prepare_process(e: Experiment) -> str:
    """Choose the device and seed this process; the name of the device. Before anything is computed.

    Raises:
        InputError: see `device.choose`.
    """
    name = device.choose(e.device)
    device.seed(e.seed, e.deterministic)
    return name
