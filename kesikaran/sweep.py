"""A multirun's parent run: opened before the first job, closed whatever happens, with a table of the jobs."""

import os
import sys
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

if TYPE_CHECKING:
    import pandas as pd


class SweepCallback(Callback):
    """Hydra's hook (conf/hydra/callbacks/sweep.yaml)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from kesikaran import paths, tracking
        from kesikaran.errors import InputError

        try:
            paths.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
            os.environ[tracking.SWEEP_ENV] = tracking.open_sweep(config.data.name, list(config.hydra.overrides.task))
        except InputError as error:
            # Hydra turns an exception of a callback into a warning, and the jobs would have no parent.
            sys.exit(f"error: {error}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        close("FINISHED")


def close(status: str) -> None:
    """End the open sweep, if one is: print and log its table. FINISHED becomes FAILED where a job failed."""
    if "kesikaran.tracking" not in sys.modules:  # --help and the like opened nothing
        return
    from kesikaran import tracking

    sweep_id = tracking.open_sweep_id()
    if sweep_id is None:
        return
    del os.environ[tracking.SWEEP_ENV]

    table = None
    try:
        table = summary(tracking.sweep_jobs(sweep_id))
        failed = int((table["status"] != "FINISHED").sum())
        if status == "FINISHED" and failed:
            status = "FAILED"
        print(f"\nSweep {sweep_id}: {len(table)} jobs, {failed} not finished\n")
        print(table.to_string(index=False, float_format=lambda x: f"{x:.4f}", na_rep="-"))
        print(f"\nLook at it:  {tracking.store_hint()}")
    finally:
        tracking.close_sweep(sweep_id, status, table)


def summary(jobs: "pd.DataFrame") -> "pd.DataFrame":
    """A row a job: what differed between the jobs, the validation metrics, the test metrics."""
    params = [c for c in jobs.columns if c.startswith("params.") and jobs[c].nunique(dropna=False) > 1]
    wanted = [f"metrics.{s}/{m}" for s in ("validation", "test") for m in ("log_loss", "roc_auc", "accuracy")]
    columns = ["run_id", "status", *params, *(m for m in wanted if m in jobs.columns)]
    return jobs[columns].rename(columns=lambda c: c.removeprefix("params.").removeprefix("metrics."))
