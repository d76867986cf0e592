"""The predictions of runs on one split, aligned so that the runs can be compared image by image."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kesikaran.config import rules
from kesikaran.config.schema import EvaluationConfig, Rule
from kesikaran.core import errors
from kesikaran.core.errors import InputError, printable
from kesikaran.metrics.binary import Confusion
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions

FINGERPRINTS = ("split_fingerprint", "data_digest")


@dataclass(frozen=True)
class RunPredictions:
    """The predictions of a run on the images of one split.

    fingerprints: its tags of FINGERPRINTS, "unknown" where it has none. params: its settings by their dotted names.
    rows: sorted by object_id in lower case, each image once, with the columns of `predictions.parquet`.
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
    """One run of a comparison: its counts of images, and every metric with its interval."""

    run_id: str
    name: str
    fingerprints: dict[str, str]
    confusion: Confusion
    metrics: dict[str, Interval]


def run_predictions(
    run_id: str, name: str, tags: dict[str, str], params: dict[str, str], rows: pd.DataFrame, split: str
) -> RunPredictions:
    """The predictions of a run on one split.

    Args:
        params: its settings by their dotted names. rows: its predictions on all splits. split: train, validation or
            test; oof takes all rows.

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
    part = part.sort_values("object_id", ignore_index=True, key=_image)
    return RunPredictions(run_id, name, fingerprints, params, part)


def aligned(several: Sequence[RunPredictions], split: str) -> list[Predictions]:
    """The predictions of the runs on the same images, row by row, with the same groups.

    Where one run kept images together and another did not, the groups of the one hold for both, because these images
    are not independent for either.

    Raises:
        InputError: the images, their labels, their groups or their weights are not the same.
    """
    first = several[0]
    for other in several[1:]:
        need_same_images(first, other, split)
    predictions = [Predictions.from_table(run.rows) for run in several]
    # The counts of the labels are fixed for all where one run knows it: they are the same images.
    fixed = any(each.counts_fixed for each in predictions)
    predictions = [dataclasses.replace(each, counts_fixed=fixed) for each in predictions]
    predictions = _weighted(several, predictions)
    grouped = [(run, each.groups) for run, each in zip(several, predictions, strict=True) if each.groups is not None]
    if not grouped:
        return predictions
    owner, groups = grouped[0]
    by_row = pd.factorize(groups)[0]  # numbered by their first rows: two runs may name the same groups differently
    for run, others in grouped[1:]:
        if not np.array_equal(pd.factorize(others)[0], by_row):
            raise InputError(f"{owner.title} and {run.title} keep different images together: their groups differ")
    return [dataclasses.replace(each, groups=groups) for each in predictions]


def _weighted(several: Sequence[RunPredictions], predictions: list[Predictions]) -> list[Predictions]:
    """The predictions with the weights of the images, for all where one run knows them.

    Raises:
        InputError: two runs have different weights.
    """
    known = [(run, each.weights) for run, each in zip(several, predictions, strict=True) if each.weights is not None]
    for run, weights in known[1:]:
        if not np.array_equal(weights, known[0][1]):
            raise InputError(f"{known[0][0].title} and {run.title} give different weights to the images (data.weight)")
    return [dataclasses.replace(each, weights=known[0][1]) for each in predictions] if known else predictions


def group_count(predictions: Predictions) -> int | None:
    """The number of groups of images, None where each image is independent."""
    return None if predictions.groups is None else len(np.unique(predictions.groups))


def _image(object_ids: pd.Series) -> pd.Series:
    """The names by which images of two runs are the same, str [n]: their case tells nothing apart."""
    return object_ids.str.lower()


def need_same_images(a: RunPredictions, b: RunPredictions, split: str) -> None:
    """Raises InputError where two runs do not have the same images with the same labels."""
    if all(np.array_equal(a.rows[column], b.rows[column]) for column in ("object_id", "label")):
        return  # and in the same order, as the jobs of a sweep
    differ = "; ".join(
        f"{key} {a.fingerprints[key]} and {b.fingerprints[key]}"
        for key in FINGERPRINTS
        if a.fingerprints[key] != b.fingerprints[key]
    )
    differ = differ or "their fingerprints do not tell"
    left, right = (run.rows.assign(object_id=_image(run.rows["object_id"])) for run in (a, b))
    both = left.merge(right, on="object_id", how="outer", indicator=True)
    counts = both["_merge"].value_counts()
    if counts["both"] < len(both):
        raise InputError(
            f"{a.title} and {b.title} were not scored on the same {split} images: {counts['left_only']} only in the "
            f"first, {counts['right_only']} only in the second, {counts['both']} in both ({differ}). {_way_out(a, b)}"
        )
    labels = int((both["label_x"] != both["label_y"]).sum())
    if labels:
        raise InputError(
            f"{a.title} and {b.title} give different labels to {labels} of {len(both)} {split} images ({differ}). "
            "Labels were corrected between them: train the settings of the older one again on the labels of today"
        )


def _way_out(a: RunPredictions, b: RunPredictions) -> str:
    """What to do about two runs that were scored on other images."""
    if a.fingerprints["data_digest"] != b.fingerprints["data_digest"]:
        return (
            "Labels were corrected or images added between them, which moves images between the sides: train the "
            "settings of the older one again on the data of today"
        )
    return "They were split in other ways: train the settings of one again with the split of the other"


def evaluation(run: RunPredictions) -> EvaluationConfig:
    """Confidence, calibration bins and verdict of a run; the defaults where the run has no such settings.

    Raises:
        InputError: the run's params have values that no setting may have.
    """
    default = EvaluationConfig()
    given = {name: run.params.get(f"evaluation.{name}") for name in ("confidence", "calibration_bins", "verdict")}
    try:
        config = EvaluationConfig(
            confidence=default.confidence if given["confidence"] is None else float(given["confidence"]),
            calibration_bins=default.calibration_bins
            if given["calibration_bins"] is None
            else int(given["calibration_bins"]),
            verdict=given["verdict"] or default.verdict,
        )
        rules.check_evaluation(config)
    except ValueError as error:  # an InputError too
        raise InputError(f"the params of {run.title} cannot be used: {errors.first_line(error)}") from None
    return config


def evaluation_remarks(several: Sequence[RunPredictions]) -> list[str]:
    """A remark where these settings of a run are not those of the first run, which are used."""
    first, *others = several
    config = evaluation(first)
    differ = [run.title for run in others if evaluation(run) != config]
    if not differ:
        return []
    return [
        f"evaluation.confidence={config.confidence:g}, evaluation.calibration_bins={config.calibration_bins} and "
        f"evaluation.verdict={config.verdict} are those of {first.title}; {', '.join(differ)} had others."
    ]


def image_remarks(several: Sequence[RunPredictions], groups: int | None, split: str) -> list[str]:
    """Remarks on the images on which the runs are compared."""
    remarks = []
    if groups is not None:
        remarks.append(f"Images that came together are no independent evidence: the units are {groups:,} groups.")
    settings = {run.title: _grouping_setting(run.params) for run in several if "group" not in run.rows}
    untold = [f"{title} with {setting}" for title, setting in settings.items() if setting]
    if untold:
        alone = "every image counts as independent, so intervals can be too short and p-values too small"
        remarks.append(
            f"Which images were kept together is not told by {', '.join(untold)}, of an older version: "
            f"{alone if groups is None else 'the groups are those of another run'}; train again to have it told."
        )
    differ = [key for key in FINGERPRINTS if len({run.fingerprints[key] for run in several}) > 1]
    if differ:
        remarks.append(
            f"The {split} images are the same, but not the other images: {' and '.join(differ)} differ, so the "
            "training images may."
        )
    return remarks


def _grouping_setting(params: dict[str, str]) -> str | None:
    """The setting by which the split of a run keeps images together; None where each image is independent."""
    if (group := params.get("split.group", "None")) != "None":
        return f"split.group={printable(group)}"
    return "split=blocks" if params.get("split.rule") == Rule.blocks.name else None
