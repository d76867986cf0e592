"""`kesikaran train`: Hydra composes the configuration of each job, `experiment.job` runs the job.

Nothing heavy is imported before a job starts, so that --help and TAB answer at once.
"""

import gc
import sys
import time

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kesikaran.cli import door, from_run
from kesikaran.config import compose, idle, schema, settings_help
from kesikaran.core import errors, paths, process, terminal
from kesikaran.core.errors import InputError, StoreGone
from kesikaran.experiment.job import Job, Shared, SweepPlace, TooManyFailures, run_alone, run_job
from kesikaran.experiment.outcome import Verdict
from kesikaran.metrics import gate
from kesikaran.sweeps import callback, job_lines, others
from kesikaran.tracking import context


def main() -> None:
    """The command line. Exit codes: 0 done, 1 an error, 3 a gate failed, 128 + a signal's number."""
    process.refuse_legacy_keras()
    sys.argv[1:] = flags_first(sys.argv[1:])
    gc.disable()  # nothing of an import is garbage, and looking for garbage takes a fifth of the imports' time
    outer = context.open_sweep_id()  # of a sweep that has started this process, and that closes itself
    with door.opened():
        ConfigStore.instance().store(name="schema", node=schema.Experiment)
        OmegaConf.register_new_resolver("kesikaran_cache", lambda: str(paths.cache_dir()), replace=True)
        OmegaConf.register_new_resolver("kesikaran_settings", lambda _root_: settings_help.text(_root_), replace=True)
        status, shared = "KILLED", Shared()

        def task(cfg: DictConfig) -> float:
            return train(cfg, shared)

        def train_one(cfg: DictConfig, words: list[str], number: int) -> Verdict:
            started = time.monotonic()
            verdict: Verdict = run_alone(begin(cfg, words, number, shared))
            job_lines.print_done(number, words, verdict, time.monotonic() - started)
            return verdict

        try:
            try:
                hydra.main(version_base="1.3", config_path=str(paths.conf_dir()), config_name="config")(task)()
            finally:
                if not terminal.stop_asked():
                    others.train_left(train_one)
            status = "FINISHED"
        except InputError:  # the job has printed it
            status = "FAILED"
            sys.exit(1)
        except (HydraException, OmegaConfBaseException) as error:
            status = "FAILED"
            raise InputError(compose.explain(error)) from None
        except Exception:
            status = "FAILED"
            raise
        except SystemExit:
            if terminal.stop_asked():  # printed before the closing lines of a sweep, which take a while
                print("Stopped. Features computed so far are kept: the same command goes on from there.",
                      file=sys.stderr)  # fmt: skip
            raise
        finally:
            gc.enable()
            code = callback.close(status) if context.open_sweep_id() != outer else 0
    if code:
        sys.exit(code)


def flags_first(words: list[str]) -> list[str]:
    """The words of the command line, Hydra's flags before the overrides: `seed=1 -m optimizer.lr=1` is an error to it.

    Raises:
        SystemExit: Hydra has no such flag; it has said so.
    """
    overrides = get_args_parser().parse_intermixed_args(words).overrides
    return [*(word for word in words if word not in overrides), *overrides]


def train(cfg: DictConfig, shared: Shared) -> float:
    """One experiment from configuration to logged model. Returns the validation metric `fit.monitor`; NaN where another
    command is at work on this job of a sweep (`sweeps.others`)."""
    process.start()  # the worker of a launcher runs no `main`
    given = HydraConfig.get()
    number = given.job.num if given.mode is RunMode.MULTIRUN else None
    words, started = list(given.overrides.task), time.monotonic()
    while True:
        verdict: Verdict = run_alone(begin(cfg, words, number, shared))
        if verdict.elsewhere is None or others.leaves_for_later(given.sweeper):
            break
        others.pause()
    if number is not None:
        job_lines.print_done(number, words, verdict, time.monotonic() - started)
    if not verdict.passed and not context.open_sweep_id():  # the gates of a sweep are judged at its end
        sys.exit(gate.FAILED_EXIT)
    return verdict.objective


def begin(cfg: DictConfig, words: list[str], number: int | None, shared: Shared) -> Job:
    """One experiment as a generator, see `experiment.job`. It returns its verdict.

    Args:
        words: the overrides that `cfg` was composed with. number: of a job of a sweep, its place in it.
    """
    terminal.stop_if_asked()  # a worker that was told to stop takes no further job
    process.quiet()  # libraries put the filters of warnings back while a job before runs: seen from the second job on
    try:
        _need_effect(words, is_single=number is None)
        compose.settle_source(cfg, words)
        from_run.settle(cfg, words)
        place = SweepPlace(context.job_overrides(words), number)
        e = compose.parse(cfg)
        if idle.leave_out(cfg, e, set(place.varied)):
            e = compose.parse(cfg)
        verdict = yield from run_job(e, compose.to_yaml(cfg), place, shared)
        return verdict
    except StoreGone as error:
        raise SystemExit(f"error: {error}") from None  # no further job is tried
    except InputError as error:
        # Hydra would print a line of its own before the error, and only the first error of a sweep.
        if isinstance(error, TooManyFailures) or number is None:
            if not shared.is_told:
                print(f"error: {error}", file=sys.stderr)
            shared.is_told = True
        else:
            job_lines.print_failed(number, words, str(error))
        if context.open_sweep_id():
            raise
        sys.exit(1)
    except Exception as error:
        if number is not None:
            job_lines.print_failed(number, words, errors.first_line(error))
        raise


def _need_effect(words: list[str], is_single: bool) -> None:
    """Raises InputError where an option of a whole group does nothing: Hydra knows of it, and the configuration that it
    composes does not.

    Args:
        words: the overrides of the job. is_single: it is no job of a sweep.
    """
    if is_single:
        launcher = [word for word in HydraConfig.get().overrides.hydra if word.startswith("hydra/launcher=")]
        of_sweep = [*launcher, *(word for word in words if word.startswith("sweep."))]
        if of_sweep:
            raise InputError(f"{of_sweep[0]} does nothing in a single run: it is for the jobs of a sweep, python -m "
                             "kesikaran.train -m ...")  # fmt: skip
    typed = {key: word for key, _, word in ((*word.partition("=")[:2], word) for word in words)}
    beside = [typed[group] for group in ("imbalance", "decision") if group in typed]
    if typed.get("strategy", "strategy=null") != "strategy=null" and beside:
        raise InputError(f"{typed['strategy']} is not allowed beside {beside[0]}: a strategy chooses both "
                         "imbalance and decision; give it, or these two")  # fmt: skip
