"""What a run prints when it is done: a headline, a small table, warnings, where to look; or everything."""

import math
from dataclasses import dataclass, field

import pandas as pd

from kesikaran.analysis import selection
from kesikaran.analysis.selection import MARK
from kesikaran.analysis.wording import in_words
from kesikaran.config.schema import EvaluationConfig, Report
from kesikaran.reports import columns, notes
from kesikaran.reports.run_report import SplitMetrics
from kesikaran.tracking import context, run_store
from kesikaran.tracking.open_run import Run

# The metrics of the small table, each with what it says of a classifier.
_SHORT = {
    "accuracy": "right answers",
    "recall": "label 1 found",
    "precision": "right when it says 1",
    "roc_auc": "ranks 1 above 0",
    "f1": "recall with precision",
}
_SIDES = ("test", "validation", "train")


@dataclass
class Remarks:
    """The sentences below the tables.

    warnings: for each report. details: for the full report alone. of_data: warnings on what the jobs of a sweep have in
    common, by kind; a sweep prints one of each kind.
    """

    warnings: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    of_data: dict[str, str] = field(default_factory=dict)


def print_report(
    results: dict[str, SplitMetrics], config: EvaluationConfig, remarks: Remarks, run: Run, chosen: list[str]
) -> None:
    """Print the report of a run. Of a job of a sweep, which has one line of its own, only what is new about the data.

    Args:
        results: split -> its metrics. chosen: what was chosen on validation, whose numbers are then marked.
    """
    is_full = config.report is Report.full
    if context.open_sweep_id() and not is_full:
        for kind, sentence in remarks.of_data.items():
            notes.of_data(sentence, kind)
        return
    print(f"\n{headline(results, config)}\n")
    shown = _full(results) if is_full else _short(results)
    marked = {side: f"{side}{MARK if side == 'validation' and chosen else ''}" for side in _SIDES}
    print(columns.fitted(shown.rename(columns=marked)))
    print(f"\nIn brackets: where the number may lie, by these images ({config.confidence:.0%} interval).")
    lines = selection.mark_sentence(chosen)
    if is_full:
        fixed = [side for side, result in results.items() if result.counts_fixed]
        counts = f" The split fixed the counts of labels in {' and '.join(fixed)}." if fixed else ""
        lines += [f"The model has seen the images of train.{counts}"]
    print("".join(f"{line}\n" for line in [*lines, *_undefined(results, shown)]), end="")
    below = [*(remarks.details if is_full else []), *remarks.of_data.values(), *remarks.warnings]
    print("".join(f"\n{sentence}" for sentence in below))
    if not is_full:
        print("Every metric is in MLflow, and here with evaluation.report=full.")
    print(f"\nRun {run.run_id}\nLook at it:  {run_store.look_at(run.run_id, run.experiment_id)}")


def headline(results: dict[str, SplitMetrics], config: EvaluationConfig) -> str:
    """How many test images are judged rightly, in numbers of 100, and how many without looking at them."""
    test, train = results["test"].counts, results["train"].counts
    accuracy, total = results["test"].metrics["accuracy"], test.total
    commoner = int(train.fn + train.tp > train.tn + train.fp)
    always = (test.fn + test.tp if commoner else test.tn + test.fp) / total
    value, low, high = (f"{100 * share:.0f}" for share in (accuracy.value, accuracy.low, accuracy.high))
    return (
        f"Of 100 test images it gets {value} right ({low} to {high}; {config.confidence:.0%} interval of {total:,} "
        "images).\n"
        f"Always saying {commoner}, the commoner label in training, would get {100 * always:.0f} right."
    )


def _short(results: dict[str, SplitMetrics]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            side: {f"{name:9}  ({what})": in_words(results[side].metrics[name]) for name, what in _SHORT.items()}
            for side in ("test", "validation")
        }
    )


def _full(results: dict[str, SplitMetrics]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            side: {"n": f"{results[side].counts.total:,}"}
            | {metric: in_words(found) for metric, found in results[side].metrics.items()}
            for side in _SIDES
        }
    )


def _undefined(results: dict[str, SplitMetrics], shown: pd.DataFrame) -> list[str]:
    """A sentence for each split on the shown metrics that cannot be computed there."""
    rows = {str(row).split(" ")[0] for row in shown.index}
    lines = []
    for side in shown.columns:
        counts, metrics = results[side].counts, results[side].metrics
        if names := [name for name in metrics if name in rows and math.isnan(metrics[name].value)]:
            lines.append(
                f"Undefined in {side}, with {counts.tn + counts.fp} images of label 0, {counts.fn + counts.tp} of "
                f"label 1 and {counts.fp + counts.tp} predicted 1: {', '.join(names)}"
            )
    return lines
