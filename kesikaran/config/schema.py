"""The settings of an experiment, their types and defaults: one dataclass for each config group."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

CONFIDENCE = 0.95
CALIBRATION_BINS = 10
# Settled before any result is seen, so that one test is made and not eleven. Accuracy, because its test is exact, and
# because the images that decide the test can be shown.
VERDICT = "accuracy"


class DataSource(Enum):
    elpv = "elpv"
    elpv_deitsch = "elpv_deitsch"
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


class AugmentName(Enum):
    none = "none"
    flips = "flips"
    dihedral = "dihedral"
    standard = "standard"
    trivial = "trivial"


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


class Trains(Enum):
    none = "none"
    batchnorm = "batchnorm"
    last_blocks = "last_blocks"
    all = "all"


class HeadStart(Enum):
    probe = "probe"
    random = "random"


class FinetuneOptimizer(Enum):
    adamw = "adamw"
    sgd = "sgd"


class Report(Enum):
    short = "short"
    full = "full"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


@dataclass
class DataConfig:
    source: DataSource = MISSING  # where the images come from: the demo's own, or yours by label file and folder
    name: str = MISSING  # of the MLflow experiment: one for each data set
    labels: str | None = None  # label.csv: columns objectId (SHA-1 file name) and value (0 or 1)
    images: str | None = None  # the folder that holds the files named in objectId
    weight: str | None = None  # a column of the label file: what an image counts for in weighted_accuracy
    on_bad_image: OnBadImage = OnBadImage.quarantine  # an image that cannot be used is left out, or ends the run
    max_megapixels: float = 50.0  # a larger image, unless its features are cached, is refused before it is decoded
    limit: int | None = None  # only the first n rows by object id, for debugging


@dataclass
class SplitConfig:
    rule: Rule = MISSING  # how an image gets its side: train, validation or test
    test: list[int] = field(
        default_factory=lambda: [0, 25]
    )  # the window of test: [first, past the last) of the SHA-1's low byte
    validation: list[int] = field(default_factory=lambda: [25, 50])  # the same window, of validation
    balance: Balance = Balance.minority  # equally many of both labels in validation and test; the rest goes to train
    group: str | None = None  # a column of the label file, or near_duplicate: equal values stay together
    near_duplicate_similarity: float = 0.9  # the least cosine of near-duplicates, of centred features
    fold: int = 0  # which fold is tested: 0 to folds - 1
    folds: int = 10  # how many parts a cross-validation has
    block_size: int = 64  # so many neighbours are kept together
    order: str | None = None  # the column of numbers by which images are neighbours; null: the label file's order
    test_size: float = 0.15  # below 1 a share of all images, else a number of images
    validation_size: float = 0.15  # the same of validation
    stratify: str | None = None  # the column whose classes stay in proportion; null: the label
    seed: int = 0  # of the random split, apart from the seed of the training
    file: str | None = None  # CSV objectId,value,type, as kesikaran data split writes it


@dataclass
class BackboneConfig:
    handle: str = MISSING  # hub URL, SavedModel folder, or embedded:efficientnet_lite0
    trusted: bool = False  # the module may do more than compute: read and write files, run code
    image_size: int = 224  # px, height and width fed to the module
    value_range: list[float] = field(default_factory=lambda: [0.0, 1.0])  # of the pixels that the module expects
    resize_method: ResizeMethod = ResizeMethod.bilinear  # how an image is brought to image_size
    antialias: bool = True  # smooth an image before it is made smaller
    # Images as a viewer shows them: turned by their EXIF orientation, transparency on white, CMYK by Pillow; false: the
    # stored pixels, without alpha.
    as_seen: bool = True
    jpeg_decode: JpegDecode = JpegDecode.full  # reduced: large JPEGs at 1/2, 1/4 or 1/8, faster, other features
    engine: Engine = Engine.tensorflow  # what computes the features; openvino is quicker on a CPU
    precision: Precision = Precision.float32  # of openvino
    batch_size: int | None = None  # images a forward pass; null: 32 on a CPU, 256 on a GPU


@dataclass
class AugmentConfig:
    name: AugmentName = AugmentName.none  # which further views of each training image are trained on
    crop: float = 0.5  # of standard: a crop has at least this share of the image's area
    brightness: float = 0.2  # of standard: added, at most this share of the value range up or down
    contrast: float = 0.2  # of standard: factor of the deviations from the mean, 1 - contrast to 1 + contrast
    strength: float = 1.0  # of trivial: the largest strength, as a share of that of RandAugment
    average: bool = True  # of flips and dihedral: the mean over the views is judged; of fine-tuning, where it is better


@dataclass
class HeadConfig:
    hidden_units: list[int] = field(default_factory=list)  # ReLU layers; empty: a linear head
    dropout: float = 0.0  # the share left out at random in training, of the features and of each hidden layer
    l2: float = 0.0  # the penalty on large weights, of every kernel


@dataclass
class FinetuneConfig:
    trains: Trains = Trains.none  # what of the backbone is trained, with the head, after the probe
    blocks: int = 4  # of last_blocks: how many
    head_start: HeadStart = HeadStart.probe  # the head starts as the probe trained it, or at random
    # A finished run, or a sweep, whose best job counts: the probe has its head, optimizer, fit, imbalance and augment.
    from_run: str | None = None
    mixed_precision: bool = False  # convolutions in bfloat16, for GPUs; of backbone=efficientnet_lite0 alone
    update_statistics: bool = False  # BatchNorm's moving mean and variance; else it computes with them as they are
    epochs: int = 14  # of fine-tuning, at most
    batch_size: int = 32  # images in a step
    patience: int | None = None  # epochs without improvement before stopping; null: all epochs are made
    optimizer: FinetuneOptimizer = FinetuneOptimizer.adamw  # how weights are moved
    lr: float = 1e-4  # the highest, after the warm-up; it then falls to 0 by a cosine
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-3  # decoupled; not on biases, nor on BatchNorm's scale and offset
    layer_decay: float = 0.9  # the learning rate of a block is this times that of the block above
    clip_norm: float | None = 1.0  # the largest norm of all gradients together; null: any
    warmup: float = 0.1  # the share of all steps in which the learning rate rises
    dropout: float = 0.2  # the share of the features that is left out at random in training
    label_smoothing: float = 0.05  # as fit.label_smoothing
    ema: float | None = None  # decay of a moving average of the weights, which is then what is evaluated and kept
    average_best: int = 1  # the weights kept are the mean of those of so many epochs, the best on validation


@dataclass
class OptimizerConfig:
    name: OptimizerName = MISSING  # how the weights of the head are moved
    lr: float = 1e-3  # learning rate: how far, at each step
    schedule: Schedule = Schedule.constant  # the learning rate stays, or falls to 0 by a cosine
    momentum: float = 0.0  # of sgd and rmsprop: how much of the last step is kept
    weight_decay: float = 0.0  # of adamw: how fast weights shrink


@dataclass
class ImbalanceConfig:
    strategy: Strategy = Strategy.none  # what training does about a label that is rarer
    focal_gamma: float = 2.0  # of focal: the larger, the less an easy image counts; 0: plain cross-entropy
    tau: float = 1.0  # of logit_adjusted: the factor of the classes' log odds in the adjustment


@dataclass
class FitConfig:
    epochs: int = 100  # of the head, at most
    batch_size: int = 32  # rows in a step
    patience: int | None = 10  # epochs without improvement before stopping; null: never stop early
    monitor: Monitor = Monitor.loss  # the validation metric that picks the epoch and is the sweep's objective
    half: int = 0  # 0: all training rows; 2 k - 1, 2 k: the halves of the k-th random cut, for experiment=uncertainty
    label_smoothing: float = 0.0  # training targets move by this share of the way to 0.5 (Szegedy et al. 2016)


@dataclass
class DecisionConfig:
    rule: DecisionRule = MISSING  # how a probability becomes label 0 or 1
    temperature: bool = False  # scale the logits by one number, fitted on validation (Guo et al. 2017)
    prevalence: float | None = None  # of label 1 where the classifier will be used; null: that of validation
    metric: TunedMetric = TunedMetric.balanced_accuracy  # highest on validation at the tuned threshold
    max_false_positive_rate: float | None = None  # on validation: the threshold with the highest recall within it
    cost_false_positive: float = 1.0  # of cost: what calling a 0 a 1 costs
    cost_false_negative: float = 1.0  # of cost: what calling a 1 a 0 costs
    # Of the images of each label at most this share is called the other label with certainty: where validation does not
    # bear that out, the classifier is not sure. null: it is sure of all.
    error: float | None = 0.05


@dataclass
class GateConfig:
    metric: str | None = None  # what has to be good enough, such as test/roc_auc
    min: float | None = None  # the exit code is 3 where the lower end of the metric's interval is below it


@dataclass
class EvaluationConfig:
    confidence: float = CONFIDENCE  # of every interval: how often it holds the truth
    calibration_bins: int = CALIBRATION_BINS  # of calibration_error, each with the same number of images
    # Shares of label 1 where the classifier may be used: precision, alerts and misses are reported for each.
    prevalences: list[float] = field(default_factory=lambda: [0.5, 0.1, 0.01, 0.001])
    verdict: str = VERDICT  # the one metric in which comparisons judge
    report: Report = Report.short  # what a run prints: a headline and a small table, or everything that is in MLflow


@dataclass
class TrackingConfig:
    run_name: str | None = None  # of the run in MLflow; null: what differs from the defaults
    log_model: bool = True  # keep the trained model in MLflow


@dataclass
class PublishConfig:
    max_difference: float = 0.02  # of a copy's probability from the logged one: beyond it kesikaran publish fails
    max_changed: float = 0.005  # the share of images that a copy labels otherwise: beyond it kesikaran publish fails
    max_difference_int8: float = 0.2  # the same of model_int8.tflite, which is then left out
    max_changed_int8: float = 0.02  # the same of model_int8.tflite, which is then left out


@dataclass
class SweepConfig:
    resume: bool = True  # a job that is finished in this store is not trained again, and the sweep goes on
    max_failures: int | None = None  # after so many failed jobs of this command no further job begins; null: never


@dataclass
class Experiment:
    data: DataConfig = field(default_factory=DataConfig)  # the images and their labels
    split: SplitConfig = field(default_factory=SplitConfig)  # which images train, choose and test
    backbone: BackboneConfig = field(default_factory=BackboneConfig)  # the network that turns an image into features
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # further views of each image
    head: HeadConfig = field(default_factory=HeadConfig)  # what is trained on the features
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)  # whether the backbone is trained too
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)  # how the head is trained
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)  # what training does about a rarer label
    fit: FitConfig = field(default_factory=FitConfig)  # how long training goes on, and by what it is judged
    decision: DecisionConfig = field(default_factory=DecisionConfig)  # from a probability to a label
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)  # what is measured and printed
    gate: GateConfig = field(default_factory=GateConfig)  # a bound below which a run counts as failed, for pipelines
    tracking: TrackingConfig = field(default_factory=TrackingConfig)  # what MLflow keeps
    publish: PublishConfig = field(default_factory=PublishConfig)  # how far a published copy may be from the run
    sweep: SweepConfig = field(default_factory=SweepConfig)  # how a sweep goes on
    seed: int = 0  # of everything random in the training: another one gives a slightly other result
    deterministic: bool = False  # bit-identical metrics on one machine, slower
    device: Device = Device.auto  # what computes; auto: a GPU where there is one
