"""What settings are as text, and which of them make two runs the same."""

import copy
from enum import Enum
from typing import Any

import pytest
from conftest import refused
from omegaconf import OmegaConf

from kesikaran.config import compose
from kesikaran.config.schema import (
    BackboneConfig,
    DataConfig,
    DataSource,
    DecisionConfig,
    DecisionRule,
    Experiment,
    OptimizerConfig,
    OptimizerName,
    Rule,
    SplitConfig,
)

# Where the data lie, how a run is called, logged and judged, and what changes no number.
DO_NOT_COUNT = [
    "data.labels",
    "data.images",
    "split.file",
    "backbone.handle",
    "backbone.trusted",
    "backbone.batch_size",
    "tracking.run_name",
    "evaluation.report",
    "publish.max_difference",
    "publish.max_changed",
    "publish.max_difference_int8",
    "publish.max_changed_int8",
    "sweep.resume",
    "sweep.max_failures",
]
IDENTITY = {"images": "a", "split_file": "b", "backbone_digest": "c", "code": "d"}


def experiment() -> Experiment:
    return Experiment(
        data=DataConfig(DataSource.elpv, "demo"),
        split=SplitConfig(Rule.sha1_low_byte),
        backbone=BackboneConfig("embedded:efficientnet_lite0"),
        optimizer=OptimizerConfig(OptimizerName.adam),
        decision=DecisionConfig(DecisionRule.plain),
    )


def another(value: Any) -> Any:
    """A value of the same type."""
    match value:
        case Enum():
            return next(member for member in type(value) if member is not value)
        case bool():
            return not value
        case int() | float():
            return value + 1
        case list():
            return [*value, 1]
        case str():
            return f"{value}2"
        case _:
            return 1


@pytest.mark.parametrize("key", compose.known_keys())
def test_every_setting_but_those_that_change_no_number_is_in_the_fingerprint(key: str) -> None:
    changed = copy.deepcopy(experiment())
    *groups, name = key.split(".")
    node: Any = changed
    for group in groups:
        node = getattr(node, group)
    setattr(node, name, another(getattr(node, name)))
    assert compose.flatten(changed) != compose.flatten(experiment())
    is_same = compose.fingerprint(changed, IDENTITY) == compose.fingerprint(experiment(), IDENTITY)
    assert is_same == (key in DO_NOT_COUNT)


def test_the_settings_that_do_not_count_are_settings() -> None:
    assert set(DO_NOT_COUNT) < set(compose.known_keys())


@pytest.mark.parametrize("tag", IDENTITY)
def test_what_identifies_the_data_and_the_backbone_is_in_the_fingerprint(tag: str) -> None:
    found = compose.fingerprint(experiment(), IDENTITY)
    assert compose.fingerprint(experiment(), IDENTITY | {tag: "another"}) != found
    assert compose.fingerprint(experiment(), {name: value for name, value in IDENTITY.items() if name != tag}) != found
    assert compose.fingerprint(experiment(), dict(reversed(IDENTITY.items()))) == found


def test_settings_as_text() -> None:
    found = compose.flatten(experiment())
    assert tuple(found) == compose.known_keys()
    assert found["optimizer.name"] == "adam"
    assert found["optimizer.lr"] == "0.001"
    assert found["split.test"] == "[0, 25]"
    assert found["data.limit"] == "None"
    assert found["deterministic"] == "False"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("Kunde 1_a.b-c", True), ("é", True), ("", False), (".a", False), ("-a", False), ("a/b", False), ("a\n", False),
     ("a\x1b[31m", False), ("a\0", False), ("..", False), ("a" * 255, True), ("a" * 256, False), ("é" * 128, False),
     ("x" * 100_000, False)],
)  # fmt: skip
def test_the_name_of_the_data_can_name_a_folder(name: str, allowed: bool) -> None:
    given = experiment()
    given.data.name = name
    if allowed:
        assert compose.parse(OmegaConf.structured(given)) == given
    else:
        refused("is not allowed: letters, digits, blanks and", compose.parse, OmegaConf.structured(given))


OWN = {"data.labels": "l.csv", "data.images": "i"}


@pytest.mark.parametrize(
    ("changes", "words", "varied", "source", "name"),
    [
        ({}, [], [], "elpv", "elpv"),
        (OWN, ["data.labels=l.csv", "data.images=i"], [], "label_csv", "label_csv"),
        (OWN, [], [], "label_csv", "label_csv"),  # from the file of an experiment
        ({"data.labels": "l.csv"}, ["data.labels=l.csv"], [], "label_csv", "label_csv"),
        ({"data.images": "i"}, ["++data.images=i"], [], "label_csv", "label_csv"),
        ({}, ["data.labels=a,b"], ["data.labels"], "label_csv", "label_csv"),
        ({}, ["data.labels=null"], [], "elpv", "elpv"),
        (OWN | {"data.name": "mine"}, ["data.name=mine"], [], "label_csv", "mine"),
        (OWN | {"data.name": "mine"}, [], [], "label_csv", "mine"),
        (OWN, ["data.name=elpv"], [], "label_csv", "elpv"),
        (OWN, ["data=elpv", "data.labels=l.csv"], [], "elpv", "elpv"),
        (OWN, ["data.source=elpv", "data.labels=l.csv"], [], "elpv", "elpv"),
        (OWN | {"data.source": DataSource.label_csv, "data.name": "article"}, [], [], "label_csv", "article"),
    ],
)
def test_labels_or_images_that_are_given_are_the_data(
    changes: dict[str, Any], words: list[str], varied: list[str], source: str, name: str
) -> None:
    cfg = OmegaConf.structured(experiment())
    cfg.data.name = "elpv"
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value)
    compose.settle_source(cfg, words, varied)
    assert (cfg.data.source.name, cfg.data.name) == (source, name)


def test_a_place_of_the_data_that_cannot_be_resolved_is_one_line() -> None:
    cfg = OmegaConf.structured(experiment())
    cfg.data.labels = "${nothing}"
    refused("Interpolation key 'nothing' not found", compose.settle_source, cfg, [])
