"""Which values of the settings are allowed, beyond their types: ranges, and which settings go together."""

import dataclasses
import math

from kesikaran.config import finetune_rules, idle
from kesikaran.config.metric_names import GATED, METRICS
from kesikaran.config.schema import (
    AugmentConfig,
    AugmentName,
    BackboneConfig,
    DataConfig,
    DataSource,
    DecisionConfig,
    DecisionRule,
    Engine,
    EvaluationConfig,
    Experiment,
    FitConfig,
    GateConfig,
    HeadConfig,
    ImbalanceConfig,
    JpegDecode,
    OptimizerConfig,
    Precision,
    PublishConfig,
    ResizeMethod,
    Rule,
    SplitConfig,
    Strategy,
    Trains,
)
from kesikaran.core.errors import InputError, printable

_ENDLESS_VIEWS = (AugmentName.standard, AugmentName.trivial)
# Strategies under which the logits are those of a set with as many images of one label as of the other.
_BALANCES_TRAINING = ("class_weight", "oversample", "undersample", "logit_adjusted")
_MOST = 1_000_000  # epochs, or rows at once
_A_SHARE = "above 0 and below 1"


def check(e: Experiment) -> None:
    """Check what types cannot: ranges, and settings that do not go together.

    Raises:
        InputError: the first value that is not allowed, and what is allowed.
    """
    _check_data(e.data)
    _refuse_idle(e, "split")
    _check_split(e.split)
    _check_backbone(e.backbone)
    _refuse_idle(e, "augment")
    _check_augment(e.augment)
    _check_head(e.head)
    for name, value, is_allowed, allowed in finetune_rules.ranges(e.finetune, e.imbalance.strategy):
        _need(is_allowed, f"finetune.{name}", value, allowed)
    _refuse_idle(e, "finetune")
    _check_optimizer(e.optimizer)
    _refuse_idle(e, "optimizer")
    _check_imbalance(e.imbalance, e.fit)
    _refuse_idle(e, "imbalance")
    _check_fit(e.fit)
    _refuse_idle(e, "decision")
    _check_decision(e.decision, e.imbalance.strategy)
    check_evaluation(e.evaluation)
    judged = {"evaluation.verdict": e.evaluation.verdict, "gate.metric": (e.gate.metric or "").split("/")[-1]}
    for key, name in judged.items():
        needs = name in METRICS and METRICS[name].needs_weights
        _need(not needs or e.data.weight is not None, key, name, "only with data.weight=COLUMN of the label file")
    check_publish(e.publish)
    _check_gate(e.gate)
    most = e.sweep.max_failures
    _need(most is None or 1 <= most <= _MOST, "sweep.max_failures", most, f"null or 1 to {_MOST}")
    _need(0 <= e.seed < 2**32, "seed", e.seed, "0 to 4294967295")


def check_effects(e: Experiment) -> None:
    """Check that every setting that is not the default does something in a training, as far as `check` has not: a
    finished run of an older version may have such settings, and is still evaluated.

    Raises:
        InputError: the first setting without effect, or with one that the training cannot have, and what to do.
    """
    if e.finetune.trains is Trains.none:
        _need_finite_views(e.augment)
    data, backbone = e.data, e.backbone
    is_demo = data.source is not DataSource.label_csv
    for key in ("labels", "images"):
        why = (
            f"it does nothing with data={data.source.name}, the demo's own images: leave data={data.source.name} out, "
            "or give data=label_csv"
        )
        _need(not (is_demo and getattr(data, key)), f"data.{key}", getattr(data, key), why)
    for f in dataclasses.fields(e.publish):
        value = getattr(e.publish, f.name)
        why = "it does nothing with tracking.log_model=false, which leaves no model to publish"
        _need(e.tracking.log_model or value == f.default, f"publish.{f.name}", value, why)
    _need(
        not is_demo or backbone.jpeg_decode is JpegDecode.full,
        "backbone.jpeg_decode",
        backbone.jpeg_decode.name,
        f"it does nothing with data={data.source.name}, whose images are PNG",
    )
    _need(
        backbone.antialias or backbone.resize_method is not ResizeMethod.area,
        "backbone.antialias",
        backbone.antialias,
        "it does nothing with backbone.resize_method=area, which averages all pixels",
    )


def _need(ok: bool, key: str, value: object, allowed: str) -> None:
    if not ok:
        shown = str(value) if len(str(value)) <= 100 else f"{str(value)[:100]}..."
        raise InputError(f"{key}={printable(shown)} is not allowed: {allowed}")


