"""The words of an experiment: one dataclass for each config group, and the door from Hydra to them.

`DictConfig` ends here. Rooms take one of these dataclasses or plain values.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kesikaran.errors import InputError


class DataSource(Enum):
    elpv = "elpv"
    label_csv = "label_csv"


class OnBadImage(Enum):
    quarantine = "quarantine"
    fail = "fail"


class Rule(Enum):
    sha1_low_byte = "sha1_low_byte"
    sha1_fold = "sha1_fold"
    blocks = "blocks"
    stratified_random = "stratified_random"
    from_file = "from_file"


class Balance(Enum):
    minority = "minority"
    none = "none"


class ResizeMethod(Enum):
    bilinear = "bilinear"
    bicubic = "bicubic"
    area = "area"
    lanczos3 = "lanczos3"


class JpegDecode(Enum):
    full = "full"
    reduced = "reduced"


class Engine(Enum):
    tensorflow = "tensorflow"
    openvino = "openvino"


class Precision(Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"


class OptimizerName(Enum):
    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"
    rmsprop = "rmsprop"


class Schedule(Enum):
    constant = "constant"
    cosine = "cosine"


class Strategy(Enum):
    none = "none"
    class_weight = "class_weight"
    oversample = "oversample"
    undersample = "undersample"
    focal = "focal"
    logit_adjusted = "logit_adjusted"


class DecisionRule(Enum):
    plain = "plain"
    prior_shift = "prior_shift"
    tuned = "tuned"
    cost = "cost"


class TunedMetric(Enum):
    balanced_accuracy = "balanced_accuracy"
    accuracy = "accuracy"
    f1 = "f1"


class Monitor(Enum):
    loss = "loss"
    auc = "auc"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


@dataclass
class DataConfig:
    source: DataSource = MISSING
    name: str = MISSING  # the MLflow experiment: one a data set
    labels: str | None = None  # label.csv: columns objectId (SHA-1 file name) and value (0 or 1)
    images: str | None = None  # the folder that holds the files named in objectId
    on_bad_image: OnBadImage = OnBadImage.quarantine
    max_megapixels: float = 50.0  # larger images, not yet cached, are refused unread: a decompression bomb
    limit: int | None = None  # only the first n rows by object id, for debugging


@dataclass
class SplitConfig:
    rule: Rule = MISSING
    test: list[int] = field(default_factory=lambda: [0, 25])  # [first, past the last) of the low byte
    validation: list[int] = field(default_factory=lambda: [25, 50])
    balance: Balance = Balance.minority  # of validation and test; the surplus goes to train
    group: str | None = None  # a column of the label file, or near_duplicate: equal values stay together
    near_duplicate_similarity: float = 0.9  # the least cosine of near-duplicates, of centred features
    fold: int = 0  # 0 to folds - 1
    folds: int = 10
    block_size: int = 64  # neighbours kept together
    order: str | None = None  # the column that lines the images up; null: the rows of the label file
    test_size: float = 0.15  # below 1 a share, else a number of images
    validation_size: float = 0.15
    stratify: str | None = None  # the column whose classes stay in proportion; null: the label
    seed: int = 0
    file: str | None = None  # CSV objectId,value,type, as scripts/split.py writes it


# What each rule reads. Any other setting of the group would do nothing, and is refused.
_READ_BY_RULE = {
    Rule.sha1_low_byte: {"test", "validation", "balance", "group"},
    Rule.sha1_fold: {"fold", "folds", "group"},
    Rule.blocks: {"fold", "folds", "block_size", "order"},
    Rule.stratified_random: {"test_size", "validation_size", "stratify", "seed"},
    Rule.from_file: {"file"},
}
_READ_BY_EVERY_RULE = {"rule", "near_duplicate_similarity"}  # the report of near-duplicates is every run's


@dataclass
class BackboneConfig:
    handle: str = MISSING  # hub URL, SavedModel folder, or embedded:efficientnet_lite0
    image_size: int = 224  # px, height and width fed to the module
    value_range: list[float] = field(default_factory=lambda: [0.0, 1.0])  # what the module expects
    resize_method: ResizeMethod = ResizeMethod.bilinear
    antialias: bool = True
    jpeg_decode: JpegDecode = JpegDecode.full  # reduced: large JPEGs at 1/2, 1/4 or 1/8, faster, other features
    engine: Engine = Engine.tensorflow  # what computes the features; openvino is quicker on a CPU
    precision: Precision = Precision.float32  # of openvino
    batch_size: int | None = None  # images a forward pass; null: 32 on a CPU, 256 on a GPU


@dataclass
class HeadConfig:
    hidden_units: list[int] = field(default_factory=list)  # ReLU layers; empty: a linear head
    dropout: float = 0.0  # on the features and after every hidden layer
    l2: float = 0.0  # on every kernel


@dataclass
class OptimizerConfig:
    name: OptimizerName = MISSING
    lr: float = 1e-3
    schedule: Schedule = Schedule.constant
    momentum: float = 0.0  # sgd and rmsprop
    weight_decay: float = 0.0  # adamw


@dataclass
class ImbalanceConfig:
    strategy: Strategy = Strategy.none
    focal_gamma: float = 2.0  # of focal: how much less an easy image counts; 0: plain cross-entropy
    tau: float = 1.0  # of logit_adjusted: the share of the classes' log odds that the logits are freed of


@dataclass
class FitConfig:
    epochs: int = 100
    batch_size: int = 32
    patience: int | None = 10  # epochs without improvement before stopping; null: never stop early
    monitor: Monitor = Monitor.loss  # the validation metric that picks the epoch and is the sweep's objective
    label_smoothing: float = 0.0  # training targets move by this share of the way to 0.5 (Szegedy et al. 2016)


@dataclass
class DecisionConfig:
    rule: DecisionRule = MISSING
    temperature: bool = False  # scale the logits by one number, fitted on validation (Guo et al. 2017)
    prevalence: float | None = None  # of label 1 where it will be decided; null: that of validation
    metric: TunedMetric = TunedMetric.balanced_accuracy  # what the threshold is tuned for, on validation
    max_false_positive_rate: float | None = None  # on validation: the threshold with the highest recall within it
    cost_false_positive: float = 1.0
    cost_false_negative: float = 1.0


# What each rule reads, as of the split.
_READ_BY_DECISION: dict[DecisionRule, set[str]] = {
    DecisionRule.plain: set(),
    DecisionRule.prior_shift: {"prevalence"},
    DecisionRule.tuned: {"metric", "max_false_positive_rate"},
    DecisionRule.cost: {"prevalence", "cost_false_positive", "cost_false_negative"},
}
_READ_BY_EVERY_DECISION = {"rule", "temperature"}
TEMPERATURES = (0.05, 20.0)  # the range in which it is looked for: labels that the logits part perfectly have no best
# Trained with these, the logits are those of a set with as many of one label as of the other.
_BALANCES_TRAINING = ("class_weight", "oversample", "undersample", "logit_adjusted")


@dataclass
class GateConfig:
    metric: str | None = None  # such as test/roc_auc
    min: float | None = None  # what the lower end of its interval must reach, or the exit code is 3


# What a gate may ask for: the metrics of scores.score, by which way is better.
HIGHER_IS_BETTER = (
    "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "pr_auc",
)  # fmt: skip
LOWER_IS_BETTER = ("log_loss", "brier", "calibration_error")


@dataclass
class EvaluationConfig:
    confidence: float = 0.95  # of every interval
    calibration_bins: int = 10  # of calibration_error, with as many images each
    # Shares of label 1 where the classifier may be used: precision, alerts and misses are told for each.
    prevalences: list[float] = field(default_factory=lambda: [0.5, 0.1, 0.01, 0.001])


@dataclass
class TrackingConfig:
    run_name: str | None = None
    log_model: bool = True


@dataclass
class Experiment:
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = 0
    deterministic: bool = False  # bit-identical metrics on one machine, slower
    device: Device = Device.auto


def parse(cfg: DictConfig) -> Experiment:
    """Turn the composed configuration into dataclasses. Ranges are `check`'s.

    Raises:
        InputError: a missing value, or a setting that is none (`+group.key=` gets past Hydra).
    """
    for key in _keys(OmegaConf.to_container(cfg)):
        if key not in known_keys():
            raise InputError(_no_such_setting(key))
    try:
        experiment = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise InputError(_one_line(error)) from None
    if not isinstance(experiment, Experiment):
        raise TypeError(f"expected an Experiment, got {type(experiment)}")
    if not re.fullmatch(r"\w[\w. -]*", experiment.data.name):  # a folder of mlruns/ is named after it
        raise InputError(
            f"data.name={experiment.data.name} is not allowed: letters, digits, blanks and . _ - "
            "(it names the MLflow experiment)"
        )
    return experiment


def flatten(experiment: Experiment) -> dict[str, str]:
    """Every setting by its dotted name, as text: `{"optimizer.lr": "0.001", ...}`. MLflow's params."""

    def walk(prefix: str, value: Any) -> dict[str, str]:
        if dataclasses.is_dataclass(value):
            parts = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
            return {k: v for name, part in parts for k, v in walk(f"{prefix}{name}.", part).items()}
        return {prefix[:-1]: value.name if isinstance(value, Enum) else str(value)}

    return walk("", experiment)


