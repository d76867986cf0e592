"""The predictions of a run on one split, lined up with those of other runs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kesikaran.config.schema import EvaluationConfig, Rule
from kesikaran.core.errors import InputError, printable
from kesikaran.metrics import influence
from kesikaran.metrics.binary import Confusion
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions

FINGERPRINTS = ("split_fingerprint", "data_digest")


@dataclass(frozen=True)
class RunPredictions:
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
class RunMetrics:
    """A run by itself: counts of images, and every metric with its interval."""

    run_id: str
    name: str
    fingerprints: dict[str, str]
    confusion: Confusion
    metrics: dict[str, Interval]


def run_predictions(
    run_id: str, name: str, tags: dict[str, str], params: dict[str, str], rows: pd.DataFrame, split: str
) -> RunPredictions:
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
    return RunPredictions(run_id, name, fingerprints, params, part.sort_values("object_id", ignore_index=True))


def aligned(several: Sequence[RunPredictions], split: str) -> list[Predictions]:
    """The outcomes of runs on the same images, row by row, with the same groups. Where one run kept images together
    and another did not, its groups hold for both: they are no independent evidence for either.

    Raises:
        InputError: they are not the same images, do not have the same labels, or were kept together differently.
    """
    first = several[0]
    for other in several[1:]:
        _check_same(first, other, split)
    made = [Predictions.from_table(one.rows) for one in several]
    grouped = [(one, outcome.groups) for one, outcome in zip(several, made, strict=True) if outcome.groups is not None]
    if not grouped:
        return made
    owner, groups = grouped[0]
    unit = influence.sampling_units(dataclasses.replace(made[0], groups=groups)).unit
    for one, others in grouped[1:]:
        if not np.array_equal(influence.sampling_units(dataclasses.replace(made[0], groups=others)).unit, unit):
            raise InputError(f"{owner.title} and {one.title} keep different images together: their groups differ")
    return [dataclasses.replace(outcome, groups=groups) for outcome in made]


def _check_same(a: RunPredictions, b: RunPredictions, split: str) -> None:
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


def evaluation(run: RunPredictions) -> EvaluationConfig:
    """With which confidence and calibration bins a run was scored; of a version before them, the defaults."""
    default = EvaluationConfig()
    return EvaluationConfig(
        confidence=float(run.params.get("evaluation.confidence", default.confidence)),
        calibration_bins=int(run.params.get("evaluation.calibration_bins", default.calibration_bins)),
    )


def evaluation_remarks(several: Sequence[RunPredictions]) -> list[str]:
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


def image_remarks(several: Sequence[RunPredictions], groups: int | None, split: str) -> list[str]:
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
