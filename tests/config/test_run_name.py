"""The names of runs: what differs from the defaults, in the words that a person would type."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore

from kesikaran.config import compose, run_name, schema
from kesikaran.core import paths


def named(*words: str) -> str:
    ConfigStore.instance().store(name="schema", node=schema.Experiment)
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        cfg: Any = hydra_compose("config", overrides=list(words))
    return run_name.of(compose.parse(cfg))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "default"),
        (["optimizer.lr=1e-2", "head.dropout=0.3"], "head.dropout=0.3 optimizer.lr=0.01"),
        (["optimizer=sgd", "optimizer.lr=0.1"], "optimizer=sgd optimizer.lr=0.1"),
        (["head=hidden", "seed=3"], "head=hidden seed=3"),
        (["backbone=efficientnet_b0"], "backbone=efficientnet_b0"),
        (["strategy=focal"], "imbalance=focal"),
        (["data=label_csv", "data.labels=/a/b.csv", "data.images=/a/b", "data.name=mine"], "default"),
        (["gate.metric=test/roc_auc", "gate.min=0.5", "evaluation.confidence=0.9", "tracking.log_model=false",
          "sweep.resume=false", "device=cpu"], "default"),
    ],
)  # fmt: skip
def test_a_run_is_called_by_what_differs_from_the_defaults(words: list[str], name: str) -> None:
    assert named(*words) == name


@pytest.mark.parametrize("content", ["defaults: [adam]\nlr: 0.01\n", "[1, 2]\n", "lr: [\n", "nothing: 1\n"])
def test_an_option_of_a_users_own_that_is_not_whole_names_nothing(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.conf_dir(), tmp_path / "conf")
    (tmp_path / "conf" / "optimizer" / "mine.yaml").write_text(content)
    monkeypatch.setattr(paths, "conf_dir", lambda: tmp_path / "conf")
    for name in ("_default_options", "_options", "_option"):
        monkeypatch.setattr(run_name, name, cache(getattr(run_name, name).__wrapped__))
    assert named("optimizer=sgd", "optimizer.lr=0.3") == "optimizer=sgd optimizer.lr=0.3"


def test_every_option_of_every_group_has_a_short_name() -> None:
    groups = {folder.name for folder in paths.conf_dir().iterdir() if folder.is_dir()}
    for group in groups - {"hydra", "experiment", "strategy", "data", "tracking", "sweep", "gate", "evaluation"}:
        for option in sorted(path.stem for path in Path(paths.conf_dir(), group).glob("*.yaml")):
            name = named(f"{group}={option}")
            assert name == "default" or name == f"{group}={option}" or len(name.split()) == 1, name


def test_a_long_name_keeps_the_ends_of_values_and_counts_the_rest() -> None:
    path = f"/{'a' * 150}/backbone"
    name = run_name.short([f"backbone.handle={path}", *(f"group.setting_{number}=0.5" for number in range(9))])
    assert name.startswith("backbone.handle=…aaaaa")
    assert "/backbone group.setting_0=0.5" in name
    assert name.endswith("more")
    assert len(name) <= 115
    assert name.count("group.") + int(name.split()[-2]) == 9, "what is left out is counted"
    assert run_name.short(["optimizer.lr=0.01"]) == "optimizer.lr=0.01"


def test_no_name_holds_a_password() -> None:
    address = f"https://me:{'s3cret' * 8}@host/{'long' * 20}"
    assert "s3cret" not in named(f"backbone.handle='{address}'")