def fingerprint(experiment: Experiment, identity: dict[str, str]) -> str:
    """32 hex digits: two runs that share it did the same thing on the same data. Where the data lie and
    how a run is called, logged and judged do not count."""
    left_out = (
        "gate.",
        "tracking.",
        "data.labels",
        "data.images",
        "data.name",
        "split.file",
        "backbone.handle",
        "backbone.batch_size",
    )
    params = {k: v for k, v in flatten(experiment).items() if not k.startswith(left_out)}
    return hashlib.sha256(json.dumps({**params, **identity}, sort_keys=True).encode()).hexdigest()[:32]


def known_keys(node: type = Experiment, prefix: str = "") -> list[str]:
    """The dotted names of every setting."""
    keys = []
    for f in dataclasses.fields(node):
        inner = f.type if isinstance(f.type, type) else None
        is_group = inner is not None and dataclasses.is_dataclass(inner)
        keys += known_keys(inner, f"{prefix}{f.name}.") if is_group and inner else [f"{prefix}{f.name}"]
    return keys


def explain(error: Exception) -> str:
    """Hydra's and OmegaConf's errors in one line, with the valid names where a name is wrong."""
    text = _one_line(error)
    cause = error.__cause__ or error.__context__
    if cause is not None and _one_line(cause) not in text:
        text = f"{text} {_one_line(cause)}"
    if found := re.search(r"Could not override '([\w.]+)'|Key '([\w.]+)' (?:is )?not in", text):
        return _no_such_setting(found.group(1) or found.group(2))
    if found := re.search(
        r"Could not find '([\w/]+)/([^']*)' Available options in '[^']+': ([\w ]+?)(?: Config|$)", text
    ):
        group, option, options = found.groups()
        return f"there is no option {group}={option}; the valid ones are: {', '.join(options.split())}"
    if found := re.search(r"Error merging override (\S+?=.*?) ((?:Value|Invalid) .*)", text):
        return f"{found.group(1)} is not allowed: {found.group(2)}"
    if "override_grammar" in text:
        said = text.split(" See https")[0]
        return f"cannot read an override ({said}); write group=option or group.key=value, in quotes where it has blanks"
    return text


