"""The configuration of a finished run, with what may change without training changed; the rest is in
tests/cli/test_evaluate.py."""

from typing import Any, cast

import pytest
from conftest import one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from kesikaran.config import compose, reconfigure
from kesikaran.config.schema import DecisionConfig, DecisionRule, Experiment, PublishConfig
from kesikaran.core.errors import InputError

_WITHOUT_DEFAULT = {"data.source": "label_csv", "data.name": "made", "split.rule": "sha1_low_byte",
                    "backbone.handle": "/m", "optimizer.name": "adam"}  # fmt: skip


def composed(**settings: Any) -> DictConfig:
    """The defaults with these settings: `decision__rule=...` for `decision.rule`."""
    cfg: DictConfig = OmegaConf.structured(Experiment(decision=DecisionConfig(DecisionRule.plain)))
    for key, value in _WITHOUT_DEFAULT.items():
        OmegaConf.update(cfg, key, value)
    for key, value in settings.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return cfg


def saved(**settings: Any) -> str:
    return OmegaConf.to_yaml(composed(**settings))


def logged(**settings: Any) -> dict[str, str]:
    """The params of a run with these settings."""
    return compose.flatten(cast(Experiment, OmegaConf.to_object(composed(**settings))))


def changed(text: str, words: list[str], asked: DictConfig, params: dict[str, str] | None = None) -> DictConfig:
    return reconfigure.changed(text, words, asked, "r", params or {})


PIECES = ("${oc.env:HOME}", "&a ", "*a", "[" * 40, "{", "!!python/name:os.system ", "\0", "\ud800", "\x1b[31m", "<<: ",
          "9" * 5000, ".inf", ".nan", "1e400", "null", "\n", ": ", "- ", "'", "|", "\t", "2020-01-01", "0x1f", "???",
)  # fmt: skip


@st.composite
def damage(draw: st.DrawFn, whole: str) -> str:
    """`whole` damaged once to three times: cut off, a part lost or said twice, a piece or any text put in."""
    text = whole
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 40))
        match draw(st.integers(0, 4)):
            case 0:
                text = text[:at]
            case 1:
                text = text[:at] + text[at + length :]
            case 2:
                text = text[: at + length] + text[at:]
            case 3:
                text = text[:at] + draw(st.sampled_from(PIECES)) + text[at:]
            case _:
                text = text[:at] + draw(st.text(max_size=10)) + text[at + 1 :]
    return text


@pytest.mark.parametrize(
    "word", ["decision=tuned", "decision.metric=f1", "evaluation.prevalences=[0.1]", "gate.min=0.5",
             "tracking.run_name=a=b\nc", "gate="],
)  # fmt: skip
def test_what_needs_no_training_passes(word: str) -> None:
    reconfigure.need_no_training([word])


@pytest.mark.parametrize(
    "word", ["seed=1", "optimizer.lr=0.1", "tracking.log_model=true", "tracking=default", "decision", "+gate.min=1",
             "~decision", "decision.a.b=1", "decisions=1", "\x1b[31m=1"],
)  # fmt: skip
def test_what_needs_training_is_refused(word: str) -> None:
    with pytest.raises(
        InputError, match=r"is not allowed: it needs training\. Of a finished run only decision, "
    ) as caught:
        reconfigure.need_no_training(["decision=tuned", word])
    assert one_line(str(caught.value))


def test_only_what_is_named_comes_from_the_words() -> None:
    was = {"seed": 7, "decision__rule": "tuned", "decision__metric": "f1", "evaluation__confidence": 0.8}
    asked = composed(seed=1, decision__temperature=True, evaluation__confidence=0.5, tracking__run_name="new")
    found = changed(saved(**was), ["decision.temperature=true", "tracking.run_name=new"], asked, logged(**was))
    assert (found.seed, found.evaluation.confidence, found.tracking.run_name) == (7, 0.8, "new")
    decision = found.decision
    assert (decision.rule.name, decision.metric.name, decision.temperature) == ("tuned", "f1", True)
    assert found.tracking.log_model is False


