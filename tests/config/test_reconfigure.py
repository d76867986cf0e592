"""The configuration of a finished run, with what may change without training changed; the rest is in
tests/cli/test_evaluate.py."""

from typing import Any

import pytest
from conftest import one_line
from omegaconf import DictConfig, OmegaConf

from kesikaran.config import compose, reconfigure
from kesikaran.config.schema import DecisionConfig, DecisionRule, Experiment
from kesikaran.core.errors import InputError


def composed(**settings: Any) -> DictConfig:
    """The defaults with these settings: `decision__rule=...` for `decision.rule`."""
    cfg: DictConfig = OmegaConf.structured(Experiment(decision=DecisionConfig(DecisionRule.plain)))
    for key, value in settings.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return cfg


def saved(**settings: Any) -> str:
    return OmegaConf.to_yaml(composed(**settings))


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
    old = saved(seed=7, decision__rule="tuned", decision__metric="f1", evaluation__confidence=0.8)
    asked = composed(seed=1, decision__temperature=True, evaluation__confidence=0.5, tracking__run_name="new")
    found = reconfigure.changed(old, ["decision.temperature=true", "tracking.run_name=new"], asked, "r")
    assert (found.seed, found.evaluation.confidence, found.tracking.run_name) == (7, 0.8, "new")
    decision = found.decision
    assert (decision.rule.name, decision.metric.name, decision.temperature) == ("tuned", "f1", True)
    assert found.tracking.log_model is False


def test_a_group_that_is_named_comes_whole_and_the_old_name_of_the_run_goes() -> None:
    old = saved(decision__rule="tuned", decision__metric="f1", tracking__run_name="old")
    found = reconfigure.changed(old, ["decision=cost"], composed(decision__rule="cost"), "r")
    assert (found.decision.rule.name, found.decision.metric.name) == ("cost", "balanced_accuracy")
    assert found.tracking.run_name is None


def test_what_the_runs_version_did_not_have_is_the_default() -> None:
    old = OmegaConf.to_container(OmegaConf.create(saved(seed=7)))
    assert isinstance(old, dict)
    del old["decision"], old["fit"]["monitor"]
    found = reconfigure.changed(OmegaConf.to_yaml(OmegaConf.create(old)), [], composed(), "r")
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
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        reconfigure.changed(text, [], composed(), "r")
    assert says in str(caught.value)
    assert one_line(str(caught.value))
