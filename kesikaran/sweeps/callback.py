"""The parent run of a multirun: opened before the first job, closed whatever happens."""

import hashlib
import sys
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict

from kesikaran.metrics import gate
from kesikaran.reports import drawing
from kesikaran.tracking import context


class SweepCallback(Callback):
    """Hydra calls it before the jobs of a multirun start (conf/hydra/callbacks/sweep.yaml)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from kesikaran.config import compose
        from kesikaran.core import files, paths, terminal
        from kesikaran.core.errors import InputError
        from kesikaran.sweeps import job_lines
        from kesikaran.tracking import sweeps

        parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        varied = [word for word in parsed if word.is_sweep_override()]
        # The command line goes before what hydra.sweeper.params of an experiment varies.
        keys = [word.key_or_group for word in parsed]
        preset = {key: value for key, value in (config.hydra.sweeper.params or {}).items() if key not in keys}
        words = [str(word.input_line) for word in varied] + [f"{key}={value}" for key, value in preset.items()]
        try:
            for word in parsed:
                if not word.key_or_group.startswith("hydra"):  # Hydra has composed its own settings already
                    compose.need_setting(word.key_or_group)
            files.writable(paths.cache_dir(), "cache folder", "set KESIKARAN_CACHE to one that is")
            names = [word.split("=")[0] for word in words]
            compose.settle_source(config, config.hydra.overrides.task, names)
            compose.need_name(config.data.name)
            fingerprint = _fingerprint(config, words) if config.sweep.resume else None
            with terminal.sheltered():  # a parent run that is open and not entered would never be closed
                planned = _planned(config)
                sweep_id = sweeps.open_sweep(config.data.name, "sweep: " + " ".join(words), fingerprint, planned)
                context.enter_sweep(sweep_id, names)
            job_lines.print_heading(planned, config.evaluation.verdict, config.evaluation.confidence)
        except InputError as error:
            # Hydra turns an exception of a callback into a warning, and the jobs would have no parent.
            sys.exit(f"error: {error}")


def _planned(config: DictConfig) -> int | None:
    """The number of jobs of a sweep, without repetitions; None where the sweeper finds them on its way."""
    sweeper = config.hydra.sweeper
    if "max_batch_size" not in sweeper:
        return sweeper.get("n_trials")
    words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parsed = OverridesParser.create().parse_overrides([*words, *config.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return len({tuple(sorted(job)) for job in jobs})


def _fingerprint(config: DictConfig, varied: list[str]) -> str:
    """The identity of a sweep: what it varies, and what a job of it would be that varies nothing."""
    from kesikaran.config import compose
    from kesikaran.core.errors import InputError, NotInstalled
    from kesikaran.experiment.identity import Asked, code

    given = config.copy()
    with open_dict(given):
        del given["hydra"]
    try:
        base = Asked().fingerprint(compose.parse(given))
    except NotInstalled:
        raise
    except InputError:  # of settings that are yet to vary, or of data that each job will refuse
        base = f"{code()} {compose.to_yaml(given)}"
    words = [word for word in varied if not word.startswith("sweep.")]
    return hashlib.sha256("\n".join([base, config.data.name, *sorted(words)]).encode()).hexdigest()[:32]


def close(status: str) -> int:
    """End the open sweep, if there is one, and report on it (`reports.sweep_report`).

    The command calls this and not Hydra's callback, because Hydra would turn a failure into a warning.

    Args:
        status: of the parent run in MLflow. FINISHED becomes FAILED where a job failed.

    Returns:
        The exit code of the command: 0; 1 where a part of the report could not be made, which leaves the jobs and their
        parent FINISHED; else `gate.FAILED_EXIT` where a job did not pass its gate.
    """
    sweep_id = context.open_sweep_id()
    if sweep_id is None:
        return 0
    command = context.command()
    context.leave_sweep()
    drawing.stop()
    from kesikaran.core import paths
    from kesikaran.reports import notes
    from kesikaran.tracking import sweeps

    notes.forget(command)
    # Hydra's copy of the configuration, with whatever secret an address holds. MLflow has it without.
    (paths.cache_dir() / "hydra" / "multirun.yaml").unlink(missing_ok=True)

    with sweeps.closing_sweep(sweep_id, status, command) as (run, jobs):
        from kesikaran.reports import sweep_report

        reported = sweep_report.print_summary(run, jobs, whole=status == "FINISHED")
    failed = (jobs["gate"] == "failed").sum() if len(jobs) else 0
    if failed:
        print(f"\nGate failed: {failed} of {len(jobs)} jobs (tag gate, why in gate_judged)")
    return 1 if not reported else gate.FAILED_EXIT if failed else 0