def _check_data(data: DataConfig) -> None:
    for key, value in (("data.labels", data.labels), ("data.images", data.images)):
        if data.source is DataSource.label_csv and not value:
            raise InputError(f"data=label_csv needs {key}=PATH (label CSV and image folder of your own data)")
    _need(0 < data.max_megapixels < math.inf, "data.max_megapixels", data.max_megapixels, "above 0")
    _need(data.limit is None or data.limit > 0, "data.limit", data.limit, "null or at least 1")


def _check_backbone(backbone: BackboneConfig) -> None:
    _need(32 <= backbone.image_size <= 2048, "backbone.image_size", backbone.image_size, "32 to 2048 px")
    value_range = backbone.value_range
    ok = len(value_range) == 2 and -math.inf < value_range[0] < value_range[1] < math.inf
    _need(ok, "backbone.value_range", value_range, "[low, high]")
    batch_size = backbone.batch_size
    ok = batch_size is None or 1 <= batch_size <= _MOST
    _need(ok, "backbone.batch_size", batch_size, f"null or 1 to {_MOST}")
    _need(
        backbone.precision is Precision.float32 or backbone.engine is Engine.openvino,
        "backbone.precision",
        backbone.precision.name,
        "float32, or backbone.engine=openvino: TensorFlow computes in the precision that the module's file has",
    )


def _check_augment(augment: AugmentConfig) -> None:
    _need(0 < augment.crop <= 1, "augment.crop", augment.crop, "above 0, at most 1")
    for key in ("brightness", "contrast"):
        value = getattr(augment, key)
        _need(0 <= value < 1, f"augment.{key}", value, "0 to below 1")
    _need(0 < augment.strength <= 1, "augment.strength", augment.strength, "above 0, at most 1")


def _need_finite_views(augment: AugmentConfig) -> None:
    """A frozen backbone's features are computed once for each view, which takes an augmentation with few of them."""
    _need(
        augment.name not in _ENDLESS_VIEWS,
        "augment.name",
        augment.name.name,
        "its views are endless, so that the features of a frozen backbone cannot be cached; give augment=flips or "
        "augment=dihedral, or fine-tune",
    )


def _check_head(head: HeadConfig) -> None:
    ok = len(head.hidden_units) <= 16 and all(1 <= units <= 65_536 for units in head.hidden_units)
    _need(ok, "head.hidden_units", head.hidden_units, "a list such as [256], at most 16 layers of 1 to 65536")
    _need(0 <= head.dropout < 1, "head.dropout", head.dropout, "0 to below 1")
    _need(head.l2 >= 0 and math.isfinite(head.l2), "head.l2", head.l2, "0 or more")


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    _need(optimizer.lr > 0 and math.isfinite(optimizer.lr), "optimizer.lr", optimizer.lr, "above 0")
    _need(0 <= optimizer.momentum < 1, "optimizer.momentum", optimizer.momentum, "0 to below 1")
    _need(0 <= optimizer.weight_decay < math.inf, "optimizer.weight_decay", optimizer.weight_decay, "0 or more")


def _check_fit(fit: FitConfig) -> None:
    _need(1 <= fit.epochs <= _MOST, "fit.epochs", fit.epochs, f"1 to {_MOST}")
    _need(1 <= fit.batch_size <= _MOST, "fit.batch_size", fit.batch_size, f"1 to {_MOST}")
    _need(fit.patience is None or fit.patience >= 1, "fit.patience", fit.patience, "null or at least 1")
    _need(0 <= fit.half < 2**32, "fit.half", fit.half, "0 to 4294967295")
    _need(0 <= fit.label_smoothing < 1, "fit.label_smoothing", fit.label_smoothing, "0 to below 1")


def check_evaluation(evaluation: EvaluationConfig) -> None:
    """Raises InputError as `check`, for this group alone: what a run was judged by may come from a stranger."""
    bins, shares = evaluation.calibration_bins, evaluation.prevalences
    _need(0 < evaluation.confidence < 1, "evaluation.confidence", evaluation.confidence, _A_SHARE)
    _need(1 <= bins <= 1000, "evaluation.calibration_bins", bins, "1 to 1000")
    _need(all(0 < p < 1 for p in shares), "evaluation.prevalences", shares, f"a list of shares {_A_SHARE}, or []")
    _need(evaluation.verdict in METRICS, "evaluation.verdict", evaluation.verdict, f"one of {', '.join(METRICS)}")


