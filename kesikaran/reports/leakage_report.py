"""The report of leaks of a run: near neighbours across the split, siblings, near-duplicates."""

import weakref
from pathlib import Path

import numpy as np
import pandas as pd

from kesikaran.analysis import leakage
from kesikaran.config.schema import Rule, SplitConfig
from kesikaran.data import near_duplicates, original_names, split
from kesikaran.tracking.open_run import Run

_NEAR_DUPLICATES = "near-duplicates"

# The table of which `_crossing` was asked last and what it found. The jobs of a sweep share one table.
_last: tuple[weakref.ref[pd.DataFrame], tuple[dict[str, int], str]] | None = None


def log_leakage(
    run: Run, table: pd.DataFrame, features: np.ndarray, logits: np.ndarray, rule: SplitConfig
) -> tuple[str, dict[str, str]]:
    """Log the leak gauge. Returns (what it shows, the warning about siblings by its kind where there is reason for it).

    Args:
        table: columns object_id, label, split and the further columns of the label file. features: float32 [n, width].
            logits: float32 [n]. Row i of all three is of the same image.
        rule: the settings of the split.
    """
    train, test = (split.rows(table, side) for side in ("train", "test"))
    sample = leakage.sample(test, len(train))
    similarity = leakage.nearest(features, train, sample)
    halves = leakage.halves(similarity, table["label"].to_numpy()[sample], logits[sample])
    median = float(np.median(similarity))
    metrics = {"leak/nearest_cosine": median} | {f"leak/roc_auc_{half}": area for half, area in halves.items()}
    drawn = f" ({len(sample):,} of {len(test):,}, drawn at random)" if len(sample) < len(test) else ""
    sentence = f"Leak gauge: the nearest training image of a test image{drawn} has cosine {median:.2f} in the median"
    if halves:
        sentence += f"; ROC AUC {halves['near']:.3f} on the nearer half, {halves['far']:.3f} on the farther"
    warning = {}
    order = leakage.order(table.drop(columns=["object_id", "split"]))
    if order is not None:
        metrics |= {"leak/order_agreement": order.agreement, "leak/order_chance": order.chance}
        if order.informative and (rule.rule is not Rule.blocks or (rule.order or "row") != order.column):
            warning["siblings"] = (
                f"Neighbours by {order.column} share their label {order.agreement:.1%} of the time, {order.chance:.1%} "
                "by chance: siblings may stand on both sides of this split, and its scores flatter. "
                f"Compare with split=blocks split.order={order.column}."
            )
    run.metrics(metrics)
    return sentence + ".", warning


def log_near_duplicates(run: Run, table: pd.DataFrame, images: Path | None) -> dict[str, str]:
    """Log the clusters of near-duplicates that cross splits or labels. Returns the warning about them by its kind.

    Args:
        table: columns object_id, label, split, near_duplicate; the last is missing where no near-duplicates were
            searched for.
        images: their folder, if they have names of files. Where `original_names` knows some, the CSV has a column file.
    """
    if near_duplicates.COLUMN not in table.columns:
        return {
            _NEAR_DUPLICATES: f"Near-duplicates were not looked for: {len(table):,} images are too many for that "
            f"({near_duplicates.MOST_IMAGES:,} at most). kesikaran data near-duplicates finds them, in hours."
        }
    counts, listed = _crossing(table, images)
    run.metrics({f"leak/near_duplicates_across_{column}s": count for column, count in counts.items()})
    if not any(counts.values()):
        return {}
    run.text(listed, "near_duplicates.csv")
    way_out = " split.group=near_duplicate, of the sha1 rules, keeps each on one side." if counts["split"] else ""
    return {
        _NEAR_DUPLICATES: f"Clusters of near-duplicates: {counts['split']} lie on several sides of the split, "
        f"{counts['label']} hold both labels (near_duplicates.csv of the run).{way_out}"
    }


def _crossing(table: pd.DataFrame, images: Path | None) -> tuple[dict[str, int], str]:
    """(the number of clusters that cross splits and that cross labels, the CSV of their images)."""
    global _last
    if _last is None or _last[0]() is not table:
        apart = {column: near_duplicates.crossing(table, column) for column in ("split", "label")}
        counts = {column: int(rows[near_duplicates.COLUMN].nunique()) for column, rows in apart.items()}
        rows = pd.concat(apart.values()).drop_duplicates("object_id").sort_values([near_duplicates.COLUMN, "object_id"])
        listed = rows.rename(columns={near_duplicates.COLUMN: "cluster"})[["cluster", "object_id", "split", "label"]]
        known_as = original_names.of(images, listed["object_id"]) if images else {}
        if any(name != object_id for object_id, name in known_as.items()):
            listed["file"] = listed["object_id"].map(known_as)
        _last = weakref.ref(table), (counts, listed.to_csv(index=False))
    return _last[1]
