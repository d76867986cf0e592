"""Near-duplicates: re-encoded, resized or slightly cropped copies of one image. Images in, clusters out.

Features or perceptual hashes give pairs of images, and pairs give clusters. In a set whose images all look alike no
distance alone tells a copy: 32 bits of 128, right for photographs, chain 2,349 of 2,624 solar cells into one cluster.
So a pair must also stand out: it must be much nearer than the other images around it, by the ratio with which Lowe 2004
(IJCV 60) tells a match from a chance neighbour. Then the largest cluster of cells has 10 images.
"""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMN = "near_duplicate"  # of a table: the name of the image's cluster
MOST_IMAGES = 50_000  # a run looks for them in at most so many: comparing all pairs takes a minute on two cores
_NEIGHBOURS = 10  # the tenth nearest image is "around": so a cluster of up to ten copies is found whole
_RATIO = 0.5  # a pair: at most this share of the distance to the tenth nearest image, for both images
_IDENTICAL = 0.1  # a pair nearer than this share of the largest allowed distance need not stand out
_COMPONENTS = 256  # principal components: as good as all 1,280 features, in a fifth of the time
_ROWS, _DISTANCES = 512, 2**26  # the most rows and elements of the matrix of distances at a time: 256 MB


def by_features(features: np.ndarray, similarity: float) -> np.ndarray:
    """Pairs of near-duplicates by the cosine of their features, centred and reduced to their principal components.

    Args:
        features: float32 [n, width].
        similarity: the least cosine of a pair, above 0 and below 1.

    Returns:
        int [pairs, 2], rows of `features`, the smaller first.
    """
    centred = features - features.mean(axis=0)
    if features.shape[1] > _COMPONENTS:
        _, directions = np.linalg.eigh(centred.T @ centred)  # in ascending order
        centred = centred @ directions[:, -_COMPONENTS:]
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return _pairs(unit, 1 - similarity, 2)


def by_hash(hashes: np.ndarray, distance: int) -> np.ndarray:
    """Pairs of near-duplicates by the number of bits in which their perceptual hashes differ.

    Args:
        hashes: bool [n, bits].
        distance: the most bits in which a pair differs, 0 to below half of all.

    Returns:
        int [pairs, 2], rows of `hashes`, the smaller first.
    """
    bits = hashes.shape[1]
    unit = (2 * hashes.astype(np.float32) - 1) / np.float32(np.sqrt(bits))
    return _pairs(unit, (2 * distance + 1) / bits, 1)  # half a bit for rounding


def clusters(object_ids: list[str], pairs: np.ndarray) -> np.ndarray:
    """The cluster of each image, str [n]: the smallest object id among the image and all that pairs connect it with.

    Args:
        pairs: int [pairs, 2], rows of `object_ids`.
    """
    n = len(object_ids)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
    return pd.Series(object_ids).groupby(component).transform("min").to_numpy()


def crossing(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows of clusters (column `near_duplicate`) that have several values of `column`, cluster by cluster."""
    several = table[table[COLUMN].duplicated(keep=False)]  # most clusters are one image, and grouping takes a while
    apart = several.groupby(COLUMN)[column].transform("nunique") > 1
    return several[apart].sort_values([COLUMN, "object_id"], ignore_index=True)


def _pairs(unit: np.ndarray, limit: float, power: int) -> np.ndarray:
    """Pairs of which each image is within the other's reach. The distance is 1 - cosine.

    Args:
        unit: float32 [n, width], rows of length 1 (or 0).
        limit: the largest distance of a pair.
        power: 1 if 1 - cosine is proportional to the number of different bits, 2 if to the square of a length; the
            ratios hold for the bits and for the length.

    Returns:
        int [pairs, 2], rows of `unit`, the smaller first.
    """
    reach = np.zeros(len(unit), np.float32)  # the largest distance of an image's copies from it
    found = []
    rows_at_once = min(_ROWS, max(_DISTANCES // len(unit), 1))
    for first in range(0, len(unit), rows_at_once):
        distance = 1 - unit[first : first + rows_at_once] @ unit.T
        own = np.arange(len(distance))
        distance[own, first + own] = np.inf
        rows = np.flatnonzero(distance.min(axis=1) <= limit)  # without the rows that have no pair
        distance = distance[rows]
        around = np.partition(distance, min(_NEIGHBOURS, len(unit)) - 1, axis=1)[:, min(_NEIGHBOURS, len(unit)) - 1]
        reach[first + rows] = np.clip(_RATIO**power * around, _IDENTICAL**power * limit, limit)
        i, j = np.nonzero(distance <= reach[first + rows, None])
        found.append(np.column_stack([first + rows[i], j, distance[i, j]]))
    i, j, apart = np.concatenate(found).T
    i, j = i.astype(int), j.astype(int)
    kept = (i < j) & (apart <= reach[j])
    return np.column_stack([i[kept], j[kept]])


if __name__ == "__main__":
    from kesikaran.core import process

    process.elsewhere("kesikaran data near-duplicates")
