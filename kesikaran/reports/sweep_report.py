"""The report of a finished sweep: tables and figures go to its parent run, sentences to the terminal."""

import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import pandas as pd

from kesikaran.analysis import ranking, seed_study, selection, sweep_summary, uncertainty
from kesikaran.analysis.ranking import SweepComparison
from kesikaran.analysis.selection import MARK
from kesikaran.analysis.sweep_summary import Best
from kesikaran.analysis.wording import in_words, p_in_words, significance_level
from kesikaran.config.metric_names import METRICS, SELECTION_LOSS
from kesikaran.core import errors
from kesikaran.core.errors import printable
from kesikaran.metrics.intervals import Interval
from kesikaran.reports import (
    columns,
    cross_validation_report,
    page_note,
    repeated_splits_report,
    sweep_figures,
    sweep_pages,
    uncertainty_report,
)
from kesikaran.tracking import artifacts, queries, run_store
from kesikaran.tracking.open_run import Run

_RUN_ID_LENGTH = 8  # the first characters of a run id, which are enough for kesikaran.compare
Read = Callable[[str], pd.DataFrame]


def print_summary(run: Run, jobs: pd.DataFrame, whole: bool) -> bool:
    """Log and print the report of a sweep. The table comes before anything that is computed from predictions.

    Args:
        run: the parent of the sweep.
        jobs: the table of `tracking.queries.sweep_jobs`.
        whole: whether the sweep came to its end.

    Returns:
        False where a part of the report could not be made. The other parts were made then.
    """
    planned = max(queries.planned(queries.find(run.run_id)) or 0, len(jobs))
    unfinished = planned - int((jobs["status"] == "FINISHED").sum())
    print(f"\nSweep {run.run_id}: {sweep_summary.progress(jobs, planned)}\n")
    if jobs.empty:
        print(f"Look at it:  {run_store.look_at(run.run_id, run.experiment_id)}")
        return True
    table = sweep_summary.summary(jobs)
    best = None if uncertainty.applies(jobs) else sweep_summary.best(jobs)
    run.text(table.to_csv(index=False), "sweep.csv")
    of_seeds = seed_study.of_seeds(jobs)
    chose = best.metric.name if best and not of_seeds and len(jobs) > 1 else None
    print(columns.fitted(_shown(table, chose, sweep_summary.verdict(jobs))))
    if chose:
        print(
            f"\n{MARK} Chosen on validation: the best job, by these numbers. That of the best flatters. All: sweep.csv."
        )
    read, finished = cache(_validation_and_test), jobs[jobs["status"] == "FINISHED"]
    parts: dict[str, Callable[[], object]] = {}
    sentences: list[str] = []
    commands: list[str] = []
    if best:
        parts["comparison"] = lambda: _log_comparison(run, jobs, table, best, read, sentences)
    if chose and best:
        parts["optimism"] = lambda: print_optimism(jobs, best, read, sentences)
    parts["remarks"] = lambda: _print_remarks(jobs)
    if of_seeds:
        parts["seed spread"] = lambda: log_seed_spread(run, finished)
    if sweep_summary.over_splits(finished):
        parts["repeated splits"] = lambda: repeated_splits_report.log_repeated_splits(run, finished)
    if uncertainty.applies(jobs):
        parts["uncertainty"] = lambda: uncertainty_report.log_uncertainty(
            run, jobs, sweep_summary.verdict(jobs), sweep_summary.evaluation(jobs)[0]
        )
    if whole and not unfinished and sweep_summary.over_folds(jobs):
        parts["cross-validation"] = lambda: cross_validation_report.log_cross_validation(run, jobs, sentences, commands)
    page = run_store.page_of_run(run.run_id, run.experiment_id)
    if len(finished):
        named = None if of_seeds else best
        if best and len(finished) > 1:
            commands.append(f"kesikaran compare sweep:{run.run_id}")
        if named and jobs.loc[named.row].get("params.tracking.log_model") == "True":
            commands.append(f"kesikaran publish {jobs['run_id'][named.row]} --out classifier")
        parts |= {
            "confusion matrices": lambda: sweep_pages.log_matrices(run, jobs, named),
            "head of its page": lambda: sweep_pages.log_head(run, jobs, named, is_whole=not unfinished),
            "note": lambda: page_note.log_sweep(
                run, jobs, named, sweep_summary.progress(jobs, planned), sentences, commands
            ),
        }
        page = sweep_pages.share_view(run, jobs, best)
    made = [_made(run, name, part) for name, part in parts.items()]
    print(f"\nLook at it:  {run_store.look_at_page(page)}")
    return all(made)


