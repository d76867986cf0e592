"""What a run says: metrics, matrices, curves and predictions to the tracker, one table to the terminal."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kesikaran.analysis.wording import in_words
from kesikaran.config.schema import (
    BackboneConfig,
    DecisionConfig,
    EvaluationConfig,
    GateConfig,
    Precision,
)
from kesikaran.data import split, split_rules
from kesikaran.metrics import binary, decisions, intervals, paired, predictions, prevalence
from kesikaran.metrics.decisions import Decision
from kesikaran.metrics.gate import judge
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import figures
from kesikaran.tracking import run_store
from kesikaran.tracking.runs import Run

_IN_USE = {"precision": ".3f", "alerts": ",.0f", "missed": ",.1f"}  # of `prevalence.InUse`, and how to show them


def log_engine_deviation(run: Run, config: BackboneConfig, deviation: float | None) -> None:
    """Log and say how far another engine's features are from TensorFlow's, which the exported model computes with."""
    if deviation is None:
        return
    run.metrics({"features/largest_deviation": deviation})
    # In bfloat16 eleven of 700 ELPV labels, and a probability by up to 0.13.
    differs = config.precision is Precision.bfloat16
    print(
        f"{config.engine.name} in {config.precision.name}: its features differ from TensorFlow's by up to "
        f"{deviation:.2g} on the first images. The exported model computes with TensorFlow"
        + (" in float32: some of its labels can differ from those logged here." if differs else ".")
    )


def log_inputs(run: Run, table: pd.DataFrame, name: str, source: Path) -> None:
    """Log each split of `table` (columns object_id, label, split) as an input of the run."""
    for context, rows in table[["object_id", "label", "split"]].groupby("split", sort=False):
        run.dataset(rows, name, source, split.fingerprint(rows), str(context))


def log_decision(
    run: Run, config: DecisionConfig, decided: Decision, train_labels: np.ndarray, validation_labels: np.ndarray
) -> None:
    """Log what was decided, and say it where it is not plain."""
    run.metrics({f"decision/{name}": value for name, value in dataclasses.asdict(decided).items()})
    if said := decisions.sentence(config, decided, train_labels, validation_labels):
        print(said)


@dataclass(frozen=True)
class SplitMetrics:
    """What a split's predictions are worth: counts of images, and the metrics of `scores.score` with intervals."""

    counts: binary.Confusion
    metrics: dict[str, Interval]


def log_predictions(run: Run, predictions: pd.DataFrame, config: EvaluationConfig) -> dict[str, SplitMetrics]:
    """Score every split and log all that a finished run leaves, the model apart.

    A metric that is undefined, as ROC AUC is where a split has one class, is not logged.

    Args:
        predictions: columns object_id, split, label, logit, log_odds, probability, predicted; group where images
            came in groups. It becomes `predictions.parquet`.

    Returns:
        split -> what came out.
    """
    run.parquet(predictions, "predictions.parquet")
    results, outcomes = {}, {}
    metrics: dict[str, float] = {}
    for name in split_rules.SPLITS:
        outcomes[name] = Predictions.from_table(predictions[predictions["split"] == name])
        results[name] = split_metrics(outcomes[name], config)
        metrics |= metric_names_of(results[name], name)
        log_confusion_matrix(run, results[name].counts, name)
    run.figure(figures.roc_curves(outcomes), "roc_curve.png")
    run.figure(figures.precision_recall_curves(outcomes), "precision_recall_curve.png")
    run.metrics(metrics)
    return results


def split_metrics(outcome: predictions.Predictions, config: EvaluationConfig) -> SplitMetrics:
    found = intervals.intervals(outcome, config.confidence, config.calibration_bins)
    return SplitMetrics(binary.confusion(outcome), found)


def metric_names_of(result: SplitMetrics, side: str) -> dict[str, float]:
    """MLflow's metrics of a split: `test/accuracy`, `test/accuracy_low`, `test/accuracy_high`, ..., `test/n`."""
    found = {f"{side}/{count}": float(value) for count, value in dataclasses.asdict(result.counts).items()}
    found[f"{side}/n"] = result.counts.total
    for name, interval in result.metrics.items():
        found |= {f"{side}/{name}{end}": value for end, value in _ends(interval).items() if not math.isnan(value)}
    return found


def _ends(interval: Interval) -> dict[str, float]:
    """What is put behind a metric's name for the value and for each limit."""
    return {"": interval.value, "_low": interval.low, "_high": interval.high}


