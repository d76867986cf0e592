"""The settings of a probe from a finished run: `finetune.from_run`."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kesikaran.cli import model_of
from kesikaran.config import saved_config
from kesikaran.config.schema import Trains
from kesikaran.core import errors
from kesikaran.core.errors import InputError, printable

GROUPS = ("head", "optimizer", "fit", "imbalance", "augment")
"""What a probe is trained by."""


def settle(cfg: DictConfig, words: Iterable[str]) -> None:
    """Give a fine-tuning with `finetune.from_run` the settings of that run's probe, in place; what is typed beside it
    counts more. `from_run` becomes the id of the run, so that the identity of the new one does not depend on a name.

    The probe is trained again: in seconds, and on the new run's own split, since the other's may have seen its test
    images.

    Args:
        words: the overrides that `cfg` was composed with.

    Raises:
        InputError: no such finished run, a sweep without a best job, another backbone, or a `config.yaml` that is
            damaged or of another version.
    """
    try:
        word, trains = cfg.finetune.from_run, cfg.finetune.trains
    except OmegaConfBaseException:
        return  # `compose.parse` says what is wrong
    if word is None or trains is Trains.none:  # `rules` refuses the second
        return
    run_id, saved = _saved(str(word))
    typed = {word.split("=")[0].lstrip("+") for word in words}
    where = f"finetune.from_run={printable(str(word))}"
    for name in ("handle", "image_size"):
        key = f"backbone.{name}"
        there, here = (
            errors.without_password(str(of)) for of in (saved["backbone"].get(name), OmegaConf.select(cfg, key))
        )
        if there != here:
            raise InputError(
                f"{where} is not allowed: its probe is of backbone.{name}={printable(there)}, this run has "
                f"{printable(here)}; give backbone.{name} as the run has it, or leave finetune.from_run out"
            )
    try:
        for group in GROUPS:
            for key, value in saved[group].items():
                if not typed & {group, f"{group}.{key}"}:
                    OmegaConf.update(cfg, f"{group}.{key}", value)
    except OmegaConfBaseException as error:
        raise InputError(
            f"{where} is not allowed: its settings are of another version ({errors.first_line(error)})"
        ) from None
    OmegaConf.update(cfg, "finetune.from_run", run_id)


@lru_cache(maxsize=16)  # all jobs of a command start from the same run, whatever else is trained meanwhile
def _saved(word: str) -> tuple[str, dict[str, Any]]:
    """(the id of the run, or of the best job of the sweep, that is called `word`; its settings)"""
    from kesikaran.tracking import artifacts, queries

    record = queries.finished(word)
    run_id = record.run_id
    if record.is_sweep:
        run_id = model_of.best_job(run_id, f"finetune.from_run={printable(word)} is not allowed: it")
    try:
        saved = saved_config.load(artifacts.text(run_id, "config.yaml"))
        if lacking := [group for group in ("backbone", *GROUPS) if not isinstance(saved.get(group), dict)]:
            raise ValueError(f"it has no group {lacking[0]}")
        return run_id, saved
    except ValueError as error:
        raise InputError(f"config.yaml of run {run_id} is damaged: {error}; give another run") from None