def test_a_group_that_is_named_comes_whole_and_the_old_name_of_the_run_goes() -> None:
    was = {"decision__rule": "tuned", "decision__metric": "f1", "tracking__run_name": "old"}
    found = changed(saved(**was), ["decision=cost"], composed(decision__rule="cost"), logged(**was))
    assert (found.decision.rule.name, found.decision.metric.name) == ("cost", "balanced_accuracy")
    assert found.tracking.run_name is None


def test_what_the_runs_version_did_not_have_is_the_default() -> None:
    old = OmegaConf.to_container(OmegaConf.create(saved(seed=7)))
    assert isinstance(old, dict)
    del old["decision"], old["fit"]["monitor"]
    params = {key: value for key, value in logged(seed=7).items() if key != "fit.monitor"}
    params = {key: value for key, value in params.items() if not key.startswith("decision.")}
    found = changed(OmegaConf.to_yaml(OmegaConf.create(old)), [], composed(), params)
    assert found == OmegaConf.merge(composed(seed=7), {"tracking": {"log_model": False}})
    assert set(compose.leaves(OmegaConf.to_container(found))) == set(compose.known_keys())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "config.yaml of run r is damaged: "),
        ("5", "config.yaml of run r is damaged: it holds no settings; train again"),
        ("- 1\n- 2", "config.yaml of run r is damaged: "),
        ("head: {depth: 2}", "has settings that this version does not have: head.depth; it cannot be evaluated: train"),
        ("gate: {max: 2}", "this version does not have: gate.max; give gate=default, which brings this version's"),
        ("seed: much", "has a value that this version does not take: seed: "),
        ("", "it holds no settings; train again"),
        ("seed: ${oc.env:HOME}", "seed holds ${, and nothing is looked up in a saved configuration"),
        ("head: {hidden_units: ['${oc.env:HOME}']}", "head.hidden_units holds ${, "),
        ("${oc.env:HOME}: 1", "is no name of a setting"),
        ("a: &a [1]\nb: *a", "an alias (*) is not allowed"),
        ("a: &a [1]\n" + "b: [*a, *a]\n" * 9, "an alias (*) is not allowed"),
        ("a: " + "[" * 50_000, "nesting deeper than 10 is not allowed"),
        ("a: " + "{b: " * 20_000, "nesting deeper than 10 is not allowed"),
        ("seed: 1\nseed: 2", "seed is there twice"),
        ("a" * 100_001, "it has 100,001 letters, at most 100,000 are read"),
        ("seed: !!python/object/apply:os.system [id]", "it is no plain YAML: "),
        ("seed: 2020-01-01", "seed is of type date"),
        ("seed: !!binary aGVsbG8=", "seed is of type bytes"),
        ("? [1]\n: 2", "a name that is no text is not allowed"),
        ("1: 2", "is no name of a setting"),
        ("head: {hidden_units: [[1]]}", "head.hidden_units is a list of more than single values"),
        ("seed: " + "9" * 5000, "it is no plain YAML: "),
        ("seed: 1e400", "has a value that this version does not take: seed: "),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        changed(text, [], composed())
    assert says in str(caught.value)
    assert one_line(str(caught.value))


