"""The view of a sweep finds its jobs, also those that other commands have made."""

import json

import mlflow
import pytest

from kesikaran.tracking import context, runs, sweeps, views
from kesikaran.tracking.views import View

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("count", [2, 100])
def test_reused_jobs_are_found(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with runs.run("views", "before", {}) as before:
        pass
    sweep = sweeps.open_sweep("views", "sweep")
    with monkeypatch.context() as patch:
        patch.setenv(context.SWEEP_ENV, sweep)
        with runs.run("views", "job", {}) as job:
            pass

    def found(listed: list[str]) -> set[str]:
        views.of_sweep(sweep, job.experiment_id, View(["test/accuracy"], [], False, listed))
        text = mlflow.get_experiment(job.experiment_id).tags[f"mlflow.sharedViewState.{sweep}"]
        return set(mlflow.search_runs([job.experiment_id], json.loads(text)["searchFilter"])["run_id"])

    own = {sweep, job.run_id}
    assert found([]) == own
    listed = [before.run_id, job.run_id, *(f"{number:032x}" for number in range(count - 2))]
    assert found(listed) >= own | {before.run_id}, "with more jobs than a view can name all runs are shown"
    assert len(found(listed)) == 3 or count > 2