def check_publish(publish: PublishConfig) -> None:
    """Raises InputError as `check`, for this group alone."""
    for f in dataclasses.fields(publish):
        value = getattr(publish, f.name)
        _need(0 <= value <= 1, f"publish.{f.name}", value, "0 to 1")


def _check_gate(gate: GateConfig) -> None:
    if gate.metric is None or gate.min is None:
        given, lacking = ("min", "metric") if gate.metric is None else ("metric", "min")
        both = f"only together with gate.{lacking}, as in gate.metric=test/roc_auc gate.min=0.85"
        _need(gate.metric is gate.min, f"gate.{given}", getattr(gate, given), both)
        return
    split, _, name = gate.metric.partition("/")
    allowed = f"train/, validation/ or test/ with one of {', '.join(GATED)}"
    if split in ("train", "validation", "test") and name in METRICS and name not in GATED:
        allowed = f"lower is better there, and gate.min is the least that is let through; {allowed}"
    _need(split in ("train", "validation", "test") and name in GATED, "gate.metric", gate.metric, allowed)
    _need(0 <= gate.min <= 1, "gate.min", gate.min, "0 to 1")


def _check_imbalance(imbalance: ImbalanceConfig, fit: FitConfig) -> None:
    strategy, gamma, tau = imbalance.strategy, imbalance.focal_gamma, imbalance.tau
    _need(gamma >= 0 and math.isfinite(gamma), "imbalance.focal_gamma", gamma, "0 or more")
    _need(tau > 0 and math.isfinite(tau), "imbalance.tau", tau, "above 0")
    _need(
        not fit.label_smoothing or strategy is not Strategy.focal,
        "fit.label_smoothing",
        fit.label_smoothing,
        "0 with imbalance=focal: focal loss is defined for targets of 0 and 1",
    )


def _refuse_idle(e: Experiment, group: str) -> None:
    for one in idle.found(e, group):
        _need(False, one.setting, one.value, one.why)


def _check_decision(decision: DecisionConfig, strategy: Strategy) -> None:
    for name, value in (
        ("prevalence", decision.prevalence),
        ("max_false_positive_rate", decision.max_false_positive_rate),
        ("error", decision.error),
    ):
        _need(value is None or 0 < value < 1, f"decision.{name}", value, f"null, or {_A_SHARE}")
    for name in ("cost_false_positive", "cost_false_negative"):
        cost = getattr(decision, name)
        _need(0 < cost < math.inf, f"decision.{name}", cost, "above 0")
    _need(
        decision.max_false_positive_rate is None or decision.metric is DecisionConfig().metric,
        "decision.metric",
        decision.metric.name,
        "the threshold is tuned for it or for decision.max_false_positive_rate",
    )
    if decision.rule in (DecisionRule.prior_shift, DecisionRule.cost) and strategy.name in _BALANCES_TRAINING:
        raise InputError(
            f"decision={decision.rule.name} is not allowed with imbalance={strategy.name}: that has already moved the "
            "logits to equal shares of both labels, and the prior would be corrected twice; imbalance=none, or "
            "decision=plain or tuned"
        )


def _check_split(split: SplitConfig) -> None:
    for key, window in (("split.test", split.test), ("split.validation", split.validation)):
        ok = len(window) == 2 and 0 <= window[0] < window[1] <= 256
        _need(ok, key, window, "[first, past the last) with 0 <= first < past the last <= 256")
    (t0, t1), (v0, v1) = split.test, split.validation
    no_overlap = t1 <= v0 or v1 <= t0
    _need(no_overlap, "split.validation", split.validation, f"must not overlap split.test={[t0, t1]}")
    _need(2 <= split.folds <= 64, "split.folds", split.folds, "2 to 64")
    _need(0 <= split.fold < split.folds, "split.fold", split.fold, f"0 to {split.folds - 1}, below split.folds")
    similarity = split.near_duplicate_similarity
    _need(0 < similarity < 1, "split.near_duplicate_similarity", similarity, _A_SHARE)
    _need(split.block_size >= 1, "split.block_size", split.block_size, "at least 1")
    for name in ("test_size", "validation_size"):
        size = getattr(split, name)
        ok = 0 < size < 1 or (1 <= size < 2**53 and float(size).is_integer())
        _need(ok, f"split.{name}", size, "a share between 0 and 1, or a whole number of images")
    _need(0 <= split.seed < 2**32, "split.seed", split.seed, "0 to 4294967295")
    if split.rule is Rule.from_file and not split.file:
        raise InputError("split=from_file needs split.file=PATH (a CSV objectId,value,type)")
