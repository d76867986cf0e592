"""Two runs against each other, image by image: what differs, and whether more than chance makes it differ."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kesikaran import influence, intervals, paired, scores
from kesikaran.config import EvaluationConfig, Rule
from kesikaran.errors import InputError, printable
from kesikaran.intervals import Interval
from kesikaran.paired import Difference
from kesikaran.scores import Confusion, Outcome

FORMAT = 1  # of the JSON
# Settled before anyone looks, so that one test is made and not eleven: its test is exact, and the images that decide it
# are the ones that can be looked at.
PRIMARY = "accuracy"
FINGERPRINTS = ("split_fingerprint", "data_digest")


@dataclass(frozen=True)
class Said:
    """What a run said of the images of one split.

    fingerprints: its tags of FINGERPRINTS, "unknown" where it has none. params: its settings, as `config.flatten` gives
    them. rows: sorted by object_id, each image once; columns as in `predictions.parquet`.
    """

    run_id: str
    name: str
    fingerprints: dict[str, str]
    params: dict[str, str]
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        return f"run {self.run_id[:8]} ({printable(self.name)})"


@dataclass(frozen=True)
class Judged:
    """A run by itself: counts of images, and every metric with its interval."""

    run_id: str
    name: str
    fingerprints: dict[str, str]
    confusion: Confusion
    metrics: dict[str, Interval]


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
    a: Judged
    b: Judged
    differences: dict[str, Difference]
    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    params: dict[str, tuple[str | None, str | None]]
    conclusion: str
    remarks: list[str]


def said(run_id: str, name: str, tags: dict[str, str], params: dict[str, str], rows: pd.DataFrame, split: str) -> Said:
    """A run's part in a comparison.

    Args:
        params: as `config.flatten` gives them. rows: its predictions. split: train, validation or test; oof takes all
            rows.

    Raises:
        InputError: no image is in the split, or one is there twice.
    """
    title = f"run {run_id} ({printable(name)})"
    part = rows if split == "oof" else rows[rows["split"] == split]
    if part.empty:
        raise InputError(f"{title} has no image in its {split} split")
    if part["object_id"].duplicated().any():
        many = "holds the folds of several settings" if split == "oof" else "names an image twice"
        raise InputError(f"the {split} predictions of {title} cannot be compared: the table {many}")
    fingerprints = {key: tags.get(key, "unknown") for key in FINGERPRINTS}
    return Said(run_id, name, fingerprints, params, part.sort_values("object_id", ignore_index=True))


def outcomes(several: Sequence[Said], split: str) -> list[Outcome]:
    """The outcomes of runs on the same images, row by row, with the same groups. Where one run kept images together
    and another did not, its groups hold for both: they are no independent evidence for either.

    Raises:
        InputError: they are not the same images, do not have the same labels, or were kept together differently.
    """
    first = several[0]
    for other in several[1:]:
        _check_same(first, other, split)
    made = [scores.of_predictions(one.rows) for one in several]
    grouped = [(one, outcome.groups) for one, outcome in zip(several, made, strict=True) if outcome.groups is not None]
    if not grouped:
        return made
    owner, groups = grouped[0]
    unit = influence.units(dataclasses.replace(made[0], groups=groups)).unit
    for one, others in grouped[1:]:
        if not np.array_equal(influence.units(dataclasses.replace(made[0], groups=others)).unit, unit):
            raise InputError(f"{owner.title} and {one.title} keep different images together: their groups differ")
    return [dataclasses.replace(outcome, groups=groups) for outcome in made]


def _check_same(a: Said, b: Said, split: str) -> None:
    differ = "; ".join(
        f"{key} {a.fingerprints[key]} and {b.fingerprints[key]}"
        for key in FINGERPRINTS
        if a.fingerprints[key] != b.fingerprints[key]
    )
    differ = differ or "their fingerprints do not tell"
    both = a.rows.merge(b.rows, on="object_id", how="outer", indicator=True)
    counts = both["_merge"].value_counts()
    if counts["both"] < len(both):
        raise InputError(
            f"{a.title} and {b.title} were not scored on the same {split} images: {counts['left_only']} only in the "
            f"first, {counts['right_only']} only in the second, {counts['both']} in both ({differ})"
        )
    labels = int((both["label_x"] != both["label_y"]).sum())
    if labels:
        raise InputError(
            f"{a.title} and {b.title} give different labels to {labels} of {len(both)} {split} images ({differ})"
        )


def pair(a: Said, b: Said, split: str) -> Pair:
    """Two runs, with the confidence and the calibration bins of a.

    Raises:
        InputError: see `outcomes`.
    """
    config = evaluation(a)
    one, two = outcomes([a, b], split)
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


def _judged(run: Said, outcome: Outcome, config: EvaluationConfig) -> Judged:
    metrics = intervals.intervals(outcome, config.confidence, config.calibration_bins)
    return Judged(run.run_id, run.name, run.fingerprints, scores.confusion(outcome), metrics)


def _conclusion(found: Difference, split: str, n: int, confidence: float) -> str:
    p = p_in_words(found.p_value)
    figures = (
        f"{found.a:.3f} and {found.b:.3f}, B - A = {in_words(found)}, "
        f"p {p if p.startswith('<') else f'= {p}'} ({found.test}, {n:,} {split} images)"
    )
    if math.isnan(found.p_value):
        return f"Nothing can be said of the difference in {PRIMARY}: {figures}."
    if found.p_value > level(confidence):
        return f"The difference in {PRIMARY} is within noise: {figures}."
    return f"{'B' if found.difference > 0 else 'A'} is better in {PRIMARY}: {figures}."


def _remarks(several: Sequence[Said], found: dict[str, Difference], groups: int | None, split: str) -> list[str]:
    remarks = [
        f"The runs are judged by {PRIMARY}, settled on beforehand. The other metrics describe: their p-values are not "
        "corrected for their number.",
        "Intervals and p-values allow for the images, not for what another training seed would change.",
    ]
    undefined = [name for name, one in found.items() if math.isnan(one.a) or math.isnan(one.b)]
    if undefined:
        remarks.append(f"Undefined on these images for one run at least: {', '.join(undefined)}.")
    return remarks + of_evaluation(several) + of_images(several, groups, split)


def evaluation(run: Said) -> EvaluationConfig:
    """With which confidence and calibration bins a run was scored; of a version before them, the defaults."""
    default = EvaluationConfig()
    return EvaluationConfig(
        confidence=float(run.params.get("evaluation.confidence", default.confidence)),
        calibration_bins=int(run.params.get("evaluation.calibration_bins", default.calibration_bins)),
    )


def of_evaluation(several: Sequence[Said]) -> list[str]:
    """What is to be remarked where runs were scored otherwise than the first, as which all are scored here."""
    first, *others = several
    config = evaluation(first)
    differ = [one.title for one in others if evaluation(one) != config]
    if not differ:
        return []
    return [
        f"evaluation.confidence={config.confidence:g} and evaluation.calibration_bins={config.calibration_bins} are "
        f"those of {first.title}; {', '.join(differ)} had others."
    ]


def of_images(several: Sequence[Said], groups: int | None, split: str) -> list[str]:
    """What is to be remarked of the images that runs were compared on."""
    remarks = []
    if groups is not None:
        remarks.append(f"Images that came together are no independent evidence: the units are {groups:,} groups.")
    kept = {one.title: _together(one.params) for one in several if "group" not in one.rows}
    untold = [f"{title} with {how}" for title, how in kept.items() if how]
    if untold:
        alone = "every image counts as independent, so intervals can be too short and p-values too small"
        remarks.append(
            f"Which images were kept together is not told by {', '.join(untold)}, of an older version: "
            f"{alone if groups is None else 'the groups are those of another run'}; train again to have it told."
        )
    differ = [key for key in FINGERPRINTS if len({one.fingerprints[key] for one in several}) > 1]
    if differ:
        remarks.append(
            f"The {split} images are the same, but not the other images: {' and '.join(differ)} differ, so the "
            "training images may."
        )
    return remarks


def _together(params: dict[str, str]) -> str | None:
    """The setting by which a run's split keeps images together; None where each stands alone."""
    if (group := params.get("split.group", "None")) != "None":
        return f"split.group={printable(group)}"
    return "split=blocks" if params.get("split.rule") == Rule.blocks.name else None


