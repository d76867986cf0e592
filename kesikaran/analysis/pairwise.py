"""The comparison of two runs on the same images: what differs, and whether chance explains the difference."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from kesikaran.analysis import run_predictions, selection, verdict
from kesikaran.analysis.run_predictions import RunMetrics, RunPredictions
from kesikaran.analysis.selection import MARK
from kesikaran.config.metric_names import METRICS
from kesikaran.config.schema import EvaluationConfig
from kesikaran.metrics import binary, intervals, paired
from kesikaran.metrics.paired import Difference
from kesikaran.metrics.predictions import Predictions

FORMAT = 1  # of the JSON


@dataclass(frozen=True)
class Pair:
    """Two runs on the same n images, of which `ones` have label 1.

    groups: the number of groups of images, None where each image is independent. differences: metric -> b - a.
    both_right, only_a_right, only_b_right, both_wrong: counts of images. params: setting -> its value in a and in b,
    for the settings that differ.
    """

    kind: ClassVar[str] = "pair"  # in the JSON

    split: str
    n: int
    ones: int
    groups: int | None
    confidence: float
    calibration_bins: int
    primary_metric: str
    a: RunMetrics
    b: RunMetrics
    differences: dict[str, Difference]
    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    params: dict[str, tuple[str | None, str | None]]
    conclusion: str
    remarks: list[str]


def compare(a: RunPredictions, b: RunPredictions, split: str) -> Pair:
    """Compare two runs, with the confidence and the calibration bins of a.

    Raises:
        InputError: see `run_predictions.aligned`.
    """
    config = run_predictions.evaluation(a)
    predictions_a, predictions_b = run_predictions.aligned([a, b], split)
    found = paired.compare(predictions_a, predictions_b, config.confidence, config.calibration_bins)
    right_a, right_b = (each.predicted == each.labels for each in (predictions_a, predictions_b))
    n, groups = len(predictions_a.labels), run_predictions.group_count(predictions_a)
    return Pair(
        split=split,
        n=n,
        ones=int(predictions_a.labels.sum()),
        groups=groups,
        confidence=config.confidence,
        calibration_bins=config.calibration_bins,
        primary_metric=config.verdict,
        a=_run_metrics(a, predictions_a, config),
        b=_run_metrics(b, predictions_b, config),
        differences=found,
        both_right=int((right_a & right_b).sum()),
        only_a_right=int((right_a & ~right_b).sum()),
        only_b_right=int((~right_a & right_b).sum()),
        both_wrong=int((~right_a & ~right_b).sum()),
        params=_differing_params(a.params, b.params),
        conclusion=_same(predictions_a, predictions_b, split)
        or verdict.of_pair(found[config.verdict], config.verdict, split, n, config.confidence),
        remarks=_remarks([a, b], found, config, groups, split),
    )


def _run_metrics(run: RunPredictions, predictions: Predictions, config: EvaluationConfig) -> RunMetrics:
    metrics = intervals.intervals(predictions, config.confidence, config.calibration_bins)
    return RunMetrics(run.run_id, run.name, run.fingerprints, binary.confusion(predictions), metrics)


def _differing_params(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    keys = [key for key in a | b if not key.startswith(("tracking.", "sweep."))]
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def _same(a: Predictions, b: Predictions, split: str) -> str | None:
    """The conclusion where a and b do not differ at all. Equal labels of different log-odds are no such case."""
    if not (np.array_equal(a.logits, b.logits) and np.array_equal(a.predicted, b.predicted)):
        return None
    return f"A and B predict the same: log-odds and label are equal on all {len(a.labels):,} {split} images."


def _remarks(
    several: Sequence[RunPredictions],
    found: dict[str, Difference],
    config: EvaluationConfig,
    groups: int | None,
    split: str,
) -> list[str]:
    remarks = [
        *verdict.beside_pair(found[config.verdict], found[verdict.LOSS], config.verdict, config.confidence),
        *(_flattered(several) if split == "validation" else []),
        f"The runs are judged by {METRICS[config.verdict].words} (evaluation.verdict), settled on beforehand. The "
        "other metrics describe: their p-values are not corrected for their number.",
        "Intervals and p-values allow for the images, not for what another training seed would change.",
    ]
    undefined = [name for name, each in found.items() if math.isnan(each.a) or math.isnan(each.b)]
    if undefined:
        remarks.append(f"Undefined on these images for one run at least: {', '.join(undefined)}.")
    return remarks + run_predictions.evaluation_remarks(several) + run_predictions.image_remarks(several, groups, split)


def _flattered(several: Sequence[RunPredictions]) -> list[str]:
    """What the runs have chosen on their validation images."""
    chosen = {run.title: selection.chosen_on_validation(run.params) for run in several}
    told = [f"the {' and the '.join(choices)} of {title}" for title, choices in chosen.items() if choices]
    return [f"{MARK} Chosen on these images: {'; '.join(told)}. Their numbers flatter."] if told else []


def changed(a: RunPredictions, b: RunPredictions) -> dict[str, pd.DataFrame]:
    """The images that one run alone, or neither run, predicts rightly. Both runs have the same images.

    Returns:
        `fixed` (A wrong, B right), `broken` (A right, B wrong) and `both_wrong` -> columns object_id, label,
        probability_a, probability_b (of label 1). The rows are sorted by the probability that B gives to its predicted
        label, in `both_wrong` by the smaller of A's and B's, the highest first.
    """
    right, sure = [], []
    for run in (a, b):
        predictions, probability = Predictions.from_table(run.rows), run.rows["probability"].to_numpy()
        right.append(predictions.predicted == predictions.labels)
        sure.append(np.where(predictions.predicted == 1, probability, 1 - probability))
    table = a.rows[["object_id", "label"]].assign(
        probability_a=a.rows["probability"], probability_b=b.rows["probability"].to_numpy()
    )
    parts = {
        "fixed": (~right[0] & right[1], sure[1]),
        "broken": (right[0] & ~right[1], sure[1]),
        "both_wrong": (~right[0] & ~right[1], np.minimum(*sure)),
    }
    return {
        name: table.assign(sure=by)[which]
        .sort_values(["sure", "object_id"], ascending=[False, True])
        .drop(columns="sure")
        for name, (which, by) in parts.items()
    }


def as_json(found: Any) -> dict[str, Any]:
    """A `Pair` or a `SweepComparison` as a JSON object, with `format` and `kind`. NaN and infinity become None."""
    return {"format": FORMAT, "kind": found.kind} | _plain(dataclasses.asdict(found))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
