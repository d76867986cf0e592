"""The edges of what each setting may be: the last value that is allowed, and the first that is not."""

import math
from typing import Any

import pytest
from conftest import one_line

from kesikaran.config import rules
from kesikaran.config.schema import (
    BackboneConfig,
    DataConfig,
    DataSource,
    DecisionConfig,
    DecisionRule,
    Engine,
    Experiment,
    OptimizerConfig,
    OptimizerName,
    Precision,
    Rule,
    SplitConfig,
    Strategy,
)
from kesikaran.core.errors import InputError


def check(settings: dict[str, Any]) -> None:
    """Check the defaults with these settings."""
    experiment = Experiment(
        data=DataConfig(DataSource.elpv, "demo"),
        split=SplitConfig(Rule.sha1_low_byte),
        backbone=BackboneConfig("embedded:efficientnet_lite0"),
        optimizer=OptimizerConfig(OptimizerName.adam),
        decision=DecisionConfig(DecisionRule.plain),
    )
    for key, value in settings.items():
        *groups, name = key.split(".")
        node: Any = experiment
        for group in groups:
            node = getattr(node, group)
        assert hasattr(node, name)
        setattr(node, name, value)
    rules.check(experiment)


OPENVINO = {"backbone.engine": Engine.openvino}
SGD, ADAMW = ({"optimizer.name": name} for name in (OptimizerName.sgd, OptimizerName.adamw))
FOCAL, ADJUSTED = ({"imbalance.strategy": strategy} for strategy in (Strategy.focal, Strategy.logit_adjusted))
FOLDS, BLOCKS, RANDOM = ({"split.rule": rule} for rule in (Rule.sha1_fold, Rule.blocks, Rule.stratified_random))
SHIFT, TUNED, COST = (
    {"decision.rule": rule} for rule in (DecisionRule.prior_shift, DecisionRule.tuned, DecisionRule.cost)
)
GATE = {"gate.metric": "test/roc_auc"}
A_SHARE: tuple[list[Any], list[Any]] = ([1e-9, 0.999], [0.0, 1.0, -0.5, math.nan])
EDGES: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [  # allowed, and not
    ("data.max_megapixels", {}, [1e-9], [0.0, -1.0, math.nan]),
    ("data.limit", {}, [1, None], [0]),
    ("backbone.image_size", {}, [32, 2048], [31, 2049]),
    ("backbone.value_range", {}, [[-1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0], [0.0], [0.0, 1.0, 2.0]]),
    ("backbone.batch_size", {}, [1, None], [0]),
    ("backbone.precision", {}, [Precision.float32], [Precision.bfloat16]),
    ("backbone.precision", OPENVINO, [Precision.float32, Precision.bfloat16], []),
    ("head.hidden_units", {}, [[], [1]], [[0], [5, 0]]),
    ("head.dropout", {}, [0.0, 0.999], [1.0, -0.001]),
    ("head.l2", {}, [0.0], [-1e-9, math.inf, math.nan]),
    ("optimizer.lr", {}, [1e-9], [0.0, -1.0, math.inf, math.nan]),
    ("optimizer.momentum", {}, [0.0], [0.5]),
    ("optimizer.momentum", SGD, [0.0, 0.999], [1.0, -0.001]),
    ("optimizer.weight_decay", {}, [0.0], [0.1]),
    ("optimizer.weight_decay", ADAMW, [0.0, 0.1], [-0.001]),
    ("imbalance.focal_gamma", {}, [2.0], [1.0]),
    ("imbalance.focal_gamma", FOCAL, [0.0, 5.0], [-0.001, math.inf]),
    ("imbalance.tau", {}, [1.0], [2.0]),
    ("imbalance.tau", ADJUSTED, [1e-9, 2.0], [0.0, math.inf]),
    ("fit.half", {}, [0, 1, 2**32 - 1], [-1, 2**32]),
    ("fit.label_smoothing", {}, [0.0, 0.999], [1.0, -0.001]),
    ("fit.label_smoothing", FOCAL, [0.0], [0.1]),
    ("fit.epochs", {}, [1], [0]),
    ("fit.batch_size", {}, [1], [0]),
    ("fit.patience", {}, [1, None], [0]),
    ("decision.prevalence", SHIFT, *A_SHARE),
    ("decision.prevalence", COST, *A_SHARE),
    ("decision.prevalence", TUNED, [None], [0.5]),
    ("decision.max_false_positive_rate", TUNED, *A_SHARE),
    ("decision.cost_false_positive", COST, [1e-9], [0.0, math.inf]),
    ("decision.cost_false_negative", COST, [1e-9], [0.0, math.inf]),
    ("evaluation.confidence", {}, *A_SHARE),
    ("evaluation.calibration_bins", {}, [1], [0]),
    ("evaluation.verdict", {}, ["accuracy", "log_loss", "calibration_error"], ["", "auc", "selection_log_loss"]),
    ("evaluation.prevalences", {}, [[], [1e-9, 0.999]], [[0.5, 1.0], [0.0, 0.5]]),
    ("gate.min", {}, [None], [0.5]),
    ("gate.min", GATE, [0.0, 1.0], [-0.001, 1.001]),
    ("gate.metric", {}, [None], ["test/roc_auc"]),
    ("seed", {}, [0, 2**32 - 1], [-1, 2**32]),
    ("split.test", {}, [[0, 1], [0, 25], [50, 256]], [[5, 5], [-1, 5], [50, 257], [0]]),
    ("split.validation", {}, [[25, 26], [255, 256]], [[24, 26], [30, 30], [250, 257]]),
    ("split.validation", {"split.test": [50, 60]}, [[49, 50], [60, 61]], [[49, 51], [59, 61]]),
    ("split.folds", FOLDS, [2, 64], [1, 65]),
    ("split.fold", FOLDS, [0, 9], [-1, 10]),
    ("split.block_size", BLOCKS, [1], [0]),
    ("split.block_size", FOLDS, [64], [1]),
    ("split.test_size", RANDOM, [0.001, 0.999, 1, 2.0], [0, 1.5, -1]),
    ("split.validation_size", RANDOM, [0.001, 0.999, 1, 2.0], [0, 1.5, -1]),
    ("split.seed", RANDOM, [0, 2**32 - 1], [-1, 2**32]),
    ("split.near_duplicate_similarity", {}, *A_SHARE),
]
ALLOWED = [(key, given | {key: value}) for key, given, allowed, _ in EDGES for value in allowed]
REFUSED = [(key, given | {key: value}) for key, given, _, refused in EDGES for value in refused]


@pytest.mark.parametrize(("key", "settings"), ALLOWED, ids=str)
def test_the_last_value_is_allowed(key: str, settings: dict[str, Any]) -> None:
    check(settings)


@pytest.mark.parametrize(("key", "settings"), REFUSED, ids=str)
def test_the_first_value_past_it_is_refused_by_its_name(key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is not allowed: ") as caught:
        check(settings)
    assert str(caught.value).startswith(f"{key}=")
    assert one_line(str(caught.value))


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("rule", list(DecisionRule))
def test_a_prior_is_corrected_once(rule: DecisionRule, strategy: Strategy) -> None:
    """Not by training that moves the logits to equal shares and by the decision again."""
    moved = strategy not in (Strategy.none, Strategy.focal)
    settings = {"decision.rule": rule, "imbalance.strategy": strategy}
    if moved and rule in (DecisionRule.prior_shift, DecisionRule.cost):
        with pytest.raises(InputError, match="the prior would be corrected twice"):
            check(settings)
    else:
        check(settings)
