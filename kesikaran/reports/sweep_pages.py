"""What MLflow's pages of a sweep show beside its tables and sentences: every job's confusion matrix, the numbers of the
best job and the common settings at the parent run, and a view of the experiment with columns and an order."""

import pandas as pd

from kesikaran.analysis import sweep_summary
from kesikaran.analysis.sweep_summary import Best
from kesikaran.config import compose
from kesikaran.config.metric_names import IN_SWEEP_TABLE
from kesikaran.metrics.binary import Confusion
from kesikaran.reports import matrix_pages, page_note
from kesikaran.reports.matrix_pages import Titled
from kesikaran.tracking import queries, views
from kesikaran.tracking.open_run import Run
from kesikaran.tracking.views import View

_COUNTS = ("tn", "fp", "fn", "tp")


def log_matrices(run: Run, jobs: pd.DataFrame, best: Best | None) -> None:
    """`confusion_matrices_test.png` and `confusion_matrices_validation.png`, further pages as `..._2.png`: the matrix
    of every finished job, the best by validation first."""
    shown = page_note.in_order(jobs, best)
    order = f"sorted by validation {best.metric.words}, best first" if best else "in the order of the sweep"
    for side in ("test", "validation"):
        columns = [f"metrics.{side}/{count}" for count in _COUNTS]
        counted = shown[shown[columns].notna().all(axis=1)] if set(columns) <= set(shown) else shown[:0]
        rows = counted[columns].astype(int).to_numpy().tolist() if len(counted) else []
        matrices = [Titled(title, Confusion(*row)) for title, row in zip(page_note.titles(counted), rows, strict=True)]
        for number, png in enumerate(matrix_pages.pages(matrices, side, order), 1):
            run.png(png, f"confusion_matrices_{side}{f'_{number}' if number > 1 else ''}.png")


def log_head(run: Run, jobs: pd.DataFrame, best: Best | None, is_whole: bool) -> None:
    """The metrics of the best job that a person compares, as metrics of the sweep; and the settings that all jobs have
    in common, as its params.

    Args:
        is_whole: no job is to come. Before that nothing is known to be common, and a param of MLflow cannot change.
    """
    if best:
        names = [
            f"{side}/{name}"
            for side in ("validation", "test")
            for name in (*IN_SWEEP_TABLE, sweep_summary.verdict(jobs))
        ]
        row = jobs.loc[best.row].to_dict()
        found = {name: row.get(f"metrics.{name}") for name in sorted({*names, f"validation/{best.metric.name}"})}
        run.metrics({name: float(value) for name, value in found.items() if value is not None and pd.notna(value)})
    if is_whole:
        logged = queries.find(run.run_id).params
        names = [name.removeprefix("params.") for name in jobs.columns if name.startswith("params.")]
        common = {name: jobs[f"params.{name}"] for name in names if name not in logged}
        run.params(
            {name: str(each.iloc[0]) for name, each in common.items() if each.notna().all() and each.nunique() == 1}
        )


def share_view(run: Run, jobs: pd.DataFrame, best: Best | None) -> str:
    """Keep a view of the sweep's jobs; returns the end of its address. The metric that chooses orders them: an order by
    a test metric would be a choice on the test images."""
    verdict = sweep_summary.verdict(jobs)
    first = best.metric if best else sweep_summary.objective(jobs[jobs["status"] == "FINISHED"])
    metrics = [f"validation/{first.name}", f"test/{verdict}", *(f"test/{name}" for name in IN_SWEEP_TABLE)]
    known = [name for name in dict.fromkeys(metrics) if f"metrics.{name}" in jobs]
    params = [name for name in sweep_summary.swept(jobs) if name in compose.known_keys()]
    listed = list(jobs["run_id"].dropna()) if jobs["reused"].any() else []
    return views.of_sweep(run.run_id, run.experiment_id, View(known, params, not first.higher_is_better, listed))