def _made(run: Run, name: str, part: Callable[[], object]) -> bool:
    """Make one part of the report. What goes wrong is told in one line, and takes no other part with it."""
    try:
        part()
    except Exception as error:
        what, file = f"error: the {name} of this sweep could not be made", f"traceback_{name.replace(' ', '_')}.txt"
        written = traceback.format_exc()
        print(f"{what}: {errors.first_line(error)} ({file})", file=sys.stderr)
        with suppress(Exception):  # on a full disk the traceback has no place either, and the other parts go on
            run.text(errors.without_password(written), file)
        return False
    return True


def _validation_and_test(run_id: str) -> pd.DataFrame:
    """The predictions of a job without those of its training images, which nothing here needs."""
    rows = artifacts.predictions(run_id)
    return rows[rows["split"] != "train"]


def _log_comparison(
    run: Run, jobs: pd.DataFrame, table: pd.DataFrame, best: Best, read: Read, sentences: list[str]
) -> None:
    """The verdict on the test images, its column in `sweep.csv`, and the figures. sentences: gets those printed."""
    found = ranking.compare(run.run_id, jobs, read, "test")
    if found.names_best:
        p_values = {one.run_id: one.p_adjusted for one in found.candidates}
        run.text(table.assign(p_value_vs_best=table["run_id"].map(p_values)).to_csv(index=False), "sweep.csv")
    if found.names_best and len(found.candidates) > 1:
        print(f"\n{columns.fitted(against_best(found))}\n\n{against_best_in_words(found)}")
    said = [found.conclusion, *found.beside]
    sentences += said
    print("".join(f"\n{sentence}\n" for sentence in said), end="")
    log_figures(run, jobs, best, found)


def ranked(found: SweepComparison) -> pd.DataFrame:
    """The jobs of a comparison for the terminal, the best by validation first."""
    level = significance_level(found.confidence)
    rows = [
        {
            "job": printable(one.name),
            f"validation {found.validation_words}{MARK if found.names_best else ''}": f"{one.validation:.4f}",
            f"{found.split} {found.primary_metric}": in_words(one.primary),
        }
        for one in found.candidates
    ]
    if found.names_best:
        for row, one in zip(rows, found.candidates, strict=True):
            row["less the best's"] = in_words(one.against_best) if one.against_best else "the best"
            row["p, corrected"] = p_in_words(one.p_adjusted) if one.against_best else ""
            row[""] = "~" if one.p_adjusted > level else ""
    return pd.DataFrame(rows)


def against_best(found: SweepComparison) -> pd.DataFrame:
    """`ranked`, without the numbers that the table of the jobs has, and as narrow as may be."""
    table = ranked(found).set_index("job").rename_axis(None)
    table["p"] = table["p, corrected"] + table[""].map(lambda mark: f" {mark}".ljust(2))
    return table[["less the best's", "p"]]


def against_best_in_words(found: SweepComparison) -> str:
    """What the columns of `against_best` are."""
    words = METRICS[found.primary_metric].words
    return (
        f"less the best's: {found.split} {words} less that of the job that is best by validation. p: how often chance "
        "alone would make a difference so large (corrected by Holm). ~: cannot be told from the best."
    )


def print_optimism(jobs: pd.DataFrame, best: Best, read: Read, sentences: list[str]) -> None:
    """By how much being the best flatters the validation metric of the best job."""
    if sentence := ranking.optimism(jobs, best, read):
        sentences.append(sentence)
        print(f"\n{sentence}")


def _print_remarks(jobs: pd.DataFrame) -> None:
    """What the jobs have been compared on, and how often their split was looked at."""
    remarks = []
    if sweep_summary.compares_treatments(jobs):
        remarks.append(sweep_summary.treatments_sentence(jobs))
    if (count := sweep_summary.splits(jobs)) > 1 and not sweep_summary.over_splits(jobs):
        remarks.append(
            f"These jobs were scored on {count} different splits (tag split_fingerprint): "
            "their metrics are not comparable image by image."
        )
    fingerprints = jobs["split_fingerprint"].dropna() if "split_fingerprint" in jobs else pd.Series(dtype=str)
    if len(fingerprints):
        remarks += selection.looks(queries.finished_count(str(fingerprints.mode()[0])))
    print("".join(f"\n{remark}\n" for remark in remarks), end="")


