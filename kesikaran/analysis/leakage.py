"""The leak gauge: what a test split may owe to images like its own among those that were trained on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kesikaran.metrics import binary

# Labels of neighbours that agree more often than chance by this many standard errors, and by this much, tell
# that the order means something. A random order exceeds the first once in three million.
_STANDARD_ERRORS, _DIFFERENCE = 5.0, 0.05
_PAIRS = 2**30  # of a training and a test image: half a minute on two cores
_ROWS = 4096  # at a time: 21 MB of 1,280 features, 67 MB of similarities


@dataclass(frozen=True)
class Order:
    """How often neighbours along a column share their label, and how often two images drawn at random do."""

    column: str
    agreement: float
    chance: float
    informative: bool


def order(table: pd.DataFrame) -> Order | None:
    """The column along which neighbours agree most, of those that line all images up.

    Those are the numeric columns without a repeated value: the row in the label file, a frame number, a time.
    The chance of agreement is the sum of the squared shares of the labels.

    Args:
        table: column `label` (0 or 1), and any others.
    """
    labels = table["label"].to_numpy()
    share = float(labels.mean())
    chance = share**2 + (1 - share) ** 2
    found = []
    for column in table.columns.drop("label"):
        place = pd.to_numeric(table[column], errors="coerce")
        if place.isna().any() or place.duplicated().any():
            continue
        along = labels[np.argsort(place.to_numpy(), kind="stable")]
        agreement = float(np.mean(along[1:] == along[:-1]))
        error = np.sqrt(chance * (1 - chance) / (len(labels) - 1))
        informative = agreement - chance > max(_STANDARD_ERRORS * error, _DIFFERENCE)
        found.append(Order(column, agreement, chance, bool(informative)))
    return max(found, key=lambda each: each.agreement, default=None)


def sample(test: np.ndarray, trained: int) -> np.ndarray:
    """Those of `test` (int [n]) that the gauge looks at beside `trained` training images, in their order.

    All of them, or where that is too much to compute as many as are not, drawn at random, always the same. Drawing
    from the training images would be no way out: it would lose the nearest one.
    """
    most = max(_PAIRS // trained, 1)
    return test if len(test) <= most else np.sort(np.random.default_rng(0).choice(test, most, replace=False))


def nearest(features: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Each test image's cosine similarity to its nearest training image, float32 [n_test] in [-1, 1].

    Features are centred on the training mean, so that 0 is what unrelated images have: the backbone's
    features are all positive, and without it every pair looks alike.

    Args:
        features: float32 [n, width]; no more than some blocks of its rows are copied.
        train, test: row numbers, int [n_train] and [n_test].
    """
    centre = sum(features[rows].sum(axis=0, dtype=np.float64) for rows in _blocks(train)) / len(train)
    centre = centre.astype(np.float32)

    def unit(rows: np.ndarray) -> np.ndarray:
        moved = features[rows] - centre
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        return np.divide(moved, length, out=np.zeros_like(moved), where=length > 0)

    found = []
    for some in _blocks(test):
        against = unit(some).T
        found.append(np.max([(unit(rows) @ against).max(axis=0) for rows in _blocks(train)], axis=0))
    return np.clip(np.concatenate(found), -1, 1)


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]


def halves(similarity: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """ROC AUC on the nearer and the farther half of the test images, where a half has both classes.

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
