"""The configuration of a finished run with some settings changed that need no training."""

import ast
import dataclasses
import re
from collections.abc import Mapping
from typing import cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kesikaran.config import compose, rules, saved_config
from kesikaran.config.schema import Experiment, PublishConfig
from kesikaran.core import errors
from kesikaran.core.errors import InputError, printable

GROUPS = {"decision": "plain", "evaluation": "default", "gate": "default"}
"""The groups that may change without training -> an option of the group, for a message."""

_CUT_LETTERS = 6000  # of a param, where MLflow is told to cut

_ALLOWED = re.compile(rf"({'|'.join(GROUPS)})(\.\w+)?=.*|tracking\.run_name=.*", re.DOTALL)


def need_no_training(overrides: list[str]) -> None:
    """Raises InputError where an override needs training."""
    for word in overrides:
        if word.startswith("publish."):
            raise InputError(f"{printable(word)} is not allowed: it is for kesikaran publish RUN --out FOLDER")
        if not _ALLOWED.fullmatch(word):
            raise InputError(
                f"{printable(word)} is not allowed: it needs training. Of a finished run only {', '.join(GROUPS)} and "
                "tracking.run_name can be changed; a run whose name has a = in it is given by its id"
            )


def changed(saved: str, overrides: list[str], asked: DictConfig, run_id: str, params: Mapping[str, str]) -> DictConfig:
    """The configuration of a run with the settings that `overrides` name taken from `asked`.

    A setting that the run's version did not have takes today's default. An override `group=option` replaces the whole
    group, an override `group.key=value` that one setting.

    Args:
        saved: the run's `config.yaml`.
        overrides: as `need_no_training` lets them pass.
        asked: the configuration that training with these overrides would compose.
        run_id: for messages.
        params: what the store has of the run's settings. `saved` must say the same.

    Raises:
        InputError: `saved` is damaged or does not agree with `params`, or has settings or values that this version does
            not have.
    """
    keys = [word.split("=")[0] for word in overrides]
    where = f"config.yaml of run {run_id}"
    try:
        kept = {name: node for name, node in saved_config.load(saved).items() if name not in keys}
        if not kept:
            raise ValueError("it holds no settings")
        settings = compose.leaves(kept)
    except ValueError as error:
        raise InputError(f"{where} is damaged: {errors.first_line(error)}; train again") from None
    gone = [key for key in settings if key not in compose.known_keys()]
    if gone:
        named = printable(", ".join(gone))
        raise InputError(f"{where} has settings that this version does not have: {named}; {_way_out(gone)}")
    try:
        cfg = OmegaConf.merge(asked, kept)
        _need_params(
            cfg, settings, {key: value for key, value in params.items() if key.split(".")[0] not in keys}, where
        )
    except OmegaConfBaseException as error:
        key, why = str(error.full_key), printable(str(error).splitlines()[0])
        raise InputError(
            f"{where} has a value that this version does not take: {key}: {why}; {_way_out([key])}"
        ) from None
    for key in ("tracking.run_name", *(key for key in keys if "." in key)):
        OmegaConf.update(cfg, key, OmegaConf.select(asked, key))
    OmegaConf.update(cfg, "tracking.log_model", False)
    return cast(DictConfig, cfg)


def tolerance(saved: str, overrides: list[str], run_id: str) -> PublishConfig:
    """How far the copies of a run may be from it: the run's `publish` with the settings that `overrides` name changed.
    A setting that the run's version did not have takes today's default.

    Args:
        saved, run_id: as of `changed`.
        overrides: words `publish.KEY=VALUE`.

    Raises:
        InputError: an override of something else, an unknown setting, a value that is not allowed, or `saved` is
            damaged.
    """
    try:
        kept = {"publish": saved_config.load(saved).get("publish", {})}
        merged = OmegaConf.merge(OmegaConf.structured(Experiment), kept)
        found = cast(PublishConfig, OmegaConf.to_object(merged.publish))
    except (ValueError, OmegaConfBaseException) as error:
        raise InputError(f"config.yaml of run {run_id} is damaged: {errors.first_line(error)}; train again") from None
    keys = [f"publish.{f.name}" for f in dataclasses.fields(PublishConfig)]
    for word in overrides:
        key, _, value = word.partition("=")
        if key not in keys:
            raise InputError(f"{printable(word)} is not allowed: of a finished run {', '.join(keys)} can be changed")
        try:
            found = dataclasses.replace(found, **{key.removeprefix("publish."): float(value)})
        except ValueError:
            raise InputError(f"{printable(word)} is not allowed: a number of 0 to 1 is") from None
    rules.check_publish(found)
    return found


def _need_params(cfg: DictConfig | ListConfig, settings: list[str], params: Mapping[str, str], where: str) -> None:
    """Check that a saved configuration is what the run's params say, which nobody can change.

    Args:
        cfg: it, completed by defaults. settings: the dotted names in it. params: without those of replaced groups.

    Raises:
        InputError: the first setting that is in one of the two alone, or differs.
    """
    flat = compose.flatten(cast(Experiment, OmegaConf.to_object(cfg)))
    for key in sorted({*settings, *params}):
        if key not in settings or key not in params:
            lacking, having = (where, "the run's params") if key not in settings else ("the run's params", where)
            raise InputError(f"{where} is damaged: {lacking} lack {printable(key)}, which {having} have; train again")
        if not _same(errors.without_password(flat[key]), errors.without_password(params[key])):
            raise InputError(
                f"{where} is damaged: it has {key}={printable(flat[key][:80])}, the run was made with "
                f"{printable(params[key][:80])}; train again"
            )


def _same(saved: str, logged: str) -> bool:
    """Whether two texts are the same value: a number may be written in two ways, and MLflow can cut a long text off."""
    if saved == logged or (len(logged) >= _CUT_LETTERS and saved.startswith(logged)):
        return True
    try:
        return bool(ast.literal_eval(saved) == ast.literal_eval(logged))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _way_out(settings: list[str]) -> str:
    """What to do about settings of a run that this version cannot read."""
    groups = sorted({key.split(".")[0] for key in settings})
    if set(groups) <= set(GROUPS):
        return f"give {' '.join(f'{group}={GROUPS[group]}' for group in groups)}, which brings this version's"
    return "it cannot be evaluated: train again"
