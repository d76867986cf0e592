"""Reading a run's `config.yaml`, which anyone may have written: plain YAML of nested names and single values."""

from collections.abc import Hashable
from typing import Any

import yaml

_LONGEST = 100_000  # letters; a configuration has 2,500
_DEEPEST = 10


def load(text: str) -> dict[str, Any]:
    """The settings of a `config.yaml`: nested dicts of text, numbers, truth values, None, and lists of these.

    Nothing in the text is looked up: a value with `${` in it, which would read a variable or a file when it is
    resolved, is refused, and so is an alias, by which a few lines become any amount.

    Raises:
        ValueError: the reason, in words, why the text is no configuration.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text):,} letters, at most {_LONGEST:,} are read")
    try:
        _check_events(text)
        found = _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a number or a date that is none
        raise ValueError(f"it is no plain YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict):
        raise ValueError("it holds no settings")
    _check(found, "")
    return found


def _check_events(text: str) -> None:
    """Neither aliases nor deep nesting, seen before anything is built of them."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*) is not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"nesting deeper than {_DEEPEST} is not allowed")


class _Loader(yaml.CSafeLoader):
    """Each name once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError("a name that is no text is not allowed")
            if key.value in names:
                raise yaml.YAMLError(f"{key.value} is there twice")
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _check(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str) or "." in name or "${" in name:
                raise ValueError(f"{name!r} is no name of a setting")
            _check(inner, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict | list):
                raise ValueError(f"{where} is a list of more than single values")
            _check(inner, where)
    elif isinstance(value, str) and "${" in value:
        raise ValueError(f"{where} holds ${{, and nothing is looked up in a saved configuration")
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{where} is of type {type(value).__name__}")
