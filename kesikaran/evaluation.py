"""A finished run decided and scored anew from its saved logits."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kesikaran import config, paths, ranges, terminal
from kesikaran.errors import InputError, printable

if TYPE_CHECKING:
    import pandas as pd

    from kesikaran.records import Record

GROUPS = {"decision": "plain", "evaluation": "default", "gate": "default"}  # what may change, and an option of each
_ALLOWED = re.compile(rf"({'|'.join(GROUPS)})(\.\w+)?=.*|tracking\.run_name=.*", re.DOTALL)
# What a run says of itself that its evaluation does not change.
_TAGS = ("split_fingerprint", "data_digest", "backbone_digest", "feature_cache_key")


@dataclass(frozen=True)
class Source:
    """A finished run: its predictions, and its configuration with the settings that are to be changed."""

    record: "Record"
    predictions: "pd.DataFrame"
    cfg: DictConfig
    experiment: config.Experiment


def settings(overrides: list[str]) -> DictConfig:
    """The configuration that training with these overrides would compose.

    Raises:
        InputError: an override that needs training, or that Hydra does not take.
    """
    for word in overrides:
        if not _ALLOWED.fullmatch(word):
            raise InputError(
                f"{printable(word)} is not allowed: it needs training. Of a finished run only {', '.join(GROUPS)} and "
                "tracking.run_name can be changed; a run whose name has a = in it is given by its id"
            )
        try:
            several = OverridesParser.create().parse_override(word).is_sweep_override()
        except HydraException:
            raise InputError(f"cannot read {printable(word)}; write it in quotes where it has blanks") from None
        if several:
            raise InputError(f"{printable(word)} gives several values; call it once for each")
    ConfigStore.instance().store(name="schema", node=config.Experiment)
    try:
        with hydra.initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
            return hydra.compose("config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(config.explain(error)) from None


def read(word: str, overrides: list[str], asked: DictConfig) -> Source:
    """The run of an id or name, with the configuration that its evaluation has.

    Raises:
        InputError: no such run; it did not finish, is a sweep's parent, lacks its predictions or configuration, or its
            configuration does not go with the overrides; the decision needs a label that its validation lacks.
    """
    from kesikaran import decisions, records

    record = records.finished(word)
    if record.is_sweep:
        raise InputError(
            f"run {record.run_id} ({printable(record.name)}) is the parent of a sweep, without predictions of its own; "
            "give the ids of its jobs, which its sweep.csv lists"
        )
    predictions = records.predictions(record.run_id)
    cfg = _changed(records.text(record.run_id, "config.yaml"), overrides, asked, record.run_id)
    experiment = config.parse(cfg)
    ranges.check(experiment)
    in_validation = predictions["split"] == "validation"
    decisions.need_labels(experiment.decision, predictions.loc[in_validation, "label"].to_numpy())
    return Source(record, predictions, cfg, experiment)


def _changed(saved: str, overrides: list[str], asked: DictConfig, run_id: str) -> DictConfig:
    """`saved`, YAML, with what `overrides` name taken from `asked`. A setting that the run's version had not is the
    default's; a group that is chosen anew comes whole."""
    keys = [word.split("=")[0] for word in overrides]
    where = f"config.yaml of run {run_id}"
    try:
        loaded = OmegaConf.create(saved)
        kept = {name: node for name, node in loaded.items() if name not in keys}
        settings = config.leaves(OmegaConf.to_container(OmegaConf.create(kept)))
    except (OmegaConfBaseException, YAMLError, AttributeError, AssertionError) as error:  # the last two: no mapping
        raise InputError(
            f"{where} is damaged: {config.explain(error) or 'it holds no settings'}; train again"
        ) from None
    gone = [key for key in settings if key not in config.known_keys()]
    if gone:
        named = printable(", ".join(gone))
        raise InputError(f"{where} has settings that this version does not have: {named}; {_way_out(gone)}")
    try:
        cfg = OmegaConf.merge(asked, kept)
    except OmegaConfBaseException as error:
        key, why = str(error.full_key), printable(str(error).splitlines()[0])
        raise InputError(
            f"{where} has a value that this version does not take: {key}: {why}; {_way_out([key])}"
        ) from None
    for key in ("tracking.run_name", *(key for key in keys if "." in key)):
        OmegaConf.update(cfg, key, OmegaConf.select(asked, key))
    OmegaConf.update(cfg, "tracking.log_model", False)
    return cast(DictConfig, cfg)


def _way_out(settings: list[str]) -> str:
    """What to do about settings of a run that this version cannot read."""
    groups = sorted({key.split(".")[0] for key in settings})
    if set(groups) <= set(GROUPS):
        return f"give {' '.join(f'{group}={GROUPS[group]}' for group in groups)}, which brings this version's"
    return "it cannot be evaluated: train again"


def evaluate(source: Source, overrides: list[str]) -> bool:
    """Decide and score the run's predictions anew, and log that as a run of its own. False where its gate failed.

    Raises:
        InputError: the store has no room left.
    """
    with terminal.quiet_start():
        from kesikaran import decisions, report, tracking

    e, rows, record = source.experiment, source.predictions, source.record
    labels = {side: rows["label"].to_numpy()[rows["split"] == side] for side in ("train", "validation")}
    logits = rows["logit"].to_numpy()[rows["split"] == "validation"]
    identity = {tag: record.tags[tag] for tag in _TAGS if tag in record.tags}
    name = e.tracking.run_name or " ".join([record.name, *overrides])
    room = paths.room(
        "the store of runs or the temporary folder", "or set MLFLOW_TRACKING_URI or TMPDIR to another place"
    )
    with room, tracking.run(record.experiment, name, config.flatten(e)) as run:
        run.text(OmegaConf.to_yaml(source.cfg, resolve=True), "config.yaml")
        fingerprint = config.fingerprint(e, identity)
        run.tags({**identity, "run_fingerprint": fingerprint, "evaluated_run": record.run_id})
        print(f"Run {run.run_id} in experiment {record.experiment}: {printable(record.name)} ({record.run_id}) anew")
        # The store has these already, with their source: name and digest tell it which.
        report.inputs(run, rows, e.data.name, Path(e.data.labels or e.data.source.name))
        decision = decisions.decide(e.decision, labels["train"], labels["validation"], logits)
        report.decision(run, e.decision, decision, labels["train"], labels["validation"])
        predictions = decisions.apply(decision, rows)
        results = report.write(run, predictions, e.evaluation)
        remarks = report.prevalences(run, predictions, e.evaluation)
        remarks += report.change(rows, predictions, e.evaluation)
        remarks.append("No model is logged; python -m kesikaran.train with the same decision gives one.")
        report.say(results, e.evaluation, remarks, run)
        passed = report.gate(run, e.gate, results)
    print(f"Compare them:  python -m kesikaran.compare {record.run_id} {run.run_id}")
    return passed
