"""What an experiment is called: its settings that are not the defaults, in the words that a person would type."""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kesikaran.config import compose
from kesikaran.config.schema import Experiment
from kesikaran.core import paths
from kesikaran.core.errors import printable, without_password

DEFAULT = "default"
_LONGEST = 100  # characters of a name
_LONGEST_VALUE = 24  # of a value in a name that would be longer
# The experiment in MLflow is called by the data. The others change where and how a run is made, and not what it is.
_UNNAMED = ("data.source", "data.name", "data.labels", "data.images", "backbone.trusted", "backbone.batch_size",
            "tracking.", "publish.", "sweep.", "device")  # fmt: skip
# These judge what was trained.
_JUDGES = ("evaluation.", "gate.")


def of(experiment: Experiment) -> str:
    """The name of a run: what differs from the defaults, in about 100 characters, or `default`."""
    return short([word for word in differences(experiment) if not word.startswith(_JUDGES)])


def short(words: list[str]) -> str:
    """Words `key=value` as one name. Where it would be long, long values keep their ends, which are the file names of
    paths, and what has no room after that is counted."""
    if len(" ".join(words)) > _LONGEST:
        words = [_short_value(word) for word in words]
    kept = list(words)
    while len(kept) > 1 and len(" ".join(kept)) > _LONGEST:
        kept.pop()
    more = [f"and {len(words) - len(kept)} more"] if len(kept) < len(words) else []
    return " ".join([*kept, *more]) or DEFAULT


def _short_value(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}={value}" if len(value) <= _LONGEST_VALUE else f"{key}=…{value[1 - _LONGEST_VALUE :]}"


def differences(experiment: Experiment) -> list[str]:
    """The settings that are not the defaults, as `key=value`, without passwords. Where an option of a group tells it in
    fewer words, it is named: `optimizer=sgd` and not its three settings."""
    return of_settings(compose.flatten(experiment))


def of_settings(settings: Mapping[str, str]) -> list[str]:
    """`differences` of some settings, which have the names and texts of `compose.flatten`."""
    groups: dict[str, dict[str, str]] = {}
    for name, value in settings.items():
        group, _, key = name.rpartition(".")
        groups.setdefault(group, {})[key] = value
    words = []
    for group, values in groups.items():
        named = {key: value for key, value in values.items() if not f"{group}.{key}".lstrip(".").startswith(_UNNAMED)}
        words += _of_group(group, named) if group else _others("", named, _texts(Experiment()))
    return [printable(without_password(word)) for word in words]


def _of_group(group: str, values: dict[str, str]) -> list[str]:
    """The fewest words that give a group these values."""
    default = _default_options().get(group, "")
    fewest = _others(f"{group}.", values, _option(group, default) or _texts(getattr(Experiment(), group)))
    for option in _options(group) if len(fewest) > 0 else []:
        words = [f"{group}={option}", *_others(f"{group}.", values, _option(group, option))]
        # A setting that the option is for, such as the handle of a backbone, is better told by the option's name.
        if option != default and (len(words), len(" ".join(words))) < (len(fewest), len(" ".join(fewest))):
            fewest = words
    return fewest


def _others(prefix: str, values: Mapping[str, str], of_option: Mapping[str, str]) -> list[str]:
    return [f"{prefix}{key}={value}" for key, value in values.items() if of_option.get(key) != value]


@cache
def _default_options() -> dict[str, str]:
    """group -> the option that it has where nobody chooses."""
    listed = OmegaConf.to_container(OmegaConf.load(paths.conf_dir() / "config.yaml"))
    assert isinstance(listed, dict)
    return {
        group: option for one in listed["defaults"] if isinstance(one, dict) for group, option in one.items() if option
    }


@cache
def _options(group: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (paths.conf_dir() / group).glob("*.yaml")))


@cache
def _option(group: str, option: str) -> dict[str, str]:
    """The values of a group's settings with an option of it; none where its file alone does not give them, as one of a
    user that has a list of defaults."""
    of_schema = OmegaConf.structured(type(getattr(Experiment(), group)))
    file: Path = paths.conf_dir() / group / f"{option}.yaml"
    try:
        return _texts(OmegaConf.to_container(OmegaConf.merge(of_schema, OmegaConf.load(file))))
    except (OmegaConfBaseException, YAMLError, OSError, TypeError):  # Hydra tells of it, if the option is taken
        return {}


def _texts(values: Any) -> dict[str, str]:
    """Values as `compose.flatten` has them; of a dataclass, those of its own."""
    found = values if isinstance(values, dict) else vars(values)
    return {str(key): value.name if isinstance(value, Enum) else str(value) for key, value in found.items()}
