"""What a sweep over the options of a group leaves out of the jobs in which it would do nothing."""

from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore

from kesikaran.config import compose, idle, rules, schema
from kesikaran.core import paths
from kesikaran.core.errors import InputError


def composed(*words: str) -> Any:
    ConfigStore.instance().store(name="schema", node=schema.Experiment)
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        return hydra_compose("config", overrides=list(words))


@pytest.mark.parametrize(
    ("group", "option", "others"),
    [
        ("finetune", "finetune=none", ["finetune.epochs=5", "finetune.lr=0.1"]),
        ("augment", "augment=none", ["augment.average=false"]),
        ("augment", "augment=flips", ["augment.strength=0.5"]),
        ("imbalance", "imbalance=class_weight", ["imbalance.focal_gamma=1"]),
        ("imbalance", "imbalance=focal", ["imbalance.tau=2"]),
        ("optimizer", "optimizer=adam", ["optimizer.momentum=0.9", "optimizer.weight_decay=0.1"]),
        ("decision", "decision=plain", ["decision.prevalence=0.1"]),
        ("split", "split=sha1_low_byte", ["split.fold=2"]),
    ],
)
def test_what_only_other_options_read_is_left_out_where_the_option_varies(
    group: str, option: str, others: list[str]
) -> None:
    cfg, plain = composed(option, *others), composed(option)
    e = compose.parse(cfg)
    with pytest.raises(InputError, match="it does nothing "):
        rules.check(e)
    assert not idle.leave_out(cfg, e, {"head.dropout", f"{group}s"}), "another setting varies"
    assert cfg != plain
    assert idle.leave_out(cfg, e, {group})
    assert cfg == plain
    rules.check(compose.parse(cfg))


def test_what_the_option_reads_stays() -> None:
    words = [
        "finetune=last_blocks",
        "finetune.blocks=2",
        "finetune.epochs=5",
        "optimizer=sgd",
        "optimizer.momentum=0.9",
    ]
    cfg = composed(*words, "finetune.momentum=0.5")
    e = compose.parse(cfg)
    assert idle.leave_out(cfg, e, {"finetune.trains", "optimizer"})
    assert cfg == composed(*words)
    assert not idle.leave_out(cfg, compose.parse(cfg), {"finetune", "optimizer"})
