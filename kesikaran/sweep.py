"""A multirun's parent run: opened before the first job, closed whatever happens, with a table of the jobs."""

import os
import sys
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

if TYPE_CHECKING:
    import pandas as pd

_VARIED_ENV = "KESIKARAN_SWEEP_VARIES"  # as tracking.SWEEP_ENV: it reaches the jobs under every launcher


class SweepCallback(Callback):
    """Hydra's hook (conf/hydra/callbacks/sweep.yaml)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from kesikaran import paths, tracking
        from kesikaran.errors import InputError

        parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        varied = [word for word in parsed if word.is_sweep_override()]
        # What hydra.sweeper.params of an experiment varies, unless the command line says otherwise.
        keys = [word.key_or_group for word in parsed]
        preset = {key: value for key, value in (config.hydra.sweeper.params or {}).items() if key not in keys}
        words = [str(word.input_line) for word in varied] + [f"{key}={value}" for key, value in preset.items()]
        try:
            paths.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
            os.environ[tracking.SWEEP_ENV] = tracking.open_sweep(config.data.name, "sweep: " + " ".join(words))
        except InputError as error:
            # Hydra turns an exception of a callback into a warning, and the jobs would have no parent.
            sys.exit(f"error: {error}")
        os.environ[_VARIED_ENV] = " ".join(word.split("=")[0] for word in words)


def job_name(words: list[str]) -> str | None:
    """A name for the job of the given overrides: those that its sweep varies. None outside a sweep."""
    varied = os.environ.get(_VARIED_ENV, "").split()
    return " ".join(word for word in words if word.split("=")[0] in varied) or None


def close(status: str) -> None:
    """End the open sweep, if one is: print and log its table. Called by the door and not by Hydra's callback, which
    would turn a failure of it into a warning. FINISHED becomes FAILED where a job failed."""
    if "kesikaran.tracking" not in sys.modules:  # --help and the like opened nothing
        return
    from kesikaran import records, tracking

    sweep_id = tracking.open_sweep_id()
    if sweep_id is None:
        return
    del os.environ[tracking.SWEEP_ENV]
    os.environ.pop(_VARIED_ENV, None)

    with tracking.closing_sweep(sweep_id, status) as (run, jobs):
        table = summary(jobs)
        run.text(table.to_csv(index=False), "sweep.csv")
        print(f"\nSweep {sweep_id}: {len(table)} jobs, {(jobs['status'] != 'FINISHED').sum()} not finished\n")
        print(table.to_string(index=False, float_format=lambda x: f"{x:.4f}", na_rep="-"))
        if (count := splits(jobs)) > 1:
            print(
                f"\nThese jobs were scored on {count} different splits (tag split_fingerprint): "
                "their metrics are not comparable image by image."
            )
        if status == "FINISHED" and set(jobs["status"]) == {"FINISHED"}:
            from kesikaran import report

            report.cross_validation(run, jobs)
        print(f"\nLook at it:  {records.look_at(sweep_id)}")


def summary(jobs: "pd.DataFrame") -> "pd.DataFrame":
    """A row a job: what differed between the jobs, the validation metrics, the test metrics."""
    params = [c for c in jobs.columns if c.startswith("params.") and jobs[c].nunique(dropna=False) > 1]
    wanted = [f"metrics.{s}/{m}" for s in ("validation", "test") for m in ("log_loss", "roc_auc", "accuracy")]
    columns = ["run_id", "status", *params, *(m for m in wanted if m in jobs.columns)]
    return jobs[columns].rename(columns=lambda c: c.removeprefix("params.").removeprefix("metrics."))


def splits(jobs: "pd.DataFrame") -> int:
    """On how many different splits the jobs were scored that have the same `split.fold`: the folds of a
    cross-validation differ and are meant to. A job that ended before it had a split does not count."""
    if "params.split.fold" not in jobs:  # no job, or none that came as far as its params
        return 0
    return int(jobs.groupby("params.split.fold")["split_fingerprint"].nunique().max())
