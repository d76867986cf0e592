"""The facts of a model: written and read again, and damaged ones in one line."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import refused

from kesikaran.config.schema import BackboneConfig, DecisionRule, Engine, JpegDecode, Precision, ResizeMethod
from kesikaran.metrics.conformal import Band
from kesikaran.publish import facts
from kesikaran.publish.facts import Facts

FACTS = Facts(
    run_id="a" * 32,
    data="made",
    backbone=BackboneConfig(
        handle="/models/x", image_size=48, value_range=[-1.0, 1.0], antialias=False, resize_method=ResizeMethod.bicubic,
        jpeg_decode=JpegDecode.reduced, as_seen=False, engine=Engine.openvino, precision=Precision.bfloat16,
    ),
    digest="d" * 64,
    width=16,
    views=("identity", "horizontal_flip"),
    max_megapixels=50.0,
    rule=DecisionRule.tuned,
    threshold=-0.25,
    band=Band(-1.5, 2.0, 0.05),
)  # fmt: skip


@pytest.mark.parametrize(
    "band", [FACTS.band, Band(-math.inf, 2.0, 0.05), Band(-1.0, math.inf, 0.1), Band(-math.inf, math.inf, 0.1), None]
)
def test_what_is_written_is_read(tmp_path: Path, band: Band | None) -> None:
    given = replace(FACTS, band=band)
    given.write(tmp_path)
    assert facts.read(tmp_path) == given
    assert json.loads((tmp_path / facts.FILE).read_text(), parse_constant=pytest.fail), "JSON as others read it"


def test_settings_that_are_none_stay_none(tmp_path: Path) -> None:
    given = replace(FACTS, backbone=BackboneConfig(handle="h"))
    given.write(tmp_path)
    assert facts.read(tmp_path) == given


def test_no_password_is_written_and_the_engine_is_the_graphs(tmp_path: Path) -> None:
    handle = "https://me:hunter22@example.org/x.tar.gz"
    given = replace(FACTS, backbone=replace(FACTS.backbone, handle=handle))
    given.write(tmp_path)
    assert given.backbone.handle == "https://me:***@example.org/x.tar.gz"
    assert "hunter22" not in (tmp_path / facts.FILE).read_text()
    assert given.backbone.engine is Engine.tensorflow
    for handle, kept in [("/home/me/secret/b0", "b0"), ("embedded:efficientnet_lite0", "embedded:efficientnet_lite0")]:
        assert replace(FACTS, backbone=replace(FACTS.backbone, handle=handle)).backbone.handle == kept


def test_a_model_without_facts_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    says = "has no assets.extra/kesikaran.json: it is no model of kesikaran, or one of an older version; train again"
    refused(says, facts.read, tmp_path)
    refused(says, facts.read, tmp_path / "gone")


def changed(**to: Any) -> str:
    """The facts with other values; a name with two underscores is one of a group."""
    found: dict[str, Any] = facts._plain(FACTS)
    for name, value in to.items():
        *group, last = name.split("__")
        (found[group[0]] if group else found)[last] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value"),
        ("[]", ""),
        ("null", ""),
        ("{}", "'backbone'"),
        ("[" * 50_000, ""),
        (changed()[:-20], ""),
        (changed() + " " * 100_000, "it has more than 100,000 bytes"),
        ("\xff", ""),
        (changed(run_id=5), "5 is no str"),
        (changed(width=True), "True is no int"),
        (changed(width=16.0), "16.0 is no int"),
        (changed(threshold="0"), "'0' is no float"),
        (changed(threshold=False), "False is no float"),
        (changed(threshold=math.nan), "nan"),
        (changed(rule="guess"), "'guess'"),
        (changed(rule=["plain"]), ""),
        (changed(views="identity"), "'identity' is no list"),
        (changed(views=[]), "it has no views"),
        (changed(views=None), ""),
        (changed(band=0), "0 is no dict"),
        (changed(band=""), "'' is no dict"),
        (changed(band={"low": 0.0, "high": 1.0}), "'error'"),
        (changed(band__low="0"), "'0' is no float"),
        (changed(backbone=None), ""),
        (changed(backbone__image_size="48"), "'48' is no int"),
        (changed(backbone__value_range=[0, "1"]), "'1' is no float"),
        (changed(backbone__resize_method="magic"), "'magic'"),
    ],
)
def test_damaged_facts_are_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / facts.FILE).write_bytes(text.encode("latin-1"))
    refused(f"{facts.FILE} is damaged: ", facts.read, tmp_path)
    refused(says, facts.read, tmp_path)


def test_a_folder_in_the_place_of_the_facts_is_damage(tmp_path: Path) -> None:
    (tmp_path / facts.FILE).mkdir(parents=True)
    refused("is damaged: [Errno 21] Is a directory", facts.read, tmp_path)


def test_whole_numbers_are_taken_for_numbers_with_a_point(tmp_path: Path) -> None:
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / facts.FILE).write_text(changed(max_megapixels=50, threshold=0, band__low=-2))
    found = facts.read(tmp_path)
    assert found.band
    assert (found.max_megapixels, found.threshold, found.band.low) == (50.0, 0.0, -2.0)
    assert isinstance(found.threshold, float)
