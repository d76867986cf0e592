"""The configuration of a finished run with some settings changed that need no training."""

import re
from typing import cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kesikaran.config import compose
from kesikaran.core.errors import InputError, printable

GROUPS = {"decision": "plain", "evaluation": "default", "gate": "default"}
"""The groups that may change without training -> an option of the group, for a message."""

_ALLOWED = re.compile(rf"({'|'.join(GROUPS)})(\.\w+)?=.*|tracking\.run_name=.*", re.DOTALL)


def need_no_training(overrides: list[str]) -> None:
    """Raises InputError where an override needs training."""
    for word in overrides:
        if not _ALLOWED.fullmatch(word):
            raise InputError(
                f"{printable(word)} is not allowed: it needs training. Of a finished run only {', '.join(GROUPS)} and "
                "tracking.run_name can be changed; a run whose name has a = in it is given by its id"
            )


def changed(saved: str, overrides: list[str], asked: DictConfig, run_id: str) -> DictConfig:
    """The configuration of a run with the settings that `overrides` name taken from `asked`.

    A setting that the run's version did not have takes today's default. An override `group=option` replaces the whole
    group, an override `group.key=value` that one setting.

    Args:
        saved: the run's `config.yaml`.
        overrides: as `need_no_training` lets them pass.
        asked: the configuration that training with these overrides would compose.
        run_id: for messages.

    Raises:
        InputError: `saved` is damaged, or has settings or values that this version does not have.
    """
    keys = [word.split("=")[0] for word in overrides]
    where = f"config.yaml of run {run_id}"
    try:
        loaded = OmegaConf.create(saved)
        kept = {name: node for name, node in loaded.items() if name not in keys}
        settings = compose.leaves(OmegaConf.to_container(OmegaConf.create(kept)))
    except (OmegaConfBaseException, YAMLError, AttributeError, AssertionError) as error:  # the last two: no mapping
        raise InputError(
            f"{where} is damaged: {compose.explain(error) or 'it holds no settings'}; train again"
        ) from None
    gone = [key for key in settings if key not in compose.known_keys()]
    if gone:
        named = printable(", ".join(gone))
        raise InputError(f"{where} has settings that this version does not have: {named}; {_way_out(gone)}")
    try:
        cfg = OmegaConf.merge(asked, kept)
    except OmegaConfBaseException as error:
        key, why = str(error.full_key), printable(str(error).splitlines()[0])
        raise InputError(
            f"{where} has a value that this version does not take: {key}: {why}; {_way_out([key])}"
        ) from None
    for key in ("tracking.run_name", *(key for key in keys if "." in key)):
        OmegaConf.update(cfg, key, OmegaConf.select(asked, key))
    OmegaConf.update(cfg, "tracking.log_model", False)
    return cast(DictConfig, cfg)


def _way_out(settings: list[str]) -> str:
    """What to do about settings of a run that this version cannot read."""
    groups = sorted({key.split(".")[0] for key in settings})
    if set(groups) <= set(GROUPS):
        return f"give {' '.join(f'{group}={GROUPS[group]}' for group in groups)}, which brings this version's"
    return "it cannot be evaluated: train again"