def _shown(table: pd.DataFrame, chose: str | None, metric: str) -> pd.DataFrame:
    """The summary for the terminal, a row for each job: `sweep.csv` has every metric.

    Args:
        chose: the validation metric that has named the best job, which is marked; where none has, the ROC AUC is shown.
        metric: of the verdict, with its interval on test.
    """
    shown: dict[str, object] = {}
    if (table["status"] != "FINISHED").any():
        shown["status"] = table["status"].str.lower().replace("killed", "stopped")
    if table["reused"].any():
        shown["reused"] = table["reused"].map({True: "reused", False: ""})
    for name in table.columns[2:].drop("reused"):
        if "/" not in name:
            shown[name.rpartition(".")[2]] = table[name]
    by = chose or "roc_auc"
    if f"validation/{by}" in table:
        words = {one.name: one.words for one in (*METRICS.values(), SELECTION_LOSS)}[by]
        head = "log loss" if by == SELECTION_LOSS.name else words
        values = table[f"validation/{by}"].map("{:.4f}".format, na_action="ignore")
        shown[f"validation {head}{MARK if chose else ''}"] = values
    if f"test/{metric}" in table:
        shown[f"test {METRICS[metric].words}"] = _with_limits(table, f"test/{metric}")
    return pd.DataFrame(shown).set_axis(table["run_id"].str[:_RUN_ID_LENGTH], axis=0).rename_axis("run")


def _with_limits(table: pd.DataFrame, name: str) -> list[str]:
    ends = table.reindex(columns=[name, f"{name}_low", f"{name}_high"])
    return [in_words(Interval(*map(float, row))) for row in ends.to_numpy()]


def log_figures(run: Run, jobs: pd.DataFrame, best: Best, found: SweepComparison) -> None:
    """`sweep.png`, and `parallel_coordinates.png` where more than two settings vary."""
    metric = f"metrics.validation/{best.metric.name}"
    drawn = jobs[(jobs["status"] == "FINISHED") & jobs[metric].notna()]
    names = sweep_summary.swept(drawn)
    if len(drawn) < 2 or not names:
        return
    value, low, high = (drawn[f"{metric}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    named = [found.candidates[0].run_id] if found.names_best else []
    trials = sweep_figures.Trials(
        {name: list(drawn[f"overrides.{name}"].astype(str)) for name in names},
        f"validation {best.metric.words}",
        not best.metric.higher_is_better,
        *(value, low, high),
        best=drawn["run_id"].isin(named).to_numpy(),
        alike=drawn["run_id"].isin(found.not_distinguishable).to_numpy(),
    )
    run.figure(sweep_figures.sweep(trials), "sweep.png")
    if len(names) > 2:
        run.figure(sweep_figures.parallel_coordinates(trials), "parallel_coordinates.png")


def log_seed_spread(run: Run, jobs: pd.DataFrame) -> None:
    """Log and print the spread over seeds beside the standard error over test images."""
    spread = seed_study.seed_spread(jobs, sweep_summary.evaluation(jobs)[0])
    run.text(spread.to_csv(), "seeds.csv")
    run.metrics(
        {
            f"seeds/{metric}_{column}": float(row[column])
            for metric, row in spread.iterrows()
            for column in ("mean", "std", "standard_error")
        }
    )
    shown = pd.DataFrame(
        {
            "mean": spread["mean"].map("{:.4f}".format),
            "std of seeds": [
                f"{row['std']:.4f} [{row['std_low']:.4f}, {row['std_high']:.4f}]" for _, row in spread.iterrows()
            ],
            "standard error of images": spread["standard_error"].map("{:.4f}".format),
            "larger": spread["larger"],
        }
    ).rename_axis(None)
    images = int(jobs["metrics.test/n"].iloc[0])
    print(f"\n{len(jobs)} seeds of one setting, on {images:,} test images\n\n{columns.fitted(shown)}\n")
    print("\n".join(seed_study.seed_sentences(spread, len(jobs))))
