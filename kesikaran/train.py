"""The door: `python -m kesikaran.train`. Names the steps in order; the rooms do the work.

Nothing heavy is imported before a job starts, so that --help and TAB answer at once.
"""

import gc
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kesikaran import config, gate, paths, ranges, sweep, terminal, vectorized
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


def main() -> None:
    """The command line. Exit codes: 0 done, 1 an error, 3 a gate failed, 130 Ctrl-C, 143 SIGTERM."""
    refuse_legacy_keras()
    quiet()
    gc.disable()  # nothing of an import is garbage, and looking takes a fifth of the imports' time
    terminal.stop_on_signals()
    ConfigStore.instance().store(name="schema", node=config.Experiment)
    OmegaConf.register_new_resolver("kesikaran_cache", lambda: str(paths.cache_dir()), replace=True)
    status = "KILLED"
    try:
        hydra.main(version_base="1.3", config_path=str(paths.conf_dir()), config_name="config")(job)()
        status = "FINISHED"
    except InputError:  # its job has said it
        status = "FAILED"
        sys.exit(1)
    except (HydraException, OmegaConfBaseException) as error:
        status = "FAILED"
        sys.exit(f"error: {config.explain(error)}")
    except Exception:
        status = "FAILED"
        raise
    except SystemExit:
        if terminal.stop_asked():
            print("Stopped. Features computed so far are kept: the same command goes on from there.", file=sys.stderr)
        raise
    finally:
        gc.enable()
        try:
            passed = sweep.close(status)
        except InputError as error:
            sys.exit(f"error: {error}")
    if not passed:
        sys.exit(gate.FAILED_EXIT)


def quiet() -> None:
    """No wall of TensorFlow's start-up lines; a user's own setting wins. Hydra hands errors to `main`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves this machine unasked
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    for noise in (".*pkg_resources is deprecated.*", "Hint: Inferred schema", ".*dataset source can be interpreted"):
        warnings.filterwarnings("ignore", message=noise)


def refuse_legacy_keras() -> None:
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        sys.exit(
            "error: TF_USE_LEGACY_KERAS is set: MLflow would then save a model that does not load again. "
            "Unset it for this command: env -u TF_USE_LEGACY_KERAS ..."
        )


if __name__ == "__main__":
    main()
