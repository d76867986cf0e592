"""The sentences of a comparison: which of two runs is better, and what the best job of a sweep is worth."""

import math
from collections.abc import Sequence

from kesikaran.analysis import wording
from kesikaran.config.metric_names import METRICS, Kind
from kesikaran.core.errors import printable
from kesikaran.metrics.paired import Difference

LOSS = "log_loss"
_LISTED = 3  # jobs that a sentence names


def gain(found: Difference, metric: str) -> float:
    """By how much b is better than a: above 0 where b is the better one, whether more or less of the metric is."""
    return found.difference if METRICS[metric].higher_is_better else -found.difference


def has_beside(metric: str) -> bool:
    """Whether the log loss tells something beside a verdict in `metric`, which a loss is itself."""
    return METRICS[metric].kind is not Kind.loss


def of_pair(found: Difference, metric: str, split: str, n: int, confidence: float) -> str:
    """Which of two runs is better."""
    words, p = METRICS[metric].words, wording.p_in_words(found.p_value)
    figures = (
        f"{found.a:.3f} and {found.b:.3f}, B - A = {wording.in_words(found)}, "
        f"p {p if p.startswith('<') else f'= {p}'} ({found.test}, {n:,} {split} images)"
    )
    if math.isnan(found.p_value):
        return f"Nothing can be said of the difference in {words}: {figures}."
    if found.p_value > wording.significance_level(confidence):
        return f"The difference in {words} is within noise: {figures}."
    return f"{'B' if gain(found, metric) > 0 else 'A'} is better in {words}: {figures}."


def beside_pair(found: Difference, loss: Difference, metric: str, confidence: float) -> list[str]:
    """A sentence where two runs are alike in the verdict and differ in log loss, in the first three digits at least."""
    level = wording.significance_level(confidence)
    if (
        not has_beside(metric)
        or not found.p_value > level
        or not loss.p_value <= level
        or not _differs_as_printed(loss)
    ):
        return []
    return [
        f"Beside the verdict: {_as_well(metric, 'the two')}; the probabilities of {'B' if loss.b < loss.a else 'A'} "
        f"fit the labels better (log loss {loss.a:.3f} and {loss.b:.3f}). By the verdict that makes it no better a "
        "classifier."
    ]


def _differs_as_printed(loss: Difference) -> bool:
    """Whether the two differ in the digits that are printed."""
    return f"{loss.a:.3f}" != f"{loss.b:.3f}"


def _as_well(metric: str, who: str) -> str:
    """That `who` are alike in the verdict, in plain words."""
    does = "gets" if who.startswith("1 ") else "get"
    if metric == "accuracy":
        return f"{who} {does} as many images right, within noise"
    return f"{who} {does} as far in {METRICS[metric].words}, within noise"


def of_seeds(count: int) -> str:
    """Why no job of a sweep over seeds is the best."""
    return (
        f"These {count} jobs differ in their seed only, and none of them is named best: the lead of one seed is "
        "chance, and no setting that can be chosen."
    )


def of_one(jobs: int) -> str:
    """What a sweep with one finished job says."""
    which = "This sweep has one job" if jobs == 1 else f"One of the {jobs} jobs of this sweep finished"
    return f"{which}: there is nothing to compare it with."


def of_best(
    best: str, others: Sequence[tuple[str, Difference, float]], metric: str, split: str, images: int, confidence: float
) -> str:
    """What the best job by validation is worth against the others, on the images of `split`.

    Args:
        best: its name in a sentence, with the metric that chose it.
        others: (name, job - best in `metric`, p-value after Holm's correction) of each job that was compared.
    """
    words, level = METRICS[metric].words, wording.significance_level(confidence)
    better = [one for one in others if one[2] <= level and gain(one[1], metric) > 0]
    worse = sum(one[2] <= level and gain(one[1], metric) <= 0 for one in others)
    alike = sum(one[2] > level for one in others)
    untested = sum(math.isnan(one[2]) for one in others)
    tested = len(others) - untested
    opening = f"Judged by {words} on the {images:,} {split} images, {best},"
    if better:
        named = ", ".join(
            f"{printable(name)} ({wording.in_words(found)}, p {_equals(p_value)})"
            for name, found, p_value in better[:_LISTED]
        )
        more = f" and {len(better) - _LISTED} more" if len(better) > _LISTED else ""
        claim = f"is not the best there: it is WORSE than {_jobs(len(better), 'other')}, {named}{more}"
    elif worse:
        claim = f"is better than {_jobs(worse, 'other')}"
    elif alike:
        claim = f"is not distinguishable from {_jobs(alike, 'other')}"
    else:
        claim = f"could not be tested against {_jobs(untested, 'other')}"
    rest = {
        "is worse than it": worse if better else 0,
        "is not distinguishable from it": alike if better or worse else 0,
        "could not be tested": untested if tested else 0,
    }
    counted = ", ".join(f"{count} {_number(what, count)}" for what, count in rest.items() if count)
    holm = f" (Holm over {tested} comparison{'' if tested == 1 else 's'} at {level:.0%})" if tested else ""
    return f"{opening} {claim}{f'; {counted}' if counted else ''}{holm}."


def beside_best(others: Sequence[tuple[str, float, Difference, float]], metric: str, confidence: float) -> list[str]:
    """Sentences on jobs that are alike the best in the verdict, and differ from it in log loss, in the first three
    digits at least.

    Args:
        others: (name, p-value of the verdict, job - best in log loss, its p-value), both after Holm's correction, of
            each job that was compared.
    """
    level = wording.significance_level(confidence)
    apart = [
        (name, loss)
        for name, p_value, loss, loss_p in others
        if p_value > level and loss_p <= level and _differs_as_printed(loss)
    ]
    sentences = []
    for word in ("better", "worse"):
        which = [(name, loss) for name, loss in apart if (loss.difference < 0) == (word == "better")]
        if which:
            its, it, classifiers = (
                ("its", "it", "a classifier") if len(which) == 1 else ("their", "them", "classifiers")
            )
            named = ", ".join(f"{printable(name)} {loss.b:.3f}" for name, loss in which[:_LISTED])
            more = f" and {len(which) - _LISTED} more" if len(which) > _LISTED else ""
            sentences.append(
                f"Beside the verdict: {_as_well(metric, f'{len(which)} of the others')}, and {its} probabilities fit "
                f"the labels {word} than those of the best (log loss {named}{more} against {which[0][1].a:.3f}). By "
                f"the verdict that makes {it} no {word} {classifiers}."
            )
    return sentences


def _equals(p_value: float) -> str:
    p = wording.p_in_words(p_value)
    return p if p.startswith("<") else f"= {p}"


def _jobs(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _number(what: str, count: int) -> str:
    """`is worse` of one, `are worse` of several."""
    return what if count == 1 else what.replace("is ", "are ", 1)
