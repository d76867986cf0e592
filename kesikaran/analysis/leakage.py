"""The leak gauge: how much a test split may profit from similar images in train."""

import weakref
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kesikaran.metrics import binary

# The order of the images carries information where the labels of neighbours agree more often than by chance, by this
# many standard errors and by this share. A random order exceeds the first bound once in three million.
_STANDARD_ERRORS, _DIFFERENCE = 5.0, 0.05
_PAIRS = 2**30  # of a training and a test image at most: half a minute on two cores
_ROWS = 4096  # in a block: 21 MB of 1,280 features, 67 MB of similarities

# What `nearest` was asked last and what it found. The features are not kept alive: two might not fit into memory.
_last: tuple[weakref.ref[np.ndarray], tuple[np.ndarray, np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Order:
    """agreement: how often neighbours along the column share their label. chance: how often two random images do.
    informative: whether the agreement is beyond chance."""

    column: str
    agreement: float
    chance: float
    informative: bool


def order(table: pd.DataFrame) -> Order | None:
    """The column along which the labels of neighbours agree most, or None where no column puts all images in order.

    A column puts the images in order where it is numeric and repeats no value: the row in the label file, a frame
    number, a time. The chance of agreement is the sum of the squared shares of the labels.

    Args:
        table: column `label` (0 or 1), and any others.
    """
    labels = table["label"].to_numpy()
    share = float(labels.mean())
    chance = share**2 + (1 - share) ** 2
    found = []
    for column in table.columns.drop("label"):
        if pd.to_numeric(table[column].head(1), errors="coerce").isna().any():
            continue  # words; to look at all of them takes a while
        position = pd.to_numeric(table[column], errors="coerce")
        if position.isna().any() or position.duplicated().any():
            continue
        along = labels[np.argsort(position.to_numpy(), kind="stable")]
        agreement = float(np.mean(along[1:] == along[:-1]))
        error = np.sqrt(chance * (1 - chance) / (len(labels) - 1))
        informative = agreement - chance > max(_STANDARD_ERRORS * error, _DIFFERENCE)
        found.append(Order(column, agreement, chance, bool(informative)))
    return max(found, key=lambda each: each.agreement, default=None)


def sample(test: np.ndarray, trained: int) -> np.ndarray:
    """The test images that the gauge compares with `trained` training images, in the order of `test` (int [n]).

    They are all of `test`, or a random sample of it where all would take too long. The sample is the same each time.
    Training images are not sampled, because the nearest one could be lost.
    """
    most = max(_PAIRS // trained, 1)
    return test if len(test) <= most else np.sort(np.random.default_rng(0).choice(test, most, replace=False))


def nearest(features: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The cosine similarity of each test image to its nearest training image, float32 [n_test] in [-1, 1].

    Features are centred on the training mean, so that unrelated images have a similarity of 0. The features of the
    backbone are all positive, so that without centring every pair has a high similarity. The last result is kept: all
    jobs of a sweep ask for the same.

    Args:
        features: float32 [n, width]. Only blocks of its rows are copied, never the whole, and nobody changes it.
        train, test: row numbers, int [n_train] and [n_test].
    """
    global _last
    if _last is None or _last[0]() is not features or not all(map(np.array_equal, _last[1], (train, test))):
        _last = weakref.ref(features), (train, test), _nearest(features, train, test)
    return _last[2]


def _nearest(features: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    centre = sum(features[rows].sum(axis=0, dtype=np.float64) for rows in _blocks(train)) / len(train)
    centre = centre.astype(np.float32)

    def unit(rows: np.ndarray) -> np.ndarray:
        moved = features[rows] - centre
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        return np.divide(moved, length, out=np.zeros_like(moved), where=length > 0)

    found = []
    for block in _blocks(test):
        transposed = unit(block).T
        found.append(np.max([(unit(rows) @ transposed).max(axis=0) for rows in _blocks(train)], axis=0))
    return np.clip(np.concatenate(found), -1, 1)


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]


def halves(similarity: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """The ROC AUC on the nearer and on the farther half of the test images, where both halves have both labels.

    Args:
        similarity, labels, logits: [n], of the test images.

    Returns:
        `near` and `far`, or neither.
    """
    rank = np.argsort(np.argsort(-similarity, kind="stable"), kind="stable")
    is_near = rank < len(similarity) // 2
    sides = {"near": is_near, "far": ~is_near}
    if any(len(np.unique(labels[side])) < 2 for side in sides.values()):
        return {}
    return {name: binary.roc_auc(labels[side], logits[side]) for name, side in sides.items()}
