"""Everything after the logits: the decision, the scores, the reports, the model and the gate.

Every path of an experiment ends here, whatever gave the logits, and so does the evaluation of a finished run.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from kesikaran.analysis import selection
from kesikaran.analysis.wording import in_words
from kesikaran.config import compose
from kesikaran.config.metric_names import METRICS, OBJECTIVE, SELECTION_LOSS
from kesikaran.config.schema import DecisionRule, Experiment, Report
from kesikaran.data import label_file, split
from kesikaran.experiment.outcome import Verdict
from kesikaran.metrics import decisions
from kesikaran.metrics.decisions import Decision
from kesikaran.reports import leakage_report, notes, page_note, run_report, run_terminal
from kesikaran.reports.run_terminal import Remarks
from kesikaran.tracking.open_run import Run
from kesikaran.training import imbalance


class Classifier(Protocol):
    """What can be saved as the model of a run."""

    def log(self, run: Run, decision: Decision, rule: DecisionRule) -> None: ...


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
    scored.remarks.warnings.extend(trained.remarks)
    gauge, siblings = leakage_report.log_leakage(run, trained.table, trained.features, trained.logits, e.split)
    scored.remarks.details.append(gauge)
    images = Path(e.data.images).expanduser() if e.data.images else None  # the embedded set has no names of files
    scored.remarks.of_data |= siblings | leakage_report.log_near_duplicates(run, trained.table, images)
    if e.tracking.log_model:
        notes.of_run("Saving the model ...")
        trained.classifier.log(run, decision, e.decision.rule)
    return _closed(e, run, predictions, scored)


def judge_again(e: Experiment, run: Run, rows: pd.DataFrame) -> Verdict:
    """Decide and score the saved predictions of a finished run anew.

    Args:
        rows: `predictions.parquet` of that run.
    """
    _, predictions = _decided(e, run, rows)
    scored = _scored(e, run, predictions)
    scored.remarks.warnings.extend(run_report.change(rows, predictions, e.evaluation))
    scored.remarks.warnings.append("No model is logged; python -m kesikaran.train with the same decision gives one.")
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
    """results: split -> its metrics. objective: of the verdict. remarks: for the end of the run."""

    results: dict[str, run_report.SplitMetrics]
    objective: float
    remarks: Remarks


def _scored(e: Experiment, run: Run, predictions: pd.DataFrame) -> _Scored:
    """All metrics of the run as a whole. They are logged before the model, which takes them over."""
    results = run_report.log_predictions(run, predictions, e.evaluation)
    train, validation = (predictions.loc[predictions["split"] == side, "label"] for side in ("train", "validation"))
    shift = imbalance.prior_shift(train.to_numpy(), validation.to_numpy(), e.imbalance)
    loss = run_report.log_selection(run, predictions, shift, e.evaluation)
    selected = {**results["validation"].metrics, SELECTION_LOSS.name: loss}
    objective = selected[OBJECTIVE[e.fit.monitor].name].value
    prevalences = run_report.log_prevalences(run, predictions, e.evaluation)
    plain, detail = run_report.log_certainty(run, predictions, e.decision.error, e.evaluation.confidence)
    is_full = e.evaluation.report is Report.full
    return _Scored(results, objective, Remarks([] if is_full else plain, [*prevalences, *detail]))


def _closed(e: Experiment, run: Run, predictions: pd.DataFrame, scored: _Scored) -> Verdict:
    chosen = selection.chosen_on_validation(compose.flatten(e))
    remarks = scored.remarks
    remarks.warnings.extend(run_report.looks(predictions))
    page_note.log_run(run, e, scored.results, [*remarks.details, *remarks.of_data.values(), *remarks.warnings], chosen)
    run_terminal.print_report(scored.results, e.evaluation, remarks, run, chosen)
    judged = in_words(scored.results["validation"].metrics[e.evaluation.verdict])
    passed = run_report.judge_gate(run, e.gate, scored.results)
    return Verdict(scored.objective, passed, words=f"{METRICS[e.evaluation.verdict].words} {judged}")