def _no_such_setting(key: str) -> str:
    group = key.rpartition(".")[0]
    inside = [known for known in known_keys() if known.startswith(f"{group}.")] if group else []
    names = inside or sorted({known.split(".")[0] for known in known_keys()} | {"experiment", "strategy"})
    return f"there is no setting {key}; the valid ones are: {', '.join(names)}"


def _keys(node: Any, prefix: str = "") -> list[str]:
    """The dotted names of the leaves of nested dicts."""
    if not isinstance(node, dict):
        return [prefix[:-1]]
    return [key for name, inner in node.items() for key in _keys(inner, f"{prefix}{name}.")]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split("full_key:")[0].split())


def check(e: Experiment) -> None:
    """Ranges that types cannot say.

    Raises:
        InputError: the first value that is not allowed, and what is.
    """

    def need(ok: bool, key: str, value: object, allowed: str) -> None:
        if not ok:
            raise InputError(f"{key}={value} is not allowed: {allowed}")

    for key, value in (("data.labels", e.data.labels), ("data.images", e.data.images)):
        if e.data.source is DataSource.label_csv and not value:
            raise InputError(f"data=label_csv needs {key}=PATH (label CSV and image folder of your own data)")
    need(e.data.max_megapixels > 0, "data.max_megapixels", e.data.max_megapixels, "above 0")
    need(e.data.limit is None or e.data.limit > 0, "data.limit", e.data.limit, "null or at least 1")
    _check_split(e.split, need)
    need(32 <= e.backbone.image_size <= 2048, "backbone.image_size", e.backbone.image_size, "32 to 2048 px")
    value_range = e.backbone.value_range
    ok = len(value_range) == 2 and value_range[0] < value_range[1]
    need(ok, "backbone.value_range", value_range, "[low, high]")
    batch_size = e.backbone.batch_size
    need(batch_size is None or batch_size >= 1, "backbone.batch_size", batch_size, "null or at least 1")
    need(
        e.backbone.precision is Precision.float32 or e.backbone.engine is Engine.openvino,
        "backbone.precision",
        e.backbone.precision.name,
        "float32, or backbone.engine=openvino: TensorFlow computes in the precision that the module's file has",
    )
    need(
        all(u >= 1 for u in e.head.hidden_units),
        "head.hidden_units",
        e.head.hidden_units,
        "a list such as [256]",
    )
    need(0 <= e.head.dropout < 1, "head.dropout", e.head.dropout, "0 to below 1")
    need(e.head.l2 >= 0 and math.isfinite(e.head.l2), "head.l2", e.head.l2, "0 or more")
    need(e.optimizer.lr > 0 and math.isfinite(e.optimizer.lr), "optimizer.lr", e.optimizer.lr, "above 0")
    need(0 <= e.optimizer.momentum < 1, "optimizer.momentum", e.optimizer.momentum, "0 to below 1")
    has_momentum = e.optimizer.name in (OptimizerName.sgd, OptimizerName.rmsprop)
    need(
        not e.optimizer.momentum or has_momentum,
        "optimizer.momentum",
        e.optimizer.momentum,
        "0, or optimizer=sgd or rmsprop: adam and adamw have no such setting",
    )
    need(e.optimizer.weight_decay >= 0, "optimizer.weight_decay", e.optimizer.weight_decay, "0 or more")
    need(
        not e.optimizer.weight_decay or e.optimizer.name is OptimizerName.adamw,
        "optimizer.weight_decay",
        e.optimizer.weight_decay,
        "0, or optimizer=adamw: the others have no such setting (head.l2 is for all)",
    )
    _check_imbalance(e, need)
    need(e.fit.epochs >= 1, "fit.epochs", e.fit.epochs, "at least 1")
    need(e.fit.batch_size >= 1, "fit.batch_size", e.fit.batch_size, "at least 1")
    need(e.fit.patience is None or e.fit.patience >= 1, "fit.patience", e.fit.patience, "null or at least 1")
    need(0 <= e.fit.label_smoothing < 1, "fit.label_smoothing", e.fit.label_smoothing, "0 to below 1")
    _check_decision(e.decision, e.imbalance.strategy, need)
    low_high = "above 0 and below 1"
    need(0 < e.evaluation.confidence < 1, "evaluation.confidence", e.evaluation.confidence, low_high)
    need(e.evaluation.calibration_bins >= 1, "evaluation.calibration_bins", e.evaluation.calibration_bins, "at least 1")
    shares = e.evaluation.prevalences
    need(all(0 < p < 1 for p in shares), "evaluation.prevalences", shares, f"a list of shares {low_high}, or []")
    _check_gate(e.gate, need)
    need(0 <= e.seed < 2**32, "seed", e.seed, "0 to 4294967295")