def log_prevalences(run: Run, predictions: pd.DataFrame, config: EvaluationConfig) -> list[str]:
    """Log as `prevalences.csv` what the test split says of a use with another share of label 1; returns what is to be
    said of it.

    Args:
        predictions: as `write` takes them.
    """
    if not config.prevalences:
        return []
    outcome = Predictions.from_table(predictions[predictions["split"] == "test"])
    found = {share: prevalence.at(outcome, share, config.confidence) for share in config.prevalences}
    rows = {
        share: {
            f"{name}{'' if name == 'precision' else '_per_10000'}{end}": value
            for name in _IN_USE
            for end, value in _ends(getattr(use, name)).items()
        }
        for share, use in found.items()
    }
    run.text(pd.DataFrame(rows).T.to_csv(index_label="prevalence"), "prevalences.csv")
    shown = {
        f"{share:g}": {
            f"{name}{'' if name == 'precision' else ' in 10,000'}": in_words(getattr(use, name), form)
            for name, form in _IN_USE.items()
        }
        for share, use in found.items()
    }
    table = pd.DataFrame(shown).T.rename_axis("share of label 1")
    lines = [f"Where it is used, by the test split:\n\n{table.to_string()}\n"]
    zeros = int((outcome.labels == 0).sum())
    if zeros:
        rate = prevalence.smallest_certifiable_rate(zeros, config.confidence)
        lines.append(
            f"With {zeros:,} test images of label 0 no false-positive rate below {rate:.1%} can be certified "
            f"({config.confidence:.0%}), whatever the classifier."
        )
    return lines


def change(before: pd.DataFrame, after: pd.DataFrame, config: EvaluationConfig) -> list[str]:
    """What another decision of the same logits does to the test split, image by image, to be said.

    Args:
        before, after: as `write` takes them, row by row the same images.
    """
    test = (before["split"] == "test").to_numpy()
    first, second = (Predictions.from_table(rows[test]) for rows in (before, after))
    names = ("accuracy", "balanced_accuracy")
    found = paired.compare(first, second, config.confidence, config.calibration_bins, names)
    turned = int((first.predicted != second.predicted).sum())
    lines = [f"Against the run's own decision, on the test split: {turned:,} of {len(first.labels):,} labels differ."]
    for name in names:
        d = found[name]
        if not math.isnan(d.difference):
            by = f"{d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}], p = {d.p_value:.2g} ({d.test})"
            lines.append(f"  {name} {d.a:.3f} -> {d.b:.3f}, by {by}")
    return lines


def log_confusion_matrix(run: Run, counts: binary.Confusion, name: str) -> None:
    run.figure(figures.confusion_matrix(counts, name), f"confusion_matrix_{name}.png")
    run.json(
        {"labels": [0, 1], "rows": "true", "columns": "predicted", "matrix": counts.matrix()},
        f"confusion_matrix_{name}.json",
    )


def print_summary(results: dict[str, SplitMetrics], config: EvaluationConfig, remarks: list[str], run: Run) -> None:
    """The closing table, what is to be remarked, and where to look."""
    columns = {
        name: {"n": f"{result.counts.total:,}"} | {metric: in_words(i) for metric, i in result.metrics.items()}
        for name, result in results.items()
    }
    print("\n" + pd.DataFrame(columns).to_string())
    print(f"\nIn brackets: {config.confidence:.0%} intervals, of the images. The model has seen those of train.")
    for name, result in results.items():
        if undefined := [metric for metric, interval in result.metrics.items() if math.isnan(interval.value)]:
            zeros, ones = result.counts.tn + result.counts.fp, result.counts.fn + result.counts.tp
            print(
                f"Undefined in {name}, with {zeros} images of label 0, {ones} of label 1 and "
                f"{result.counts.fp + result.counts.tp} predicted 1: {', '.join(undefined)}"
            )
    print("\n".join(["", *remarks]))
    print(f"\nRun {run.run_id}\nLook at it:  {run_store.look_at(run.run_id)}")


def judge_gate(run: Run, config: GateConfig, results: dict[str, SplitMetrics]) -> bool:
    """Judge, tag and say whether the run gets through its gate; True where there is none."""
    if config.metric is None or config.min is None:
        return True
    metrics = {name: value for side, result in results.items() for name, value in metric_names_of(result, side).items()}
    verdict = judge(config.metric, config.min, metrics)
    tags = verdict.tags()
    run.tags(tags)
    print(f"\nGate {tags['gate']}: {verdict.sentence}")
    return verdict.passed
