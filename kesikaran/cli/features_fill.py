"""`kesikaran features fill`: Hydra composes the configuration of a training, `feature_pass` does its pass alone."""

import shlex
import sys
from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kesikaran.cli import door
from kesikaran.cli.train import flags_first
from kesikaran.config import compose, rules, schema
from kesikaran.core import paths, process, terminal
from kesikaran.core.errors import InputError

HELP = """
Computes the features that a training with the same words would compute, and leaves them in the cache. It opens no run.

  python -m kesikaran.features fill data.labels=label.csv data.images=images
  python -m kesikaran.features fill -m 'shard=range(0,8)' shards=8 hydra/launcher=joblib

Settings: those of data, backbone, augment and device, and experiment=...; and of the pass alone:

  shards=N   the images are dealt into N parts, by SHA-1; default 1
  shard=K    the part that this process computes: 0 to N - 1; default 0

Several machines fill one cache ($KESIKARAN_CACHE on a disk that they share): docs/sweeps.md.
"""
_READ = ("data", "backbone", "augment", "device", "experiment", "shard", "shards")
_NOT_READ = ("data.name",)
# No parent run is opened, and no job is left out because a run of the same settings is finished.
_OWN_WORDS = ("~hydra/callbacks", "hydra/sweeper=basic")


@dataclass
class Fill(schema.Experiment):
    """The settings of a training, and which part of the images is computed."""

    shard: int = 0
    shards: int = 1


def command() -> None:
    """The command line. Exit codes: 0 done, 1 an error, 128 + a signal's number."""
    process.start()
    words = sys.argv[2:]
    if {"-h", "--help"} & set(words):
        print(f"usage: python -m kesikaran.features fill [-m] SETTING=VALUE ...\n{HELP}")
        return
    # The launcher of an experiment that sweeps is for trainings.
    launcher = [] if any(word.startswith("hydra/launcher=") for word in words) else ["hydra/launcher=basic"]
    sys.argv[1:] = [*flags_first(words), *launcher, *_OWN_WORDS]
    with door.opened("Stopped. Features computed so far are kept: the same command goes on from there."):
        if trains := {"hydra/launcher=vectorized", "hydra/launcher=in_turn"} & set(words):
            raise InputError(
                f"{trains.pop()} trains heads and fills nothing: hydra/launcher=basic, hydra/launcher=joblib or others"
            )
        ConfigStore.instance().store(name="schema", node=Fill)
        OmegaConf.register_new_resolver("kesikaran_cache", lambda: str(paths.cache_dir()), replace=True)
        try:
            hydra.main(version_base="1.3", config_path=str(paths.conf_dir()), config_name="config")(_fill)()
        except InputError:  # the job has printed it
            sys.exit(1)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(compose.explain(error)) from None
        print(_next(words))


def _fill(cfg: DictConfig) -> None:
    process.start()  # the worker of a launcher runs no `main`
    terminal.stop_if_asked()
    try:
        words = list(HydraConfig.get().overrides.task)
        _need_effect(words)
        compose.settle_source(cfg, words)
        with open_dict(cfg):
            shard, shards = cfg.pop("shard"), cfg.pop("shards")
        experiment = compose.parse(cfg)
        rules.check(experiment)
        rules.check_effects(experiment)
        if shards < 1:
            raise InputError(f"shards={shards} is not allowed: at least 1")
        if not 0 <= shard < shards:
            raise InputError(f"shard={shard} is not allowed: 0 to {shards - 1}, below shards={shards}")
        with terminal.quiet_start():
            from kesikaran.experiment import feature_pass
        feature_pass.fill(experiment, shard, shards)
    except InputError as error:
        # Hydra would print a line of its own before the error, and only the first error of several shards.
        print(f"error: {error}", file=sys.stderr)
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        sys.exit(1)


def _need_effect(words: list[str]) -> None:
    """Raises InputError where a word does nothing for the features, or `experiment=` sweeps over such a setting."""
    hydra_config = HydraConfig.get()
    for word in [*words, *(f"{key}={value}" for key, value in (hydra_config.sweeper.params or {}).items())]:
        key = word.split("=")[0].lstrip("+~")
        if key in _NOT_READ or key.split(".")[0] not in _READ:
            raise InputError(f"{word} does nothing for the features: leave it out (read are {', '.join(_READ)})")
    launcher = str(hydra_config.runtime.choices["hydra/launcher"])
    if launcher != "basic" and hydra_config.mode is RunMode.RUN:
        raise InputError(f"hydra/launcher={launcher} does nothing without -m and several shards: fill -m "
                         f"'shard=range(0,8)' shards=8 hydra/launcher={launcher}")  # fmt: skip


def _next(words: list[str]) -> str:
    """What to do once the features are there."""
    kept = [word for word in words if "=" in word and not word.lstrip("+").startswith(("shard=", "shards=", "hydra"))]
    return f"Next, when all shards are done: python -m kesikaran.train {shlex.join(kept)}".rstrip()