def _check_gate(gate: GateConfig, need: Callable[[bool, str, object, str], None]) -> None:
    if gate.metric is None or gate.min is None:
        given, lacking = ("min", "metric") if gate.metric is None else ("metric", "min")
        both = f"only together with gate.{lacking}, as in gate.metric=test/roc_auc gate.min=0.85"
        need(gate.metric is gate.min, f"gate.{given}", getattr(gate, given), both)
        return
    split, _, name = gate.metric.partition("/")
    allowed = f"train/, validation/ or test/ with one of {', '.join(HIGHER_IS_BETTER)}"
    if split in ("train", "validation", "test") and name in LOWER_IS_BETTER:
        allowed = f"lower is better there, and gate.min is the least that is let through; {allowed}"
    need(split in ("train", "validation", "test") and name in HIGHER_IS_BETTER, "gate.metric", gate.metric, allowed)
    need(0 <= gate.min <= 1, "gate.min", gate.min, "0 to 1")


def _check_imbalance(e: Experiment, need: Callable[[bool, str, object, str], None]) -> None:
    strategy, gamma, tau = e.imbalance.strategy, e.imbalance.focal_gamma, e.imbalance.tau
    need(gamma >= 0 and math.isfinite(gamma), "imbalance.focal_gamma", gamma, "0 or more")
    need(tau > 0 and math.isfinite(tau), "imbalance.tau", tau, "above 0")
    defaults = ImbalanceConfig()
    for key, value, default, reader in (
        ("focal_gamma", gamma, defaults.focal_gamma, Strategy.focal),
        ("tau", tau, defaults.tau, Strategy.logit_adjusted),
    ):
        why = f"it does nothing under imbalance={strategy.name}, it is a setting of {reader.name}"
        need(value == default or strategy is reader, f"imbalance.{key}", value, why)
    need(
        not e.fit.label_smoothing or strategy is not Strategy.focal,
        "fit.label_smoothing",
        e.fit.label_smoothing,
        "0 with imbalance=focal: focal loss is defined for targets of 0 and 1",
    )