def changed(a: Said, b: Said) -> dict[str, pd.DataFrame]:
    """The images that are right in one run only, or in none, of runs on the same images.

    Returns:
        `fixed` (A wrong, B right), `broken` (A right, B wrong) and `both_wrong` -> columns object_id, label,
        probability_a, probability_b (of label 1). The surest first: by the probability that B gives to the label that
        it decided for, in `both_wrong` by the smaller of A's and B's.
    """
    right, sure = [], []
    for one in (a, b):
        outcome, probability = scores.of_predictions(one.rows), one.rows["probability"].to_numpy()
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


def level(confidence: float) -> float:
    """The p-value up to which a difference counts: 0.05 at a confidence of 0.95."""
    return round(1 - confidence, 12)


def p_in_words(p_value: float) -> str:
    """`0.031`, `< 0.0001`; `-` where it is undefined."""
    if math.isnan(p_value):
        return "-"
    return f"{p_value:.2g}" if p_value >= 0.0001 else "< 0.0001"


def in_words(found: Interval | Difference, form: str = ".3f") -> str:
    """`0.853 [0.787, 0.902]`, `+0.040 [-0.010, +0.091]` of a difference; `-` where it is undefined."""
    value = found.difference if isinstance(found, Difference) else found.value
    form = f"+{form}" if isinstance(found, Difference) else form
    if math.isnan(value):
        return "-"
    return f"{value:{form}}" + ("" if math.isnan(found.low) else f" [{found.low:{form}}, {found.high:{form}}]")


def as_json(found: Any) -> dict[str, Any]:
    """All of a dataclass, with `format` and `kind`; NaN becomes None."""
    return {"format": FORMAT, "kind": type(found).__name__.lower()} | _plain(dataclasses.asdict(found))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
