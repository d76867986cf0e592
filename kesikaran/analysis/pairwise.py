"""Two runs against each other, image by image: what differs, and whether chance explains the difference."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kesikaran.analysis import run_predictions, wording
from kesikaran.analysis.run_predictions import RunMetrics, RunPredictions
from kesikaran.config.metric_names import PRIMARY
from kesikaran.config.schema import EvaluationConfig
from kesikaran.metrics import binary, intervals, paired
from kesikaran.metrics.paired import Difference
from kesikaran.metrics.predictions import Predictions

FORMAT = 1  # of the JSON


@dataclass(frozen=True)
class Pair:
    """Two runs on the same n images, `ones` of them of label 1. groups: how many groups the images came in, None where
    each stands alone. differences: b - a. The four counts are of images. params: setting -> its value in a and in b,
    of those that differ."""

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
    """Two runs, with the confidence and the calibration bins of a.

    Raises:
        InputError: see `outcomes`.
    """
    config = run_predictions.evaluation(a)
    one, two = run_predictions.aligned([a, b], split)
    found = paired.compare(one, two, config.confidence, config.calibration_bins)
    right_a, right_b = (outcome.predicted == outcome.labels for outcome in (one, two))
    groups = None if one.groups is None else len(np.unique(one.groups))
    keys = [key for key in a.params | b.params if not key.startswith("tracking.")]
    return Pair(
        split=split,
        n=len(one.labels),
        ones=int(one.labels.sum()),
        groups=groups,
        confidence=config.confidence,
        calibration_bins=config.calibration_bins,
        primary_metric=PRIMARY,
        a=_judged(a, one, config),
        b=_judged(b, two, config),
        differences=found,
        both_right=int((right_a & right_b).sum()),
        only_a_right=int((right_a & ~right_b).sum()),
        only_b_right=int((~right_a & right_b).sum()),
        both_wrong=int((~right_a & ~right_b).sum()),
        params={k: (a.params.get(k), b.params.get(k)) for k in keys if a.params.get(k) != b.params.get(k)},
        conclusion=_conclusion(found[PRIMARY], split, len(one.labels), config.confidence),
        remarks=_remarks([a, b], found, groups, split),
    )


def _judged(run: RunPredictions, outcome: Predictions, config: EvaluationConfig) -> RunMetrics:
    metrics = intervals.intervals(outcome, config.confidence, config.calibration_bins)
    return RunMetrics(run.run_id, run.name, run.fingerprints, binary.confusion(outcome), metrics)


def _conclusion(found: Difference, split: str, n: int, confidence: float) -> str:
    p = wording.p_in_words(found.p_value)
    figures = (
        f"{found.a:.3f} and {found.b:.3f}, B - A = {wording.in_words(found)}, "
        f"p {p if p.startswith('<') else f'= {p}'} ({found.test}, {n:,} {split} images)"
    )
    if math.isnan(found.p_value):
        return f"Nothing can be said of the difference in {PRIMARY}: {figures}."
    if found.p_value > wording.significance_level(confidence):
        return f"The difference in {PRIMARY} is within noise: {figures}."
    return f"{'B' if found.difference > 0 else 'A'} is better in {PRIMARY}: {figures}."


def _remarks(
    several: Sequence[RunPredictions], found: dict[str, Difference], groups: int | None, split: str
) -> list[str]:
    remarks = [
        f"The runs are judged by {PRIMARY}, settled on beforehand. The other metrics describe: their p-values are not "
        "corrected for their number.",
        "Intervals and p-values allow for the images, not for what another training seed would change.",
    ]
    undefined = [name for name, one in found.items() if math.isnan(one.a) or math.isnan(one.b)]
    if undefined:
        remarks.append(f"Undefined on these images for one run at least: {', '.join(undefined)}.")
    return remarks + run_predictions.evaluation_remarks(several) + run_predictions.image_remarks(several, groups, split)


def changed(a: RunPredictions, b: RunPredictions) -> dict[str, pd.DataFrame]:
    """The images that are right in one run only, or in none, of runs on the same images.

    Returns:
        `fixed` (A wrong, B right), `broken` (A right, B wrong) and `both_wrong` -> columns object_id, label,
        probability_a, probability_b (of label 1). The surest first: by the probability that B gives to the label that
        it decided for, in `both_wrong` by the smaller of A's and B's.
    """
    right, sure = [], []
    for one in (a, b):
        outcome, probability = Predictions.from_table(one.rows), one.rows["probability"].to_numpy()
        right.append(outcome.predicted == outcome.labels)
        sure.append(np.where(outcome.predicted == 1, probability, 1 - probability))
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
    """All of a dataclass, with `format` and `kind`; NaN becomes None."""
    return {"format": FORMAT, "kind": type(found).__name__.lower()} | _plain(dataclasses.asdict(found))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