def _check_read(
    group: str,
    config: SplitConfig | DecisionConfig,
    read_by_rule: Mapping[Any, set[str]],
    by_every_rule: set[str],
    need: Callable[[bool, str, object, str], None],
) -> None:
    """Refuse a setting that does nothing under the group's rule."""
    for f in dataclasses.fields(config):
        rules = [rule.name for rule, read in read_by_rule.items() if f.name in read or f.name in by_every_rule]
        value = getattr(config, f.name)
        is_default = value == getattr(type(config)(), f.name)
        need(
            is_default or config.rule.name in rules,
            f"{group}.{f.name}",
            value.name if isinstance(value, Enum) else value,
            f"it does nothing under {group}={config.rule.name}, it is a setting of {', '.join(rules)}",
        )


def _check_decision(
    decision: DecisionConfig, strategy: Strategy, need: Callable[[bool, str, object, str], None]
) -> None:
    _check_read("decision", decision, _READ_BY_DECISION, _READ_BY_EVERY_DECISION, need)
    share = "above 0 and below 1"
    for name, value in (
        ("prevalence", decision.prevalence),
        ("max_false_positive_rate", decision.max_false_positive_rate),
    ):
        need(value is None or 0 < value < 1, f"decision.{name}", value, f"null, or {share}")
    for name in ("cost_false_positive", "cost_false_negative"):
        cost = getattr(decision, name)
        need(0 < cost < math.inf, f"decision.{name}", cost, "above 0")
    need(
        decision.max_false_positive_rate is None or decision.metric is DecisionConfig().metric,
        "decision.metric",
        decision.metric.name,
        "the threshold is tuned for it or for decision.max_false_positive_rate",
    )
    if "prevalence" in _READ_BY_DECISION[decision.rule] and strategy.name in _BALANCES_TRAINING:
        raise InputError(
            f"decision={decision.rule.name} is not allowed with imbalance={strategy.name}: that has already moved the "
            "logits to equal shares of both labels, and the prior would be corrected twice; imbalance=none, or "
            "decision=plain or tuned"
        )


def _check_split(split: SplitConfig, need: Callable[[bool, str, object, str], None]) -> None:
    _check_read("split", split, _READ_BY_RULE, _READ_BY_EVERY_RULE, need)
    for key, window in (("split.test", split.test), ("split.validation", split.validation)):
        ok = len(window) == 2 and 0 <= window[0] < window[1] <= 256
        need(ok, key, window, "[first, past the last) with 0 <= first < past the last <= 256")
    (t0, t1), (v0, v1) = split.test, split.validation
    no_overlap = t1 <= v0 or v1 <= t0
    need(no_overlap, "split.validation", split.validation, f"must not overlap split.test={[t0, t1]}")
    need(2 <= split.folds <= 64, "split.folds", split.folds, "2 to 64")
    need(0 <= split.fold < split.folds, "split.fold", split.fold, f"0 to {split.folds - 1}, below split.folds")
    similarity = split.near_duplicate_similarity
    need(0 < similarity < 1, "split.near_duplicate_similarity", similarity, "above 0 and below 1")
    need(split.block_size >= 1, "split.block_size", split.block_size, "at least 1")
    for name in ("test_size", "validation_size"):
        size = getattr(split, name)
        ok = 0 < size < 1 or (size >= 1 and float(size).is_integer())
        need(ok, f"split.{name}", size, "a share between 0 and 1, or a whole number of images")
    need(0 <= split.seed < 2**32, "split.seed", split.seed, "0 to 4294967295")
    if split.rule is Rule.from_file and not split.file:
        raise InputError("split=from_file needs split.file=PATH (a CSV objectId,value,type)")
