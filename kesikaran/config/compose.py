"""From Hydra's composed configuration to the dataclasses of `schema`, and what is derived from them.

Behind `parse` no code sees a `DictConfig`.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from enum import Enum
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kesikaran.config.schema import DataSource, Experiment
from kesikaran.core.errors import InputError, printable

_OWN_DATA = ("data.labels", "data.images")
_LONGEST_NAME_BYTES = 255  # of a file's name


def parse(cfg: DictConfig) -> Experiment:
    """Turn the composed configuration into dataclasses. `rules.check` checks the ranges.

    Raises:
        InputError: a missing value, a setting that does not exist (Hydra lets `+group.key=` pass), or a `data.name`
            that cannot name a folder.
    """
    for key in leaves(OmegaConf.to_container(cfg)):
        if key not in known_keys():
            raise InputError(_no_such_setting(key))
    try:
        experiment = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise InputError(_one_line(error)) from None
    if not isinstance(experiment, Experiment):
        raise TypeError(f"expected an Experiment, got {type(experiment)}")
    need_name(experiment.data.name)
    return experiment


def need_name(name: str) -> None:
    """Raises InputError where `data.name` cannot name a folder, as which mlruns/ has it."""
    if not re.fullmatch(r"\w[\w. -]*", name) or len(name.encode()) > _LONGEST_NAME_BYTES:
        shown = name if len(name) <= 80 else f"{name[:80]}..."
        raise InputError(
            f"data.name={printable(shown)} is not allowed: letters, digits, blanks and . _ -, at most "
            f"{_LONGEST_NAME_BYTES} bytes (it names the MLflow experiment)"
        )


def settle_source(cfg: DictConfig, words: Iterable[str], varied: Iterable[str] = ()) -> None:
    """Make `data.labels` or `data.images` mean that data, where nobody chose `data=elpv`: it is the default.

    Where it is chosen, `rules.check_effects` refuses the two beside it.

    Args:
        words: the overrides that `cfg` was composed with. varied: names of settings that are still to vary.
    """
    typed = {word.split("=")[0].lstrip("+") for word in words}
    try:
        source, name, *own = (OmegaConf.select(cfg, key) for key in ("data.source", "data.name", *_OWN_DATA))
    except OmegaConfBaseException as error:
        raise InputError(_one_line(error)) from None
    if not (any(own) or set(varied) & set(_OWN_DATA)) or typed & {"data", "data.source"}:
        return
    if source is DataSource.elpv:
        cfg.data.source = DataSource.label_csv
        if name == source.name and "data.name" not in typed:
            cfg.data.name = DataSource.label_csv.name


def to_yaml(cfg: DictConfig) -> str:
    """The resolved configuration as YAML, which a run keeps as `config.yaml`."""
    return OmegaConf.to_yaml(cfg, resolve=True)


def flatten(experiment: Experiment) -> dict[str, str]:
    """Every setting by its dotted name, as text: `{"optimizer.lr": "0.001", ...}`. They are a run's params."""

    def walk(prefix: str, value: Any) -> dict[str, str]:
        if dataclasses.is_dataclass(value):
            parts = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
            return {k: v for name, part in parts for k, v in walk(f"{prefix}{name}.", part).items()}
        return {prefix[:-1]: value.name if isinstance(value, Enum) else str(value)}

    return walk("", experiment)


def fingerprint(experiment: Experiment, identity: dict[str, str]) -> str:
    """32 hex digits, equal for two runs that compute and leave the same.

    Left out are the settings for where the data and the backbone lie, for whether the backbone is trusted, for the
    name of the run, for how a sweep goes on, for how much is printed, for what is published, and for the batch size of
    the backbone, which changes no number.

    Args:
        identity: names and digests of the data, the backbone and the code.
    """
    left_out = (
        "tracking.run_name",
        "evaluation.report",
        "publish.",
        "sweep.",
        "data.labels",
        "data.images",
        "split.file",
        "backbone.handle",
        "backbone.trusted",
        "backbone.batch_size",
    )
    params = {k: v for k, v in flatten(experiment).items() if not k.startswith(left_out)}
    return hashlib.sha256(json.dumps({**params, **identity}, sort_keys=True).encode()).hexdigest()[:32]


@cache
def known_keys(node: type = Experiment, prefix: str = "") -> tuple[str, ...]:
    """The dotted names of every setting."""
    keys: list[str] = []
    for f in dataclasses.fields(node):
        inner = f.type if isinstance(f.type, type) else None
        is_group = inner is not None and dataclasses.is_dataclass(inner)
        keys += known_keys(inner, f"{prefix}{f.name}.") if is_group and inner else [f"{prefix}{f.name}"]
    return tuple(keys)


def explain(error: Exception) -> str:
    """Hydra's and OmegaConf's errors in one line, with the valid names where a name is wrong."""
    text = _one_line(error)
    cause = error.__cause__ or error.__context__
    if cause is not None and _one_line(cause) not in text:
        text = f"{text} {_one_line(cause)}"
    if found := re.search(r"Could not override '([\w.]+)'|Key '([\w.]+)' (?:is )?not in", text):
        return _no_such_setting(found.group(1) or found.group(2))
    if found := re.search(
        r"Could not find '([\w/]+)/([^']*)' Available options in '[^']+': ([\w ]+?)(?: Config|$)", text
    ):
        group, option, options = found.groups()
        return f"there is no option {group}={option}; the valid ones are: {', '.join(options.split())}"
    if found := re.search(r"Error merging override (\S+?=.*?) ((?:Value|Invalid) .*)", text):
        return f"{found.group(1)} is not allowed: {found.group(2)}"
    if "override_grammar" in text:
        reason = text.split(" See https")[0]
        return (
            f"cannot read an override ({reason}); write group=option or group.key=value, in quotes where it has blanks"
        )
    return text


def need_setting(key: str) -> None:
    """Raises InputError where there is neither a setting nor a group of this name."""
    if key not in known_keys() and key not in _first_names():
        raise InputError(_no_such_setting(key))


def _first_names() -> list[str]:
    """The names of the groups, and of the settings outside of them."""
    return sorted({known.split(".")[0] for known in known_keys()} | {"experiment", "strategy"})


def _no_such_setting(key: str) -> str:
    group = key.rpartition(".")[0]
    inside = [known for known in known_keys() if known.startswith(f"{group}.")] if group else []
    names = inside or _first_names()
    return f"there is no setting {key}; the valid ones are: {', '.join(names)}"


def leaves(node: Any, prefix: str = "") -> list[str]:
    """The dotted names of the leaves of nested dicts."""
    if not isinstance(node, dict):
        return [prefix[:-1]]
    return [key for name, inner in node.items() for key in leaves(inner, f"{prefix}{name}.")]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split("full_key:")[0].split())
