"""One experiment from configuration to logged model. Names the steps in order; the rooms do the work.

Nothing heavy is imported before a job starts, so that --help and TAB answer at once.
"""

import gc
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kesikaran import config, gate, paths, process, ranges, sweep, terminal, vectorized
from kesikaran.errors import InputError

if TYPE_CHECKING:
    from kesikaran.fitting import Fitted, Training


def job(cfg: DictConfig) -> float:
    """One experiment from configuration to logged model. Returns the validation metric `fit.monitor`."""
    experiment = begin(cfg)
    training = next(experiment)
    (outcome,) = vectorized.fit([training])
    return vectorized.finish(experiment, outcome)


def begin(cfg: DictConfig) -> vectorized.Job:
    """One experiment, as a generator: it yields its training, is sent what became of it, and returns the validation
    metric `fit.monitor`. So several can train together."""
    process.start()  # the worker of a launcher runs no `main`
    from kesikaran import tracking

    try:
        experiment = config.parse(cfg)
        # The run opens first, so that whatever goes wrong from here on is on record.
        params = config.flatten(experiment)
        varied = sweep.job_overrides(list(HydraConfig.get().overrides.task))
        name = experiment.tracking.run_name or " ".join(f"{key}={value}" for key, value in varied.items()) or None
        places = f"the store of runs or the temporary folder {tempfile.gettempdir()}"
        room = paths.room(places, "or set MLFLOW_TRACKING_URI or TMPDIR to another place")
        with room, tracking.run(experiment.data.name, name, params, varied) as run:
            ranges.check(experiment)
            run.text(OmegaConf.to_yaml(cfg, resolve=True), "config.yaml")
            print(f"Run {run.run_id} in experiment {experiment.data.name}")
            value, passed = yield from steps(experiment, run)
        if not passed and not tracking.open_sweep_id():  # a sweep ends first
            sys.exit(gate.FAILED_EXIT)
        return value
    except InputError as error:
        # Said here: Hydra would put a line of its own before it, and of a sweep's failures tell only the first.
        print(f"error: {error}", file=sys.stderr)
        if tracking.open_sweep_id():
            raise
        sys.exit(1)


def steps(experiment: config.Experiment, run: Any) -> "Generator[Training, Fitted, tuple[float, bool]]":
    """Data, features, split, head, scores, model: each is one call into its room.

    Returns the validation metric `fit.monitor` and whether the gate, if there is one, lets the run through."""
    with terminal.quiet_start():
        from kesikaran import (
            backbone,
            dataset,
            decisions,
            device,
            duplicates,
            export,
            features,
            fitting,
            imbalance,
            model,
            report,
            split,
        )
    if not gc.get_freeze_count():
        gc.freeze()  # what was imported stays: no collection, of which each job has one, looks at it again
    gc.enable()

    e = experiment
    device_name = device.choose(e.device)
    device.seed(e.seed, e.deterministic)

    labels_path, images_folder = dataset.locate(e.data)
    labels = dataset.read_labels(labels_path)
    if labels.repeated:
        print(f"{labels.repeated} repeated rows of {labels_path} are counted once.")
    asked = labels.table.head(e.data.limit or len(labels.table))
    looks = duplicates.COLUMN not in asked.columns and len(asked) <= duplicates.MOST_IMAGES
    if looks:  # the label file's own goes first
        asked = asked.assign(**{duplicates.COLUMN: ""})
    split.need_columns(e.split, asked)  # before the features, which take time
    net = backbone.load(e.backbone.handle, e.backbone.image_size)
    found = features.extract(list(asked["object_id"]), images_folder, net, e.backbone, e.data.max_megapixels)
    print(f"Features of {len(found.object_ids)} images, {found.computed} of them computed now, the others cached.")
    report.engine(run, e.backbone, found.deviation)
    report.refused(run, found.refused, len(asked), e.data.on_bad_image)

    given = dataset.read_split(Path(e.split.file)) if e.split.file else None
    table = asked[~asked["object_id"].isin(list(found.refused))]
    if looks:
        table = table.assign(**{duplicates.COLUMN: found.near_duplicates(e.split.near_duplicate_similarity)})
    table = split.apply(e.split, table, given)
    if e.fit.monitor is config.Monitor.auc:
        split.need_both_classes(table, ("train", "validation"))
    decisions.need_labels(e.decision, table.loc[table["split"] == "validation", "label"].to_numpy())
    if list(table["object_id"]) != found.object_ids:
        raise AssertionError("the rows of the features are not the rows of the split")
    identity = {
        "data_digest": dataset.data_digest(table),
        "split_fingerprint": split.fingerprint(table),
        "backbone_digest": net.digest,
        "feature_cache_key": found.key,
    }
    run.tags({**identity, "device": device_name, "run_fingerprint": config.fingerprint(e, identity)})
    report.inputs(run, table, e.data.name, labels_path)

    every = fitting.Sample(found.matrix, table["label"].to_numpy())
    train, validation = (split.rows(table, side) for side in ("train", "validation"))
    chosen, loss = imbalance.treat(every.labels[train], e.imbalance, e.seed)
    head = model.build_head(net.width, e.head, e.seed)
    task = fitting.Task(head, e.head, e.optimizer, e.fit, loss, e.seed, run.epoch)
    fitted = yield fitting.Training(task, every, train[chosen], validation)
    run.metrics({"best_epoch": fitted.epoch, "epochs": fitted.epochs})

    logits = fitting.predict(head, found.matrix)
    sides = every.labels[train], every.labels[validation]
    decision = decisions.decide(e.decision, *sides, logits[validation])
    report.decision(run, e.decision, decision, *sides)
    predictions = decisions.apply(decision, table[["object_id", "split", "label"]].assign(logit=logits))
    groups = split.groups(e.split, table)
    if groups is not None:
        predictions["group"] = groups.astype(str)
    results = report.write(run, predictions, e.evaluation)
    remarks = report.prevalences(run, predictions, e.evaluation)
    remarks += report.leaks(run, table, found.matrix, logits, e.split) + report.near_duplicates(run, table)
    if e.tracking.log_model:
        print("Saving the model ...")
        export.log(run, net, e.backbone, e.head.hidden_units, head.get_weights(), decision)
    fitting.forget()
    report.say(results, e.evaluation, remarks, run)
    passed = report.gate(run, e.gate, results)
    objective = "log_loss" if e.fit.monitor is config.Monitor.loss else "roc_auc"
    return results["validation"].metrics[objective].value, passed
