"""Settings that do nothing beside the option that their group has: they are refused, or left out of a sweep's job."""

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from kesikaran.config import finetune_rules
from kesikaran.config.schema import AugmentName, DecisionRule, Experiment, OptimizerName, Rule, Strategy

# The settings that each rule of a split reads.
_READ_BY_RULE = {
    Rule.sha1_low_byte: {"test", "validation", "balance", "group"},
    Rule.sha1_fold: {"fold", "folds", "group"},
    Rule.blocks: {"fold", "folds", "block_size", "order"},
    Rule.stratified_random: {"test_size", "validation_size", "stratify", "seed"},
    Rule.from_file: {"file"},
}
_READ_BY_EVERY_RULE = {"rule", "near_duplicate_similarity"}  # every run reports near-duplicates
# The same of each rule of a decision.
_READ_BY_DECISION: dict[DecisionRule, set[str]] = {
    DecisionRule.plain: set(),
    DecisionRule.prior_shift: {"prevalence"},
    DecisionRule.tuned: {"metric", "max_false_positive_rate"},
    DecisionRule.cost: {"prevalence", "cost_false_positive", "cost_false_negative"},
}
_READ_BY_EVERY_DECISION = {"rule", "temperature", "error"}
# The same of each augmentation.
_READ_BY_AUGMENT: dict[AugmentName, set[str]] = {
    AugmentName.none: set(),
    AugmentName.flips: {"average"},
    AugmentName.dihedral: {"average"},
    AugmentName.standard: {"crop", "brightness", "contrast"},
    AugmentName.trivial: {"strength"},
}
_READ_BY_STRATEGY: dict[Strategy, set[str]] = {
    **{strategy: set() for strategy in Strategy},
    Strategy.focal: {"focal_gamma"},
    Strategy.logit_adjusted: {"tau"},
}
_READ_BY_OPTIMIZER: dict[OptimizerName, set[str]] = {
    OptimizerName.adam: set(),
    OptimizerName.adamw: {"weight_decay"},
    OptimizerName.sgd: {"momentum"},
    OptimizerName.rmsprop: {"momentum"},
}


class _Group(NamedTuple):
    """option: the setting that says what of the group is chosen. read: the settings that each option reads. always:
    those that all options read."""

    option: str
    read: Mapping[Any, set[str]]
    always: set[str]


_GROUPS = {
    "split": _Group("rule", _READ_BY_RULE, _READ_BY_EVERY_RULE),
    "augment": _Group("name", _READ_BY_AUGMENT, {"name"}),
    "optimizer": _Group("name", _READ_BY_OPTIMIZER, {"name", "lr", "schedule"}),
    "imbalance": _Group("strategy", _READ_BY_STRATEGY, {"strategy"}),
    "decision": _Group("rule", _READ_BY_DECISION, _READ_BY_EVERY_DECISION),
}


class Idle(NamedTuple):
    """A setting of a group that is not the default and does nothing, its value, and why."""

    setting: str
    value: object
    why: str


def found(e: Experiment, group: str) -> Iterator[Idle]:
    """The settings of a group that do nothing beside its option."""
    config = getattr(e, group)
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if value == getattr(type(config)(), f.name):
            continue
        why = finetune_rules.reader(config, f.name) if group == "finetune" else _reader(group, config, f.name)
        if why:
            yield Idle(f"{group}.{f.name}", value.name if isinstance(value, Enum) else value, why)


def _reader(group: str, config: Any, name: str) -> str | None:
    """Why a setting does nothing; None where it does something."""
    option, read, always = _GROUPS[group]
    chosen = getattr(config, option)
    if name in always or name in read[chosen]:
        return None
    readers = ", ".join(other.name for other, settings in read.items() if name in settings)
    return f"it does nothing under {group}={chosen.name}, it is a setting of {readers}"


def leave_out(cfg: DictConfig, e: Experiment, varied: set[str]) -> bool:
    """In a job of a sweep over the options of a group, what only the other options read is left at its default, in
    place; so `-m finetune=none,all finetune.epochs=5` is a sweep of both. Returns whether there was any.

    Args:
        cfg: what `e` was parsed from. varied: names of the settings and groups that the sweep varies.
    """
    options = {"finetune": "trains", **{name: group.option for name, group in _GROUPS.items()}}
    groups = [name for name, option in options.items() if varied & {name, f"{name}.{option}"}]
    left_out = [one for group in groups for one in found(e, group)]
    for one in left_out:
        group, name = one.setting.split(".")
        OmegaConf.update(cfg, one.setting, getattr(type(getattr(e, group))(), name))
    return bool(left_out)
