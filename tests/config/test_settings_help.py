"""The help and the page of the settings say what the comments of the schema say."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Done

from kesikaran.config import compose, schema, settings_help
from kesikaran.core import paths


def test_every_setting_is_listed_once_and_says_what_it_does() -> None:
    source = " ".join(word for word in Path(schema.__file__).read_text().split() if word != "#")
    listed = [setting for group in settings_help.groups() for setting in group.settings]
    assert sorted(setting.key for setting in listed) == sorted(compose.known_keys())
    assert [setting.key for setting in listed if not setting.what] == []
    assert [group.name for group in settings_help.groups() if not group.what] == []
    for setting in listed:
        assert setting.what in source, "it is the comment of the schema"


def test_every_option_of_a_choice_says_what_it_is() -> None:
    options = {(group.name, name): what for group in settings_help.groups() for name, what in group.options.items()}
    assert len(options) > 40
    assert [name for name, what in options.items() if not what] == []


def test_defaults_are_those_of_the_schema_and_of_the_configuration() -> None:
    found = {setting.key: setting.default for group in settings_help.groups() for setting in group.settings}
    assert (found["optimizer.lr"], found["evaluation.report"]) == ("0.001", "short")
    assert found["fit.patience"] == str(dataclasses.asdict(schema.FitConfig())["patience"])
    taken = {group.name: group.default for group in settings_help.groups()}
    assert (taken["split"], taken["hydra/launcher"], taken["experiment"]) == ("sha1_low_byte", "in_turn", None)


def test_help_says_of_every_setting_what_it_does_and_what_it_is_now(run: Callable[..., Done]) -> None:
    from kesikaran.cli import train

    done = run(train.main, "kesikaran-train", "--help", "optimizer=sgd", "fit.epochs=7")
    assert done.code == 0, done.err
    told = " ".join(done.out.split())
    for group in settings_help.groups():
        for setting in group.settings:
            assert f"  {setting.key}=" in done.out
            assert setting.what in told, setting.key
        for name in group.options:
            assert name in told
    assert "  fit.epochs=7 " in done.out
    assert "  optimizer.lr=0.01 " in done.out, "as conf/optimizer/sgd.yaml has it"
    assert "optimizer=adam (default), adamw, rmsprop, sgd" in told
    assert "$" not in done.out.replace('"$(kesikaran-train', "")


def test_the_page_is_current() -> None:
    page = (paths.conf_dir().parent / "docs" / "settings.md").read_text()
    assert page == settings_help.markdown(), "type:  python scripts/settings_doc.py"


def test_a_comment_stands_behind_its_field_or_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = tmp_path / "schema.py"
    made.write_text(
        'class A:\n    x: int = 1  # behind\n    # above,\n    # two lines\n    y: str = "#"\n    z: int = 2\n'
    )
    monkeypatch.setattr(schema, "__file__", str(made))
    assert settings_help._comments() == {("A", "x"): "behind", ("A", "y"): "above, two lines", ("A", "z"): ""}
