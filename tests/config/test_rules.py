"""The edges of what each setting may be: the last value that is allowed, and the first that is not."""

import dataclasses
import functools
import math
import typing
from collections.abc import Callable
from typing import Any

import pytest
from conftest import one_line

from kesikaran.config import compose, rules
from kesikaran.config.schema import (
    AugmentName,
    BackboneConfig,
    Balance,
    DataConfig,
    DataSource,
    DecisionConfig,
    DecisionRule,
    Engine,
    Experiment,
    FinetuneOptimizer,
    HeadStart,
    JpegDecode,
    OptimizerConfig,
    OptimizerName,
    Precision,
    PublishConfig,
    ResizeMethod,
    Rule,
    SplitConfig,
    Strategy,
    Trains,
    TunedMetric,
)
from kesikaran.core.errors import InputError


def demo() -> Experiment:
    return Experiment(
        data=DataConfig(DataSource.elpv, "demo"),
        split=SplitConfig(Rule.sha1_low_byte),
        backbone=BackboneConfig("embedded:efficientnet_lite0"),
        optimizer=OptimizerConfig(OptimizerName.adam),
        decision=DecisionConfig(DecisionRule.plain),
    )


def _node(key: str, experiment: Experiment | None = None) -> Any:
    """The group that holds a setting."""
    return functools.reduce(getattr, key.split(".")[:-1], experiment or demo())


def check(settings: dict[str, Any], *checks: Callable[[Experiment], None]) -> None:
    """Check the defaults with these settings."""
    experiment = demo()
    for key, value in settings.items():
        node, name = _node(key, experiment), key.rpartition(".")[2]
        assert hasattr(node, name)
        setattr(node, name, value)
    for each in checks or [rules.check]:
        each(experiment)


