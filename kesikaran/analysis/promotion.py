"""Whether a run may take the place of another one: that it is better, or not worse by a stated margin."""

import math
from dataclasses import dataclass

from kesikaran.analysis import run_predictions, verdict
from kesikaran.analysis.run_predictions import RunPredictions
from kesikaran.config.metric_names import METRICS, Kind
from kesikaran.core.errors import InputError, printable
from kesikaran.metrics import paired

SPLIT = "test"
MARGIN = 0.02
"""The margin where none is given, in metrics that are shares or areas between 0 and 1."""

MOST_MARGIN = 0.1  # a champion of accuracy 0.9 would be given up for one that makes twice the mistakes
_JUDGES = tuple(name for name, metric in METRICS.items() if metric.kind is not Kind.calibration)


@dataclass(frozen=True)
class Judgement:
    """A new run against an old one on the same n test images.

    old, new: the metric of each. gain: by how much the new one is better, above 0 also where less of the metric is
    better; low, high: its two-sided interval at `confidence`. NaNs where it is undefined. groups: the number of groups
    of images, None where each image is independent.
    """

    metric: str
    margin: float
    confidence: float
    n: int
    groups: int | None
    old: float
    new: float
    gain: float
    low: float
    high: float
    remarks: list[str]

    @property
    def is_better(self) -> bool:
        return self.low > 0

    @property
    def passes(self) -> bool:
        """Whether the new run is better, or not worse by the margin."""
        return self.low > -self.margin


def judge(
    old: RunPredictions, new: RunPredictions, metric: str | None = None, margin: float | None = None
) -> Judgement:
    """Judge whether `new` may take the place of `old`.

    It may where the lower end of the interval of its gain is above -margin: then it is not inferior by the margin
    (Blackwelder 1982, "Proving the null hypothesis" in clinical trials, Controlled Clinical Trials 3; guideline ICH
    E9, 1998, 3.3.2). With a margin of 0 it must be better. The interval is the paired one of `paired.compare`,
    two-sided: at a confidence of 0.95 its lower end alone is a one-sided test at 2.5 %. That is the conservative form,
    since 5 % would do for one side. The confidence is the higher one of what the two runs have
    (`evaluation.confidence`), so that no run eases its own judgement.

    Args:
        metric: None: the verdict of both runs (`evaluation.verdict`). margin: None: MARGIN, where that has a meaning.

    Raises:
        InputError: the runs were not scored on the same images, they have different verdicts, or the metric or the
            margin cannot judge.
    """
    metric = _metric(old, new, metric)
    margin = _margin(metric, margin)
    confidence = max(run_predictions.evaluation(run).confidence for run in (old, new))
    before, after = run_predictions.aligned([old, new], SPLIT)
    differences = paired.compare(before, after, confidence, metrics=(metric,))
    if metric not in differences:
        raise InputError(f"{metric} is not defined for these runs: it needs the weights of the images (data.weight)")
    found, groups = differences[metric], run_predictions.group_count(before)
    limits = (found.low, found.high) if METRICS[metric].higher_is_better else (-found.high, -found.low)
    return Judgement(
        metric=metric,
        margin=margin,
        confidence=confidence,
        n=len(before.labels),
        groups=groups,
        old=found.a,
        new=found.b,
        gain=verdict.gain(found, metric),
        low=limits[0],
        high=limits[1],
        remarks=run_predictions.image_remarks([old, new], groups, SPLIT),
    )


def _metric(old: RunPredictions, new: RunPredictions, given: str | None) -> str:
    verdicts = {run.title: run_predictions.evaluation(run).verdict for run in (old, new)}
    if given is None and len(set(verdicts.values())) > 1:
        told = " and ".join(f"{verdict} of {title}" for title, verdict in verdicts.items())
        raise InputError(f"the runs were to be judged by different metrics (evaluation.verdict): {told}; give --metric")
    metric = given or verdicts[new.title]
    if metric not in _JUDGES:
        raise InputError(
            f"{printable(metric)} cannot judge a promotion; give --metric with one of {', '.join(_JUDGES)}"
        )
    return metric


def _margin(metric: str, given: float | None) -> float:
    if given is None:
        if METRICS[metric].kind is Kind.loss:
            raise InputError(
                f"{MARGIN:g} says nothing of a {METRICS[metric].words}: give --margin in its own unit, 0 for really "
                "better, or --metric accuracy"
            )
        return MARGIN
    if not 0 <= given <= MOST_MARGIN:
        raise InputError(f"--margin {given:g} is not allowed: 0 (must be better) to {MOST_MARGIN:g}")
    return given


def figures(found: Judgement) -> str:
    """The two metrics and their difference in one sentence."""
    words, images = METRICS[found.metric].words, f"{found.n:,} {SPLIT} images"
    lower = "" if METRICS[found.metric].higher_is_better else " (less is better)"
    if math.isnan(found.low):
        return f"On the {images} the difference in {words} has no interval: new {found.new:.3f}, old {found.old:.3f}."
    return (
        f"On the {images} the new run has {words} {found.new:.3f}, the old one {found.old:.3f}{lower}: a gain of "
        f"{found.gain:+.3f} [{found.low:+.3f}, {found.high:+.3f}] ({100 * found.confidence:g} % interval, "
        "image by image)."
    )


def reason(found: Judgement) -> str:
    """Why the new run takes the place, or does not and what would be needed, in two sentences at most."""
    if math.isnan(found.low):
        return "Nothing can be said of it; other test images, or another --metric, would be needed."
    if found.is_better:
        return "The lower end is above 0: the new run is really better."
    end = f"The lower end, {found.low:+.3f}, is"
    if found.passes:
        once = f"{50 * (1 - found.confidence):g}"
        return (
            f"{end} above -{found.margin:g}: the new run is at most {found.margin:g} worse. The interval is two-sided, "
            f"the conservative form: a run that is {found.margin:g} worse passes about {once} times in 100."
        )
    claim = f"at most {found.margin:g} worse" if found.margin else "better"
    return f"{end} not above {_below(found.margin)}: that the new run is {claim} is not shown. {_needed(found)}"


def _below(margin: float) -> str:
    return f"-{margin:g}" if margin else "0"


def _needed(found: Judgement) -> str:
    """What would be needed: the interval keeps its width here, and is half as wide on four times as many images."""
    half_width = found.gain - found.low
    least = f"a gain of {half_width - found.margin:+.3f} on these images"
    if found.gain <= -found.margin:
        return f"A better run would be needed ({least}); more test images would not help this one."
    images = found.n * (half_width / (found.gain + found.margin)) ** 2
    return f"Needed would be {least} or, with the gain that it has, about {_about(images)} test images."


def _about(images: float) -> str:
    """Two digits, rounded up: 1234 -> 1,300."""
    step = 10 ** max(0, math.floor(math.log10(images)) - 1)
    return f"{math.ceil(images / step) * step:,}"
