"""What the page of a run, and that of a sweep, says first in MLflow: its note, in Markdown."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kesikaran.analysis import selection, sweep_summary
from kesikaran.analysis.sweep_summary import Best
from kesikaran.analysis.wording import in_words
from kesikaran.config import run_name
from kesikaran.config.metric_names import METRICS
from kesikaran.config.schema import Experiment
from kesikaran.metrics.intervals import Interval
from kesikaran.reports.run_report import SplitMetrics
from kesikaran.tracking.open_run import Run

_OF_RUN = ("accuracy", "recall", "precision", "roc_auc", "f1", "log_loss")
_TOP = 20  # jobs of a sweep's table
_TITLE = 70  # characters of a job's name in it


def log_run(
    run: Run, e: Experiment, results: Mapping[str, SplitMetrics], remarks: Sequence[str], chosen: list[str]
) -> None:
    """The note of a run: its headline, its data, what differs from the defaults, and what there is to know about it.

    Args:
        results: split -> its metrics. remarks: sentences; one of several lines is a table, and is left out. chosen:
            what was chosen on validation.
    """
    test, verdict = results["test"], e.evaluation.verdict
    names = dict.fromkeys((verdict, *_OF_RUN))
    mark = selection.MARK if chosen else ""
    rows = [
        [METRICS[name].words, *(in_words(results[side].metrics[name]) for side in results)]
        for name in names
        if name in test.metrics and not math.isnan(test.metrics[name].value)
    ]
    counts = {side: f"{result.counts.total:,} {side}" for side, result in results.items()}
    ones = test.counts.fn + test.counts.tp
    sides = [f"{side}\\{mark}" if side == "validation" and mark else side for side in results]
    differs = run_name.differences(e)
    told = [remark for remark in (*selection.mark_sentence(chosen), *remarks) if remark and "\n" not in remark]
    run.note(
        "\n\n".join(
            [
                f"**{METRICS[verdict].words} {in_words(test.metrics[verdict])} on {test.counts.total:,} test images** "
                f"({e.evaluation.confidence:.0%} interval)",
                _table(["", *sides], rows),
                f"Data: {_code(e.data.name)}, {', '.join(counts.values())}; {ones:,} of the test images have label 1.",
                f"Differs from the defaults: {' '.join(map(_code, differs)) or 'nothing'}",
                "\n".join(f"- {_plain(remark)}" for remark in told),
            ]
        )
    )


def log_sweep(
    run: Run, jobs: pd.DataFrame, best: Best | None, progress: str, sentences: Sequence[str], commands: Sequence[str]
) -> None:
    """The note of a sweep: its table, its sentences, and the commands to go on.

    Args:
        jobs: the table of `tracking.queries.sweep_jobs`. progress: how far it has come. sentences: its verdict.
        commands: by which one can go on.
    """
    verdict = sweep_summary.verdict(jobs)
    shown = in_order(jobs, best)
    columns = [("test", verdict), *(("test", name) for name in ("roc_auc", "log_loss") if name != verdict)]
    first = [("validation", best.metric.name)] if best else []
    known = [(side, name) for side, name in (*first, *columns) if f"metrics.{side}/{name}" in shown]
    rows = [
        [_code(short(title)), *("-" if pd.isna(job["run_id"]) else _value(job, side, name) for side, name in known)]
        for title, job in zip(titles(shown), shown.head(_TOP).to_dict("records"), strict=False)
    ]
    heads = [f"{side} {METRICS[name].words if name in METRICS else best and best.metric.words}" for side, name in known]
    more = [f"... and {len(shown) - _TOP} more: sweep.csv among the artifacts."] if len(shown) > _TOP else []
    order = [f"Sorted by {heads[0]}, best first: it has chosen the best, and flatters it."] if best and rows else []
    run.note(
        "\n\n".join(
            [
                f"**{progress}**",
                *(_plain(sentence) for sentence in sentences),
                _table(["job", *heads], rows) if known else "",
                *more,
                *order,
                "Every job's confusion matrix: confusion_matrices_test.png, among the artifacts."
                + (" To go on:" if commands else ""),
                "\n".join(f"    {line}" for line in commands),
            ]
        )
    )


def in_order(jobs: pd.DataFrame, best: Best | None) -> pd.DataFrame:
    """The finished jobs: the best by validation first; in the order of the sweep where none is the best."""
    finished = jobs[jobs["status"] == "FINISHED"]
    if best is None:
        return finished
    values = sweep_summary.objective_values(finished, best.metric.name)
    return finished.loc[values.sort_values(ascending=not best.metric.higher_is_better, kind="stable").index]


def titles(jobs: pd.DataFrame) -> list[str]:
    """What differs in each job; its name where nothing does."""
    return [sweep_summary.setting(jobs, int(row)) or str(jobs.loc[row, "name"]) for row in jobs.index]


def short(text: str) -> str:
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"


def _value(job: Mapping[object, object], side: str, name: str) -> str:
    ends = [job.get(f"metrics.{side}/{name}{end}", math.nan) for end in ("", "_low", "_high")]
    value, low, high = (float(end) for end in ends if isinstance(end, float | int))
    return f"{value:.4f}" if side == "validation" else in_words(Interval(value, low, high))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    kept = text.replace("`", "'").replace("|", "\\|")
    return f"`{kept}`"


def _plain(sentence: str) -> str:
    """A sentence in which nothing is Markdown."""
    return "".join(f"\\{c}" if c in "*_`<>[]|#" else c for c in sentence)