def test_the_params_of_the_store_are_the_truth() -> None:
    """A power cut can leave a configuration of 0 bytes or half of one, which was read as "all defaults"."""
    was = {"seed": 7, "optimizer__lr": 0.02, "head__hidden_units": [256], "evaluation__prevalences": [0.5]}
    whole, params = saved(**was), logged(**was)
    assert changed(whole, [], composed(), params).optimizer.lr == 0.02
    lines = whole.splitlines(keepends=True)
    for count in range(0, len(lines), 6):
        half = "".join(lines[:count])
        with pytest.raises(
            InputError, match=r"^config\.yaml of run r (is damaged: |has a value that|has settings that)"
        ) as caught:
            changed(half, [], composed(), params)
        assert one_line(str(caught.value))
    for other, says in (
        (whole.replace("lr: 0.02", "lr: 0.3"), "it has optimizer.lr=0.3, the run was made with 0.02; train again"),
        (
            whole.replace("  lr: 0.02\n", ""),
            "config.yaml of run r lack optimizer.lr, which the run's params have; train",
        ),
    ):
        with pytest.raises(InputError) as caught:
            changed(other, [], composed(), params)
        assert says in str(caught.value)
    with pytest.raises(InputError, match=r"the run's params lack augment.average, which config\.yaml of run r have;"):
        changed(whole, [], composed(), {})


def test_a_number_is_the_same_however_it_is_written() -> None:
    was = {"evaluation__prevalences": [1.0], "gate__min": 1.0, "tracking__run_name": "x" * 7000}
    params = logged(**was) | {"evaluation.prevalences": "[1]", "gate.min": "1", "tracking.run_name": "x" * 6000}
    assert changed(saved(**was), [], composed(), params).gate.min == 1


def test_a_password_that_an_older_run_has_logged_and_a_newer_has_not() -> None:
    given, hidden = ({"backbone__handle": f"https://u:{word}@h/m"} for word in ("secret", "***"))
    changed(saved(**given), [], composed(), logged(**given))
    changed(saved(**hidden), [], composed(), logged(**hidden))


def test_a_replaced_group_needs_no_params() -> None:
    changed(saved().replace("confidence: 0.95", "confidence: 0.5"), ["evaluation=default"], composed(), logged())


ASKED, WHOLE, PARAMS = composed(), saved(), logged()


@settings(max_examples=500, derandomize=True, deadline=None, database=None)
@given(damage(WHOLE))
def test_a_damaged_configuration_is_refused_or_what_the_params_say(text: str) -> None:
    try:
        found = changed(text, [], ASKED, PARAMS)
    except InputError as refused:
        message = str(refused)
    else:
        message = ""
        assert compose.flatten(cast(Experiment, OmegaConf.to_object(found))) == PARAMS | {"tracking.log_model": "False"}
    assert one_line(message or "kept"), message


def test_the_tolerance_of_copies_is_that_of_the_run_but_for_what_is_given() -> None:
    run = saved(publish__max_changed=0.1, publish__max_difference=0.3)
    found = reconfigure.tolerance(run, ["publish.max_difference=0.5"], "r")
    assert found == PublishConfig(max_changed=0.1, max_difference=0.5)
    older = OmegaConf.to_yaml(OmegaConf.masked_copy(composed(), ["optimizer"]))
    assert reconfigure.tolerance(older, [], "r") == PublishConfig()


@pytest.mark.parametrize(
    ("text", "word", "says"),
    [
        ("", "publish.max_changed=much", "publish.max_changed=much is not allowed: a number of 0 to 1 is"),
        ("", "publish.max_changed=1.5", "publish.max_changed=1.5 is not allowed: 0 to 1"),
        ("", "publish.most=1", "publish.most=1 is not allowed: of a finished run publish.max_difference, publish."),
        ("publish: {most: 1}\n", None, "config.yaml of run r is damaged: Key 'most' not in 'PublishConfig'; train"),
        ("publish: {max_changed: much}\n", None, "config.yaml of run r is damaged: Value 'much' of type 'str'"),
        ("publish: {max_changed: 7}\n", None, "publish.max_changed=7.0 is not allowed: 0 to 1"),
        ("publish: [", None, "config.yaml of run r is damaged: it is no plain YAML"),
    ],
)
def test_a_tolerance_that_cannot_be_read(text: str, word: str | None, says: str) -> None:
    with pytest.raises(InputError) as refused:
        reconfigure.tolerance(text or saved(), [word] if word else [], "r")
    assert str(refused.value).startswith(says)
    assert one_line(str(refused.value))
