"""The report of a run: metrics, matrices, curves and predictions go to MLflow. `run_terminal` prints it."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kesikaran.analysis import selection
from kesikaran.analysis.wording import in_words
from kesikaran.config.metric_names import OF_DECISIONS, SELECTION_LOSS
from kesikaran.config.schema import (
    BackboneConfig,
    DecisionConfig,
    EvaluationConfig,
    GateConfig,
    Precision,
)
from kesikaran.core.errors import InputError
from kesikaran.data import split, split_rules
from kesikaran.metrics import binary, conformal, decisions, influence, intervals, paired, prevalence
from kesikaran.metrics.decisions import Decision
from kesikaran.metrics.gate import judge
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import columns, drawing, figures, notes
from kesikaran.tracking import context, queries
from kesikaran.tracking.open_run import Run
from kesikaran.tracking.queries import SHIFT_TAG

# field of `AtPrevalence` -> its column in prevalences.csv, its column in the printed table, the format there
_AT_PREVALENCE = {
    "precision": ("precision", "precision", ".3f"),
    "alerts": ("alerts_per_10000", "alerts in 10,000", ",.0f"),
    "missed": ("missed_per_10000", "missed in 10,000", ",.1f"),
}


def log_engine_deviation(run: Run, config: BackboneConfig, deviation: float | None) -> None:
    """Log and print how far the features of another engine are from those of TensorFlow, the engine of the exported
    model."""
    if deviation is None:
        return
    run.metrics({"features/largest_deviation": deviation})
    # Measured on 700 images of ELPV: bfloat16 changed eleven predicted labels, and probabilities by up to 0.13.
    differs = config.precision is Precision.bfloat16
    notes.of_data(
        f"{config.engine.name} in {config.precision.name}: its features differ from TensorFlow's by up to "
        f"{deviation:.2g} on the first images. The exported model computes with TensorFlow"
        + (" in float32: some of its labels can differ from those logged here." if differs else "."),
        f"deviation {config.engine.name} {config.precision.name}",
    )


Inputs = dict[str, tuple[pd.DataFrame, str]]
"""A side of a split -> its rows (columns object_id, label, split) and their fingerprint."""


def inputs(table: pd.DataFrame) -> Inputs:
    """Each side of a table with the columns object_id, label and split."""
    by_side = table[["object_id", "label", "split"]].groupby("split", sort=False)
    return {str(side): (rows, split.fingerprint(rows)) for side, rows in by_side}


def log_inputs(run: Run, sides: Inputs, name: str, source: Path) -> None:
    """Log each side of a split as an input of the run."""
    run.inputs(sides, name, source)


def log_decision(
    run: Run, config: DecisionConfig, decided: Decision, train_labels: np.ndarray, validation_labels: np.ndarray
) -> None:
    """Log the decision, and print it where it is not plain."""
    values = {"temperature": decided.temperature, "shift": decided.shift, "threshold": decided.threshold}
    if decided.band:
        values |= {"unsure_from": decided.band.low, "unsure_to": decided.band.high}
    run.metrics({f"decision/{name}": value for name, value in values.items() if math.isfinite(value)})
    if sentence := decisions.sentence(config, decided, train_labels, validation_labels):
        notes.of_run(sentence)


@dataclass(frozen=True)
class SplitMetrics:
    """The counts of images of a split, every metric of the catalogue with its interval, and whether the intervals take
    the counts of the labels for fixed."""

    counts: binary.Confusion
    metrics: dict[str, Interval]
    counts_fixed: bool


def log_predictions(run: Run, table: pd.DataFrame, config: EvaluationConfig) -> dict[str, SplitMetrics]:
    """Compute the metrics of every split, and log them with the predictions, the matrices and the curves.

    An undefined metric, such as the ROC AUC of a split with one label, is not logged.

    Args:
        table: the predictions, which become `predictions.parquet`. Columns object_id, split, label, logit, log_odds,
            probability, predicted, counts_fixed (of the labels on this side, by the rule of the split; older runs have
            no such column), and group where images came in groups.

    Returns:
        split -> its metrics.
    """
    run.parquet(table, "predictions.parquet")
    results, predictions = {}, {}
    metrics: dict[str, float] = {}
    for name in split_rules.SPLITS:
        predictions[name] = Predictions.from_table(table[table["split"] == name])
        results[name] = split_metrics(predictions[name], config)
        metrics |= logged_metrics(results[name], name)
        log_confusion_matrix(run, results[name].counts, name)
    run.picture(drawing.picture(figures.roc_curves, predictions).png, "roc_curve.png")
    run.picture(drawing.picture(figures.precision_recall_curves, predictions).png, "precision_recall_curve.png")
    run.metrics(metrics)
    return results


def split_metrics(predictions: Predictions, config: EvaluationConfig) -> SplitMetrics:
    metrics = intervals.intervals(predictions, config.confidence, config.calibration_bins)
    fixed = influence.sampling_units(predictions).labels is not None
    return SplitMetrics(binary.confusion(predictions), metrics, fixed)


def logged_metrics(result: SplitMetrics, side: str) -> dict[str, float]:
    """The metrics of a split by their names in MLflow: `test/accuracy`, `test/accuracy_low`, ..., `test/n`."""
    found = {f"{side}/{count}": float(value) for count, value in dataclasses.asdict(result.counts).items()}
    found[f"{side}/n"] = result.counts.total
    for name, interval in result.metrics.items():
        found |= {f"{side}/{name}{end}": value for end, value in _ends(interval).items() if not math.isnan(value)}
    return found


def _ends(interval: Interval) -> dict[str, float]:
    """The suffixes of the name of a metric, for its value and for each limit."""
    return {"": interval.value, "_low": interval.low, "_high": interval.high}


def log_certainty(run: Run, table: pd.DataFrame, error: float | None, confidence: float) -> tuple[list[str], list[str]]:
    """Log of which share of validation and test the classifier is not sure, and how much of each label it calls the
    other with certainty. Returns (a sentence on test, one with more numbers), or none of both.

    Args:
        table: the predictions, with the column sure. error: `decision.error`.
    """
    if error is None:
        return [], []
    parts: list[str] = []
    for side in ("validation", "test"):
        found = conformal.kept(table[table["split"] == side])
        logged = {f"{side}/unsure": found.unsure}
        parts = []
        for label, count in found.counts.items():
            if count:
                share = intervals.wilson(found.wrong[label] / count, count, math.inf, confidence)
                logged |= {f"{side}/surely_wrong_of_{label}{end}": value for end, value in _ends(share).items()}
                parts.append(f"{in_words(share)} of label {label}")
        run.metrics(logged)
    plain = f"Of {found.unsure:.0%} of the test images it is not sure: kesikaran predict says so and does not guess."
    detail = (
        f"Not sure of {found.unsure:.0%} of the test images. Called the other label with certainty: "
        f"{' and '.join(parts)}; promised is at most {error:g} (decision.error)."
    )
    return [plain], [detail]


def log_selection(run: Run, table: pd.DataFrame, shift: float, config: EvaluationConfig) -> Interval:
    """Log the loss by which epochs and jobs are selected, and as a tag the shift of its logits.

    It is the log loss of logit + shift on validation, whatever the decision makes of the logits.

    Args:
        table: the predictions, as in `log_predictions`. shift: `imbalance.prior_shift`, in nats.
    """
    rows = table[table["split"] == "validation"]
    shifted = Predictions.from_table(rows.assign(log_odds=rows["logit"].to_numpy(np.float64) + shift))
    found = intervals.intervals(shifted, config.confidence, names=("log_loss",))["log_loss"]
    run.metrics({f"validation/{SELECTION_LOSS.name}{end}": value for end, value in _ends(found).items()})
    run.tags({SHIFT_TAG: repr(shift)})
    return found


def looks(table: pd.DataFrame) -> list[str]:
    """A sentence on how often this test split was looked at, where that is often. A job of a sweep says nothing: the
    sweep does at its end. A store that cannot count is no reason to lose a run that is trained: it is told instead."""
    if context.open_sweep_id():
        return []
    try:
        return selection.looks(queries.finished_count(split.fingerprint(table)))
    except InputError as error:
        return [f"How often this split was looked at could not be counted: {error}"]


def log_prevalences(run: Run, table: pd.DataFrame, config: EvaluationConfig) -> list[str]:
    """Log as `prevalences.csv` what the test split predicts for a use with other shares of label 1, and return the
    sentences about it.

    Args:
        table: the predictions, as in `log_predictions`.
    """
    if not config.prevalences:
        return []
    predictions = Predictions.from_table(table[table["split"] == "test"])
    found = {share: prevalence.at(predictions, share, config.confidence) for share in config.prevalences}
    rows = {
        share: {
            f"{column}{end}": value
            for name, (column, _, _) in _AT_PREVALENCE.items()
            for end, value in _ends(getattr(at_share, name)).items()
        }
        for share, at_share in found.items()
    }
    run.text(pd.DataFrame(rows).T.to_csv(index_label="prevalence"), "prevalences.csv")
    shown = {
        f"{share:g}": {
            column: in_words(getattr(at_share, name), form) for name, (_, column, form) in _AT_PREVALENCE.items()
        }
        for share, at_share in found.items()
    }
    printed = columns.fitted(pd.DataFrame(shown).T.rename_axis("share of label 1"))
    lines = [
        "Where label 1 is as rare as in the first column, by the test split. An alert: an image that is called 1; "
        f"missed: an image of label 1 that is called 0.\n\n{printed}\n"
    ]
    units, is_zero = influence.sampling_units(predictions), predictions.labels == 0
    zeros = len(np.unique(units.unit[is_zero]))  # images of one group may all be right together
    if zeros:
        rate = prevalence.smallest_certifiable_rate(zeros, config.confidence)
        what = "groups of test images with" if units.grouped else "test images of"
        lines.append(
            f"With {zeros:,} {what} label 0 no false-positive rate below {rate:.1%} can be certified "
            f"({config.confidence:.0%}), whatever the classifier: the rate could be so high although none was called 1."
        )
    return lines


def change(before: pd.DataFrame, after: pd.DataFrame, config: EvaluationConfig) -> list[str]:
    """Sentences on what another decision on the same logits changes in the test split, image by image.

    Args:
        before, after: the predictions, as in `log_predictions`, of the same images row by row.
    """
    test = (before["split"] == "test").to_numpy()
    first, second = (Predictions.from_table(rows[test]) for rows in (before, after))
    found = paired.compare(first, second, config.confidence, config.calibration_bins, OF_DECISIONS)
    turned = int((first.predicted != second.predicted).sum())
    lines = [f"Against the run's own decision, on the test split: {turned:,} of {len(first.labels):,} labels differ."]
    for name, d in found.items():
        if not math.isnan(d.difference):
            by = f"{d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}], p = {d.p_value:.2g} ({d.test})"
            lines.append(f"  {name} {d.a:.3f} -> {d.b:.3f}, by {by}")
    return lines


def log_confusion_matrix(run: Run, counts: binary.Confusion, name: str) -> None:
    run.picture(drawing.picture(figures.confusion_matrix, counts, name, run.name).png, f"confusion_matrix_{name}.png")
    run.json(
        {"labels": [0, 1], "rows": "true", "columns": "predicted", "matrix": counts.matrix()},
        f"confusion_matrix_{name}.json",
    )


def judge_gate(run: Run, config: GateConfig, results: dict[str, SplitMetrics]) -> bool:
    """Whether the run passes its gate, True where there is none. The verdict is logged as tags and printed."""
    if config.metric is None or config.min is None:
        return True
    metrics = {name: value for side, result in results.items() for name, value in logged_metrics(result, side).items()}
    verdict = judge(config.metric, config.min, metrics)
    tags = verdict.tags()
    run.tags(tags)
    notes.of_run(f"\nGate {tags['gate']}: {verdict.sentence}")
    return verdict.passed
