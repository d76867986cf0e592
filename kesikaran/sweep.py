"""A multirun's parent run: opened before the first job, closed whatever happens."""

import os
import sys
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

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


def job_overrides(words: list[str]) -> dict[str, str]:
    """Of a job's overrides those that its sweep varies, by name. Empty outside a sweep."""
    varied = os.environ.get(_VARIED_ENV, "").split()
    return {key: value for key, _, value in (word.partition("=") for word in words) if key in varied}


def close(status: str) -> bool:
    """End the open sweep, if one is: print and log what it says (see `closing`). Called by the door and not by Hydra's
    callback, which would turn a failure of it into a warning. FINISHED becomes FAILED where a job failed.

    Returns:
        False where a job did not pass its gate.
    """
    if "kesikaran.tracking" not in sys.modules:  # --help and the like opened nothing
        return True
    from kesikaran import tracking

    sweep_id = tracking.open_sweep_id()
    if sweep_id is None:
        return True
    del os.environ[tracking.SWEEP_ENV]
    os.environ.pop(_VARIED_ENV, None)
    with tracking.closing_sweep(sweep_id, status) as (run, jobs):
        from kesikaran import closing

        closing.say(run, jobs, whole=status == "FINISHED")
    failed = (jobs["gate"] == "failed").sum() if len(jobs) else 0
    if failed:
        print(f"\nGate failed: {failed} of {len(jobs)} jobs (tag gate, why in gate_judged)")
    return not failed
