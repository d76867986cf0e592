"""Everything after the logits: the decision, the scores, the reports, the model and the gate.

Every path of an experiment ends here, whatever gave the logits, and so does the evaluation of a finished run.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pandas as pd

from kesikaran.analysis import selection
from kesikaran.config import compose
from kesikaran.config.metric_names import OBJECTIVE, SELECTION_LOSS
from kesikaran.config.schema import Experiment
from kesikaran.data import label_file, split
from kesikaran.experiment.outcome import Verdict
from kesikaran.metrics import decisions
from kesikaran.metrics.decisions import Decision
from kesikaran.reports import leakage_report, run_report
from kesikaran.tracking.runs import Run
from kesikaran.training import imbalance


class Classifier(Protocol):
    """What can be saved as the model of a run."""

    def log(self, run: Run, decision: Decision) -> None: ...


@dataclass(frozen=True)
class Trained:
    """What a path hands over, row by row of the same image.

    table: columns object_id, label, split and the label file's further ones. logits: float32 [n]. features: float32
    [n, width], by which a leak between the splits is looked for.
    """

    table: pd.DataFrame
    logits: np.ndarray
    classifier: Classifier
    features: np.ndarray
    remarks: list[str] = field(default_factory=list)


def judge(e: Experiment, run: Run, trained: Trained) -> Verdict:
    """Decide, score, report and save what was trained."""
    rows = trained.table[["object_id", "split", "label"]].assign(logit=trained.logits)
    decision, predictions = _decided(e, run, rows)
    fixed = split.fixes_counts(e.split, trained.table)
    predictions["counts_fixed"] = predictions["split"].map(fixed)
    run.tags({"fixed_label_counts": ",".join(side for side, is_fixed in fixed.items() if is_fixed) or "none"})
    if e.data.weight:
        predictions["weight"] = label_file.weights(trained.table, e.data.weight)
    groups = split.groups(e.split, trained.table)
    if groups is not None:
        predictions["group"] = groups.astype(str)
    scored = _scored(e, run, predictions)
    scored.remarks.extend(trained.remarks)
    leak = leakage_report.log_leakage(run, trained.table, trained.features, trained.logits, e.split)
    scored.remarks.extend([*leak, *leakage_report.log_near_duplicates(run, trained.table)])
    if e.tracking.log_model:
        print("Saving the model ...")
        trained.classifier.log(run, decision)
    return _closed(e, run, predictions, scored)


def judge_again(e: Experiment, run: Run, rows: pd.DataFrame) -> Verdict:
    """Decide and score the saved predictions of a finished run anew.

    Args:
        rows: `predictions.parquet` of that run.
    """
    _, predictions = _decided(e, run, rows)
    scored = _scored(e, run, predictions)
    scored.remarks.extend(run_report.change(rows, predictions, e.evaluation))
    scored.remarks.append("No model is logged; python -m kesikaran.train with the same decision gives one.")
    return _closed(e, run, predictions, scored)


def _decided(e: Experiment, run: Run, rows: pd.DataFrame) -> tuple[Decision, pd.DataFrame]:
    """The decision, of labels and validation's logits alone, and the rows with what it makes of their logits."""
    train, validation = (rows["split"] == side for side in ("train", "validation"))
    labels = rows.loc[train, "label"].to_numpy(), rows.loc[validation, "label"].to_numpy()
    decision = decisions.decide(e.decision, *labels, rows.loc[validation, "logit"].to_numpy())
    run_report.log_decision(run, e.decision, decision, *labels)
    return decision, decisions.apply(decision, rows)


@dataclass(frozen=True)
class _Scored:
    """results: split -> its metrics. objective: of the verdict. remarks: sentences for the end of the run."""

    results: dict[str, run_report.SplitMetrics]
    objective: float
    remarks: list[str]


def _scored(e: Experiment, run: Run, predictions: pd.DataFrame) -> _Scored:
    """All metrics of the run as a whole. They are logged before the model, which takes them over."""
    results = run_report.log_predictions(run, predictions, e.evaluation)
    train, validation = (predictions.loc[predictions["split"] == side, "label"] for side in ("train", "validation"))
    shift = imbalance.prior_shift(train.to_numpy(), validation.to_numpy(), e.imbalance)
    loss = run_report.log_selection(run, predictions, shift, e.evaluation)
    selected = {**results["validation"].metrics, SELECTION_LOSS.name: loss}
    objective = selected[OBJECTIVE[e.fit.monitor].name].value
    return _Scored(results, objective, run_report.log_prevalences(run, predictions, e.evaluation))


def _closed(e: Experiment, run: Run, predictions: pd.DataFrame, scored: _Scored) -> Verdict:
    chosen = selection.chosen_on_validation(compose.flatten(e))
    remarks = [*scored.remarks, *run_report.looks(predictions)]
    run_report.print_summary(scored.results, e.evaluation, remarks, run, chosen)
    return Verdict(scored.objective, run_report.judge_gate(run, e.gate, scored.results))
