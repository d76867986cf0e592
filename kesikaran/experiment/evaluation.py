"""A finished run decided and scored anew from its saved logits."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kesikaran.config import compose, rules
from kesikaran.config.schema import Experiment
from kesikaran.core import files, terminal
from kesikaran.core.errors import InputError, printable
from kesikaran.experiment.identity import code
from kesikaran.experiment.job import RUN_STORE, RUN_STORE_REMEDY

if TYPE_CHECKING:
    import pandas as pd

    from kesikaran.tracking.queries import Record

# What a run says of itself that its evaluation does not change.
_TAGS = ("split_fingerprint", "data_digest", "backbone_digest", "feature_cache_key")
_COUNTS_TAG = "fixed_label_counts"  # older runs have no such tag


@dataclass(frozen=True)
class Source:
    """A finished run. predictions: its `predictions.parquet`. config_yaml: its `config.yaml`."""

    record: "Record"
    predictions: "pd.DataFrame"
    config_yaml: str


def read(word: str) -> Source:
    """The finished run of an id or name.

    Raises:
        InputError: no such run; it did not finish, is a sweep's parent, lacks its predictions or its configuration.
    """
    from kesikaran.tracking import artifacts, queries

    record = queries.finished(word)
    if record.is_sweep:
        raise InputError(
            f"run {record.run_id} ({printable(record.name)}) is the parent of a sweep, without predictions of its own; "
            "give the ids of its jobs, which its sweep.csv lists"
        )
    predictions = artifacts.predictions(record.run_id)
    return Source(record, predictions, artifacts.text(record.run_id, "config.yaml"))


def check(source: Source, e: Experiment) -> None:
    """Raises InputError where the settings do not go together, or the decision needs a label that the run's validation
    split lacks."""
    from kesikaran.metrics import decisions
    from kesikaran.tracking import artifacts

    rules.check(e)
    sides = set(source.predictions["split"])
    if lacking := [side for side in ("train", "validation", "test") if side not in sides]:
        raise InputError(
            f"{artifacts.PREDICTIONS} of run {source.record.run_id} is damaged: it has no {lacking[0]} images"
        )
    in_validation = source.predictions["split"] == "validation"
    decisions.need_labels(e.decision, source.predictions.loc[in_validation, "label"].to_numpy())


def evaluate(source: Source, e: Experiment, config_yaml: str, overrides: list[str]) -> bool:
    """Decide and score the run's predictions anew, and log that as a run of its own. False where its gate failed.

    Args:
        e, config_yaml: the run's configuration with the settings that `overrides` change.

    Raises:
        InputError: the store has no room left.
    """
    with terminal.quiet_start():
        from kesikaran.experiment import judge
        from kesikaran.reports import run_report
        from kesikaran.tracking import runs

    record = source.record
    identity = {tag: record.tags[tag] for tag in _TAGS if tag in record.tags}
    name = e.tracking.run_name or " ".join([record.name, *overrides])
    room = files.disk_space(f"{RUN_STORE} {tempfile.gettempdir()}", RUN_STORE_REMEDY)
    with room, runs.run(record.experiment, name, compose.flatten(e)) as run:
        run.text(config_yaml, "config.yaml")
        fingerprint = compose.fingerprint(e, {**identity, "evaluated_run": record.run_id, "code": code()})
        counts = {_COUNTS_TAG: record.tags[_COUNTS_TAG]} if _COUNTS_TAG in record.tags else {}
        run.tags({**identity, **counts, "run_fingerprint": fingerprint, "evaluated_run": record.run_id})
        where = f"in experiment {printable(record.experiment)}"
        print(f"Run {run.run_id} {where}: {printable(record.name)} ({record.run_id}) anew")
        # The store has these data sets already, with their source: name and digest tell it which.
        labels_path = Path(e.data.labels or e.data.source.name)
        run_report.log_inputs(run, run_report.inputs(source.predictions), e.data.name, labels_path)
        verdict = judge.judge_again(e, run, source.predictions)
    print(f"Compare them:  python -m kesikaran.compare {record.run_id} {run.run_id}")
    return verdict.passed
