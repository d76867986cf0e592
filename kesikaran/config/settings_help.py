"""What each setting does, read from the comments of `schema`: help and documentation cannot say anything else."""

import ast
import re
import textwrap
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kesikaran.config import schema
from kesikaran.core import paths

_WIDTH, _INDENT = 80, 34
# Groups that only set what other groups hold, and those of Hydra.
_OVERLAYS = {
    "strategy": "a treatment of a rarer label: imbalance and decision in one word",
    "experiment": "a whole experiment in one word",
    "hydra/launcher": "how the jobs of a sweep are run",
    "hydra/sweeper": "which jobs a sweep has",
}


@dataclass(frozen=True)
class Setting:
    """key: its dotted name. default: as text. choices: the values that it may have; none where it is not one of a
    list. what: it does."""

    key: str
    default: str
    choices: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Group:
    """options: name -> what it says of itself. default: the option that is taken. settings: that it holds."""

    name: str
    what: str
    options: dict[str, str]
    default: str | None
    settings: list[Setting] = field(default_factory=list)


@cache
def groups() -> tuple[Group, ...]:
    """Every group with its settings. The last one has no name: its settings stand alone."""
    defaults = _defaults()
    comments, found, alone = _comments(), [], []
    for f in schema.Experiment.__dataclass_fields__.values():
        said = comments["Experiment", f.name]
        if isinstance(f.type, type) and f.type.__name__.endswith("Config"):
            inner = [
                _setting(f"{f.name}.{own.name}", own, comments[f.type.__name__, own.name])
                for own in f.type.__dataclass_fields__.values()  # type: ignore[attr-defined]
            ]
            found.append(Group(f.name, said, _options(f.name), defaults.get(f.name), inner))
        else:
            alone.append(_setting(f.name, f, said))
    overlays = [Group(name, what, _options(name), defaults.get(name)) for name, what in _OVERLAYS.items()]
    return (*found, *overlays, Group("", "settings of no group", {}, None, alone))


def text(root: DictConfig) -> str:
    """The groups and settings with their values in a composed configuration, for the template of Hydra's help."""
    blocks = []
    for group in groups():
        names = ", ".join(f"{name} (default)" if name == group.default else name for name in group.options)
        title = f"{group.name}: {group.what}" if group.name else group.what.capitalize()
        lines = [title, *(textwrap.wrap(f"{group.name}={names}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
                          if names else [])]  # fmt: skip
        for setting in group.settings:
            lines += _wrapped(f"  {setting.key}={_now(root, setting.key)}", _said(setting))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks).replace("$", "$$") + "\n"


def markdown() -> str:
    """The page docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Made from the comments of `kesikaran/config/schema.py` and `conf/` by `python scripts/settings_doc.py`;",
        "a test holds them together. `GROUP=OPTION` takes an option, such as `optimizer=sgd`; `GROUP.SETTING=VALUE`",
        "sets one value, such as `optimizer.lr=1e-2`. Defaults are those of the schema; an option may bring others",
        "(`conf/GROUP/OPTION.yaml`).",
    ]
    for group in groups():
        lines += ["", f"## `{group.name}`: {group.what}" if group.name else "## Settings of no group"]
        if group.options:
            lines += ["", "| option | what it is |", "|---|---|"]
            for name, what in group.options.items():
                lines.append(
                    f"| {f'**`{name}`** (default)' if name == group.default else f'`{name}`'} | {_cell(what)} |"
                )
        if group.settings:
            lines += ["", "| setting | default | what it does |", "|---|---|---|"]
            for one in group.settings:
                lines.append(f"| `{one.key}` | `{one.default}` | {_cell(_said(one))} |")
    return "\n".join([*lines, ""])


def _cell(what: str) -> str:
    return what.replace("|", "\\|")


def _said(setting: Setting) -> str:
    return f"{setting.what} ({', '.join(setting.choices)})" if setting.choices else setting.what


def _wrapped(head: str, what: str) -> list[str]:
    rest = textwrap.wrap(what, _WIDTH - _INDENT)
    first = [f"{head:{_INDENT}}{rest.pop(0)}"] if len(head) < _INDENT else [head]
    return [*first, *(f"{'':{_INDENT}}{line}" for line in rest)]


def _now(root: DictConfig, key: str) -> str:
    value = OmegaConf.select(root, key, default="")
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    return _written(value)


def _written(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value.name if isinstance(value, Enum) else str(value)


def _setting(key: str, f: Any, what: str) -> Setting:
    kind = f.type if isinstance(f.type, type) and issubclass(f.type, Enum) else None
    default = getattr(_built(key), f.name)
    shown = "of its option" if default == "???" else _written(default)
    return Setting(key, shown, tuple(one.name for one in kind) if kind else (), what)


def _built(key: str) -> Any:
    whole = schema.Experiment()
    return getattr(whole, key.split(".")[0]) if "." in key else whole


def _options(group: str) -> dict[str, str]:
    """Each option of a group and the comment that its file begins with."""
    found = {}
    files = sorted((paths.conf_dir() / group).glob("*.yaml"))
    for file in files if len(files) > 1 else []:  # a group of one option has nothing to choose
        said = []
        for line in file.read_text().splitlines():
            if line.startswith("# @package"):
                continue
            if not line.startswith("# "):
                break
            said.append(line[2:])
        found[file.stem] = _first_sentence(" ".join(said))
    return found


def _first_sentence(words: str) -> str:
    return re.split(r"(?<=[^l])\. (?=[A-Z])", words)[0].rstrip(".")  # "et al. " ends none


def _defaults() -> dict[str, str]:
    """The option that is taken of each group, by conf/config.yaml."""
    listed: Any = OmegaConf.to_container(OmegaConf.load(paths.conf_dir() / "config.yaml"))["defaults"]  # type: ignore
    pairs = {key: value for one in listed if isinstance(one, dict) for key, value in one.items()}
    return {str(key).removeprefix("override "): value for key, value in pairs.items() if value}


def _comments() -> dict[tuple[str, str], str]:
    """(dataclass, field) -> the comment behind it, or else above it."""
    source = Path(schema.__file__).read_text()
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        for part in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.end_lineno:
                behind = lines[part.end_lineno - 1][part.end_col_offset :].partition("#")[2]
                found[node.name, part.target.id] = behind.strip() or _above(lines[: part.lineno - 1])  # type: ignore
    return found


def _above(lines: list[str]) -> str:
    said: list[str] = []
    while lines[-1].lstrip().startswith("#"):
        said.insert(0, lines.pop().strip().lstrip("# "))
    return " ".join(said)
