"""Where MLflow shows a metric. Its charts, columns and comparisons begin with the first names of the alphabet.

So what a person compares keeps its name, as `test/accuracy`, and the rest stands under `workings/`, behind
`validation/`: ends of intervals, counts of images, what was decided, what does not vary. In this package every metric
has its name without that prefix.
"""

from collections.abc import Mapping

WORKINGS = "workings/"
_GROUPS = ("data/", "decision/", "features/", "leak/")
_ALONE = ("best_epoch", "epochs", "learning_rate")
_SIDES = ("train", "validation", "test")
_COUNTS = ("n", "tn", "fp", "fn", "tp")
_POOLED = ("oof", "nested")  # by the number of images of the first a cross-validation is found, so that one stays


def stored(name: str) -> str:
    """The name of a metric in MLflow."""
    return f"{WORKINGS}{name}" if _is_behind(name) else name


def _is_behind(name: str) -> bool:
    if name in _ALONE or name.startswith(_GROUPS):
        return True
    side, _, metric = name.partition("/")
    if side in _POOLED:
        return metric in _COUNTS[1:] or metric.endswith(("_low", "_high", "_fold_mean", "_fold_std"))
    return side in _SIDES and (metric in _COUNTS or metric.endswith(("_low", "_high")))


def read(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a run by their names in this package. Runs of older versions have no `workings/`."""
    return {name.removeprefix(WORKINGS): value for name, value in metrics.items()}