OPENVINO = {"backbone.engine": Engine.openvino}
SGD, ADAMW = ({"optimizer.name": name} for name in (OptimizerName.sgd, OptimizerName.adamw))
FOCAL, ADJUSTED = ({"imbalance.strategy": strategy} for strategy in (Strategy.focal, Strategy.logit_adjusted))
FLIPS, STANDARD, TRIVIAL = (
    {"augment.name": name} for name in (AugmentName.flips, AugmentName.standard, AugmentName.trivial)
)
FOLDS, BLOCKS, RANDOM = ({"split.rule": rule} for rule in (Rule.sha1_fold, Rule.blocks, Rule.stratified_random))
SHIFT, TUNED, COST = (
    {"decision.rule": rule} for rule in (DecisionRule.prior_shift, DecisionRule.tuned, DecisionRule.cost)
)
GATE = {"gate.metric": "test/roc_auc"}
TUNE = {"finetune.trains": Trains.all}
TUNE_SGD = TUNE | {"finetune.optimizer": FinetuneOptimizer.sgd}
A_SHARE: tuple[list[Any], list[Any]] = ([1e-9, 0.999], [0.0, 1.0, -0.5, math.nan])
EDGES: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [  # allowed, and not
    ("data.max_megapixels", {}, [1e-9], [0.0, -1.0, math.nan]),
    ("data.limit", {}, [1, None], [0]),
    ("backbone.image_size", {}, [32, 2048], [31, 2049]),
    ("backbone.value_range", {}, [[-1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0], [0.0], [0.0, 1.0, 2.0]]),
    ("backbone.batch_size", {}, [1, None], [0]),
    ("backbone.precision", {}, [Precision.float32], [Precision.bfloat16]),
    ("backbone.precision", OPENVINO, [Precision.float32, Precision.bfloat16], []),
    ("augment.crop", STANDARD, [1e-9, 1.0], [0.0, 1.001]),
    ("augment.brightness", STANDARD, [0.0, 0.999], [1.0, -0.001]),
    ("augment.contrast", STANDARD, [0.0, 0.999], [1.0, -0.001]),
    ("augment.crop", FLIPS, [0.5], [0.6]),
    ("augment.strength", TRIVIAL, [1e-9, 1.0], [0.0, 1.001]),
    ("augment.strength", STANDARD, [1.0], [0.5]),
    ("head.hidden_units", {}, [[], [1]], [[0], [5, 0]]),
    ("head.dropout", {}, [0.0, 0.999], [1.0, -0.001]),
    ("head.l2", {}, [0.0], [-1e-9, math.inf, math.nan]),
    ("finetune.trains", {}, list(Trains), []),
    ("finetune.blocks", TUNE, [4], [3]),
    ("finetune.blocks", {"finetune.trains": Trains.last_blocks}, [1, 300], [0]),
    ("finetune.epochs", TUNE, [1], [0]),
    ("finetune.batch_size", TUNE, [1], [0]),
    ("finetune.patience", TUNE, [1, None], [0]),
    ("finetune.lr", TUNE, [1e-9], [0.0, -1.0, math.inf]),
    ("finetune.momentum", TUNE, [0.9], [0.5]),
    ("finetune.momentum", TUNE_SGD, [0.0, 0.999], [1.0, -0.001]),
    ("finetune.weight_decay", TUNE, [0.0, 1.0], [-0.001, math.inf]),
    ("finetune.layer_decay", TUNE, [1e-9, 1.0], [0.0, 1.001]),
    ("finetune.clip_norm", TUNE, [1e-9, None], [0.0, math.inf]),
    ("finetune.warmup", TUNE, [0.0, 0.999], [1.0, -0.001]),
    ("finetune.dropout", TUNE, [0.0, 0.999], [1.0, -0.001]),
    ("finetune.label_smoothing", TUNE, [0.0, 0.999], [1.0, -0.001]),
    ("finetune.label_smoothing", TUNE | FOCAL, [0.0], [0.05]),
    ("finetune.ema", TUNE, [*A_SHARE[0], None], A_SHARE[1]),
    ("finetune.average_best", TUNE | {"finetune.epochs": 3}, [1, 3], [0, 4]),
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
    ("evaluation.verdict", {"data.weight": "w"}, ["weighted_accuracy"], []),
    ("evaluation.verdict", {}, [], ["weighted_accuracy"]),
    ("gate.metric", {"gate.min": 0.5}, [], ["test/weighted_accuracy"]),
    ("gate.metric", {"gate.min": 0.5, "data.weight": "w"}, ["test/weighted_accuracy"], []),
    ("gate.min", {}, [None], [0.5]),
    ("gate.min", GATE, [0.0, 1.0], [-0.001, 1.001]),
    *((f"publish.{f.name}", {}, [0.0, 1.0], [-0.001, 1.001]) for f in dataclasses.fields(PublishConfig)),
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


FLOATS = [
    key
    for key in compose.known_keys()
    if "float" in str(typing.get_type_hints(type(_node(key)))[key.rpartition(".")[2]])
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", FLOATS)
def test_no_float_is_endless_or_no_number(key: str, value: float) -> None:
    """Whatever else is set, so that the rule of a group does not hide it."""
    several = isinstance(getattr(_node(key), key.rpartition(".")[2]), list)
    values = [[0.0, value], [value, 1.0]] if several else [value]
    readers: list[dict[str, Any]] = [
        *(STANDARD, TRIVIAL, SGD, ADAMW, FOCAL, ADJUSTED, RANDOM, SHIFT, TUNED, COST, GATE, TUNE, TUNE_SGD, {})
    ]
    for settings in [given | {key: wrong} for given in readers for wrong in values]:
        with pytest.raises(InputError, match="is not allowed: ") as caught:
            check(settings)
        assert str(caught.value).startswith(f"{key}=")


def test_the_floats_are_found() -> None:
    assert len(FLOATS) > 15
    assert {"data.max_megapixels", "backbone.value_range", "gate.min", "split.test_size"} < set(FLOATS)


# Every setting: a composition in which a value that is not the default would do nothing and is refused, or why there is
# none. Where the reason is that something guards or names, it does so in every composition.
OWN = {"data.source": DataSource.label_csv, "data.labels": "l.csv", "data.images": "i"}
GUARDS = "it guards against images that may come"
ALL_TRAIN = "every training reads it"
ALL_SPLIT = "every composition has it: it chooses"
WITHOUT_EFFECT: dict[str, str | dict[str, Any]] = {
    "data.source": ALL_SPLIT,
    "data.name": "it names the MLflow experiment",
    "data.labels": {"data.labels": "l.csv"},
    "data.images": {"data.images": "i"},
    "data.weight": "a metric is judged by it in every run",
    "data.on_bad_image": GUARDS,
    "data.max_megapixels": GUARDS,
    "data.limit": "how many images there are is not known before they are read",
    "split.rule": ALL_SPLIT,
    "split.test": FOLDS | {"split.test": [0, 20]},
    "split.validation": RANDOM | {"split.validation": [30, 50]},
    "split.balance": FOLDS | {"split.balance": Balance.none},
    "split.group": BLOCKS | {"split.group": "session"},
    "split.near_duplicate_similarity": "each run reports near-duplicates; where it does not, "
    "the label file says so, and the setting is refused once that is read",
    "split.fold": {"split.fold": 3},
    "split.folds": RANDOM | {"split.folds": 5},
    "split.block_size": FOLDS | {"split.block_size": 8},
    "split.order": FOLDS | {"split.order": "position"},
    "split.test_size": {"split.test_size": 0.2},
    "split.validation_size": BLOCKS | {"split.validation_size": 0.2},
    "split.stratify": {"split.stratify": "module"},
    "split.seed": {"split.seed": 1},
    "split.file": {"split.file": "split.csv"},
    "backbone.handle": ALL_SPLIT,
    "backbone.trusted": "what a module does is not known before it is read",
    "backbone.image_size": ALL_TRAIN,
    "backbone.value_range": ALL_TRAIN,
    "backbone.resize_method": ALL_TRAIN,
    "backbone.antialias": OWN | {"backbone.resize_method": ResizeMethod.area, "backbone.antialias": False},
    "backbone.as_seen": "of every data set an image may be turned or transparent",
    "backbone.jpeg_decode": {"backbone.jpeg_decode": JpegDecode.reduced},
    "backbone.engine": ALL_SPLIT,
    "backbone.precision": {"backbone.precision": Precision.bfloat16},
    "backbone.batch_size": "every pass reads it, and which images are cached is not known before",
    "augment.name": ALL_SPLIT,
    "augment.crop": FLIPS | {"augment.crop": 0.7},
    "augment.brightness": FLIPS | {"augment.brightness": 0.1},
    "augment.contrast": {"augment.contrast": 0.1},
    "augment.strength": FLIPS | {"augment.strength": 0.5},
    "augment.average": {"augment.average": False},
    "head.hidden_units": ALL_TRAIN,
    "head.dropout": ALL_TRAIN,
    "head.l2": ALL_TRAIN,
    "finetune.trains": ALL_SPLIT,
    "finetune.blocks": TUNE | {"finetune.blocks": 2},
    "finetune.head_start": {"finetune.head_start": HeadStart.random},
    "finetune.from_run": {"finetune.from_run": "a-run"},
    "finetune.mixed_precision": {"finetune.mixed_precision": True},
    "finetune.update_statistics": {"finetune.update_statistics": True},
    "finetune.epochs": {"finetune.epochs": 2},
    "finetune.batch_size": {"finetune.batch_size": 2},
    "finetune.patience": {"finetune.patience": 2},
    "finetune.optimizer": {"finetune.optimizer": FinetuneOptimizer.sgd},
    "finetune.lr": {"finetune.lr": 1e-5},
    "finetune.momentum": TUNE | {"finetune.momentum": 0.5},
    "finetune.weight_decay": {"finetune.weight_decay": 0.0},
    "finetune.layer_decay": {"finetune.layer_decay": 0.5},
    "finetune.clip_norm": {"finetune.clip_norm": None},
    "finetune.warmup": {"finetune.warmup": 0.0},
    "finetune.dropout": {"finetune.dropout": 0.0},
    "finetune.label_smoothing": {"finetune.label_smoothing": 0.0},
    "finetune.ema": {"finetune.ema": 0.9},
    "finetune.average_best": {"finetune.average_best": 2},
    "optimizer.name": ALL_SPLIT,
    "optimizer.lr": ALL_TRAIN,
    "optimizer.schedule": ALL_TRAIN,
    "optimizer.momentum": ADAMW | {"optimizer.momentum": 0.9},
    "optimizer.weight_decay": SGD | {"optimizer.weight_decay": 0.1},
    "imbalance.strategy": ALL_SPLIT,
    "imbalance.focal_gamma": ADJUSTED | {"imbalance.focal_gamma": 1.0},
    "imbalance.tau": FOCAL | {"imbalance.tau": 2.0},
    "fit.epochs": ALL_TRAIN,
    "fit.batch_size": ALL_TRAIN,
    "fit.patience": "any number keeps the best epoch, null the last",
    "fit.monitor": "it is also the value by which a sweep judges its jobs",
    "fit.half": ALL_TRAIN,
    "fit.label_smoothing": FOCAL | {"fit.label_smoothing": 0.1},
    "decision.rule": ALL_SPLIT,
    "decision.temperature": "the probabilities of every rule change with it",
    "decision.prevalence": TUNED | {"decision.prevalence": 0.5},
    "decision.metric": TUNED | {"decision.max_false_positive_rate": 0.1, "decision.metric": TunedMetric.f1},
    "decision.max_false_positive_rate": SHIFT | {"decision.max_false_positive_rate": 0.1},
    "decision.cost_false_positive": TUNED | {"decision.cost_false_positive": 2.0},
    "decision.cost_false_negative": SHIFT | {"decision.cost_false_negative": 2.0},
    "decision.error": "every rule leaves images of which it is not sure",
    "evaluation.confidence": "every run has intervals",
    "evaluation.calibration_bins": "every run has a calibration error",
    "evaluation.prevalences": "every run reports them",
    "evaluation.verdict": "every run may be compared",
    "evaluation.report": "every run is reported",
    "gate.metric": {"gate.metric": "test/roc_auc"},
    "gate.min": {"gate.min": 0.5},
    "tracking.run_name": "it names the run",
    "tracking.log_model": "every run has a model",
    **{
        f"publish.{f.name}": {"tracking.log_model": False, f"publish.{f.name}": 0.5}
        for f in dataclasses.fields(PublishConfig)
    },
    "sweep.resume": "in a single run, which rules do not know of: cli.train refuses it there",
    "sweep.max_failures": "as sweep.resume",
    "seed": "the first weights and the order of the rows depend on it",
    "deterministic": ALL_TRAIN,
    "device": ALL_TRAIN,
}


def test_of_every_setting_it_is_known_where_it_does_nothing() -> None:
    assert tuple(WITHOUT_EFFECT) == compose.known_keys()


@pytest.mark.parametrize("key", [key for key, what in WITHOUT_EFFECT.items() if isinstance(what, dict)])
def test_a_setting_without_effect_is_refused(key: str) -> None:
    given = WITHOUT_EFFECT[key]
    assert isinstance(given, dict)
    with pytest.raises(InputError) as caught:
        check(given, rules.check, rules.check_effects)
    assert str(caught.value).startswith(f"{key}=")
    assert one_line(str(caught.value))
    check({name: value for name, value in given.items() if name != key}, rules.check_effects)


def test_where_it_does_something_it_passes() -> None:
    for settings in (OWN, OWN | {"backbone.jpeg_decode": JpegDecode.reduced}, {"backbone.antialias": False}):
        check(settings, rules.check, rules.check_effects)


@pytest.mark.parametrize("name", list(AugmentName))
def test_a_frozen_backbone_has_finitely_many_views(name: AugmentName) -> None:
    if name in (AugmentName.standard, AugmentName.trivial):
        says = f"^augment.name={name.name} is not allowed: its views are endless, .*; give augment=flips or"
        with pytest.raises(InputError, match=says) as caught:
            check({"augment.name": name}, rules.check, rules.check_effects)
        assert one_line(str(caught.value))
    else:
        check({"augment.name": name}, rules.check, rules.check_effects)


def test_a_finished_run_with_a_setting_without_effect_is_still_read() -> None:
    """Older versions trained it, and `evaluate` calls `check` alone."""
    check({"data.labels": "l.csv", "data.images": "i", "backbone.jpeg_decode": JpegDecode.reduced})


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
