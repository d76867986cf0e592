"""What a run says: metrics, matrices, curves and predictions to the tracker, one table to the terminal."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from kesikaran import crossval, duplicates, figures, leak, scores, split, tracking
from kesikaran.config import BackboneConfig, OnBadImage, Precision, Rule, SplitConfig
from kesikaran.errors import InputError
from kesikaran.tracking import Run

_SHOWN = ("n", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "log_loss")


def refused(run: Run, reasons: dict[str, str], asked: int, policy: OnBadImage) -> None:
    """Count, list and log the images that could not be read.

    Args:
        reasons: object id -> why.
        asked: images in all.

    Raises:
        InputError: there are some and the policy is `fail`, or none is left.
    """
    run.metrics({"data/images": asked - len(reasons), "data/refused": len(reasons)})
    if not reasons:
        return
    run.json(reasons, "refused_images.json")
    shown = [f"  {name}: {why}" for name, why in list(reasons.items())[:10]]
    more = [f"  and {len(reasons) - 10} more: refused_images.json of the run"] if len(reasons) > 10 else []
    print("\n".join([f"Refused {len(reasons)} of {asked} images:", *shown, *more]))
    name, why = next(iter(reasons.items()))
    if len(reasons) == asked:
        raise InputError(f"none of the {asked} images can be used (the first: {name}: {why}); check data.images")
    if policy is OnBadImage.fail:
        raise InputError(
            f"{len(reasons)} of {asked} images were refused (the first: {name}: {why}) and data.on_bad_image=fail; "
            "mend them, or data.on_bad_image=quarantine trains on the others"
        )


def engine(run: Run, config: BackboneConfig, deviation: float | None) -> None:
    """Log and say how far another engine's features are from TensorFlow's, which the exported model computes with."""
    if deviation is None:
        return
    run.metrics({"features/largest_deviation": deviation})
    # In bfloat16 eleven of 700 ELPV labels, and a probability by up to 0.13.
    differs = config.precision is Precision.bfloat16
    print(
        f"{config.engine.name} in {config.precision.name}: its features differ from TensorFlow's by up to "
        f"{deviation:.2g} on the first images. The exported model computes with TensorFlow"
        + (" in float32: some of its labels can differ from those logged here." if differs else ".")
    )


def inputs(run: Run, table: pd.DataFrame, name: str, source: Path) -> None:
    """Log each split of `table` (columns object_id, label, split) as an input of the run."""
    for context, rows in table[["object_id", "label", "split"]].groupby("split", sort=False):
        run.dataset(rows, name, source, split.fingerprint(rows), str(context))


def write(run: Run, table: pd.DataFrame, logits: np.ndarray) -> dict[str, dict[str, float]]:
    """Score every split and log all that a finished run leaves, the model apart.

    Args:
        table: columns object_id, label, split.
        logits: float32 [n], of the table's rows.

    Returns:
        split -> metrics.
    """
    predictions = table.assign(logit=logits, probability=expit(logits))
    run.parquet(predictions[["object_id", "split", "label", "logit", "probability"]], "predictions.parquet")
    results, drawn = {}, {}
    for name in split.SPLITS:
        rows = (table["split"] == name).to_numpy()
        labels = table["label"].to_numpy()[rows]
        drawn[name] = (labels, logits[rows])
        results[name] = scores.score(scores.plain(*drawn[name]))
        _confusion_matrix(run, scores.confusion(scores.plain(*drawn[name])), name)
    run.figure(figures.roc_curves(drawn), "roc_curve.png")
    run.figure(figures.precision_recall_curves(drawn), "precision_recall_curve.png")
    run.metrics({f"{name}/{metric}": value for name, result in results.items() for metric, value in result.items()})
    return results


def leaks(run: Run, table: pd.DataFrame, features: np.ndarray, logits: np.ndarray, rule: SplitConfig) -> list[str]:
    """Log the leak gauge; returns what is to be said of it.

    Args:
        table, features, logits: columns label, split and the label file's further ones; float32 [n, width];
            float32 [n]; row by row of the same image.
        rule: how it was split.
    """
    train, test = (split.rows(table, side) for side in ("train", "test"))
    looked_at = leak.sample(test, len(train))
    similarity = leak.nearest(features, train, looked_at)
    halves = leak.halves(similarity, table["label"].to_numpy()[looked_at], logits[looked_at])
    median = float(np.median(similarity))
    metrics = {"leak/nearest_cosine": median} | {f"leak/roc_auc_{half}": area for half, area in halves.items()}
    drawn = f" ({len(looked_at):,} of {len(test):,}, drawn at random)" if len(looked_at) < len(test) else ""
    said = f"Leak gauge: the nearest training image of a test image{drawn} has cosine {median:.2f} in the median"
    if halves:
        said += f"; ROC AUC {halves['near']:.3f} on the nearer half, {halves['far']:.3f} on the farther"
    lines = [said + "."]
    order = leak.order(table.drop(columns=["object_id", "split"]))
    if order is not None:
        metrics |= {"leak/order_agreement": order.agreement, "leak/order_chance": order.chance}
        if order.informative and (rule.rule is not Rule.blocks or (rule.order or "row") != order.column):
            lines.append(
                f"Neighbours by {order.column} share their label {order.agreement:.1%} of the time, {order.chance:.1%} "
                "by chance: siblings may stand on both sides of this split, and its scores flatter. "
                f"Compare with split=blocks split.order={order.column}."
            )
    run.metrics(metrics)
    return lines


def near_duplicates(run: Run, table: pd.DataFrame) -> list[str]:
    """Log the clusters of near-duplicates that cross splits or labels; returns what is to be said of them.

    Args:
        table: columns object_id, label, split, near_duplicate; the last is missing where nobody looked.
    """
    if duplicates.COLUMN not in table.columns:
        return [
            f"Near-duplicates were not looked for: {len(table):,} images are too many for that "
            f"({duplicates.MOST_IMAGES:,} at most). scripts/near_duplicates.py finds them, in hours."
        ]
    apart = {column: duplicates.crossing(table, column) for column in ("split", "label")}
    counts = {column: rows[duplicates.COLUMN].nunique() for column, rows in apart.items()}
    run.metrics({f"leak/near_duplicates_across_{column}s": count for column, count in counts.items()})
    if not any(counts.values()):
        return []
    rows = pd.concat(apart.values()).drop_duplicates("object_id").sort_values([duplicates.COLUMN, "object_id"])
    listed = rows.rename(columns={duplicates.COLUMN: "cluster"})[["cluster", "object_id", "split", "label"]]
    run.text(listed.to_csv(index=False), "near_duplicates.csv")
    way_out = " split.group=near_duplicate, of the sha1 rules, keeps each on one side." if counts["split"] else ""
    return [
        f"Clusters of near-duplicates: {counts['split']} lie on several sides of the split, {counts['label']} hold "
        f"both labels (near_duplicates.csv of the run).{way_out}"
    ]


def cross_validation(run: Run, jobs: pd.DataFrame) -> None:
    """Where a finished sweep went over all folds: pool their test splits, log and print what comes out.

    Args:
        run: the sweep's parent. One setting: its metrics, confusion matrix and label doubts are logged there.
            Several: a row each in `cross_validation.csv`.
        jobs: as `tracking.sweep_jobs` gives them, all FINISHED.
    """
    fold, folds = jobs["params.split.fold"].astype(int), jobs["params.split.folds"].astype(int)
    if fold.nunique() < 2:
        return
    params = [c for c in jobs.columns if c.startswith("params.") and c != "params.split.fold"]
    varied = [c for c in params if jobs[c].nunique(dropna=False) > 1]
    rows: list[dict[str, Any]] = []
    every = []
    for values, group in jobs.groupby(varied) if varied else [((), jobs)]:
        if sorted(fold[group.index]) != list(range(folds[group.index[0]])):
            print("\nNot every fold was run once: nothing is pooled.")
            return
        setting: dict[str, Any] = {c.removeprefix("params."): value for c, value in zip(varied, values, strict=True)}
        runs = zip(fold[group.index], group["run_id"], strict=True)
        pooled = crossval.pool({number: tracking.predictions(run_id) for number, run_id in runs})
        every.append(pooled.assign(**setting))
        rows.append(setting | crossval.describe(pooled))
    run.parquet(pd.concat(every), "oof_predictions.parquet")
    run.text(pd.DataFrame(rows).to_csv(index=False), "cross_validation.csv")
    print("\nOut of fold: every image tested once, by a model that has not seen it\n")
    if varied:
        shown = [c.removeprefix("params.") for c in varied] + ["oof/n", "oof/accuracy", "oof/roc_auc", "oof/log_loss"]
        print(pd.DataFrame(rows)[shown].to_string(index=False, float_format=lambda x: f"{x:.4f}"))
        return
    run.metrics(rows[0])
    labels, logits = every[0]["label"].to_numpy(), every[0]["logit"].to_numpy()
    _confusion_matrix(run, scores.confusion(scores.plain(labels, logits)), "oof")
    run.text(crossval.doubts(every[0]).to_csv(index=False), "label_doubts.csv")
    print(crossval.table(rows[0]).to_string(float_format=lambda x: f"{x:.3f}"))


def _confusion_matrix(run: Run, counts: scores.Confusion, name: str) -> None:
    run.figure(figures.confusion_matrix(counts, name), f"confusion_matrix_{name}.png")
    run.json(
        {"labels": [0, 1], "rows": "true", "columns": "predicted", "matrix": counts.matrix()},
        f"confusion_matrix_{name}.json",
    )


def say(results: dict[str, dict[str, float]], remarks: list[str], run: Run) -> None:
    """The closing table, what is to be remarked, and where to look."""
    table = pd.DataFrame(results).T[list(_SHOWN)]
    table["n"] = table["n"].astype(int)
    print("\n" + table.to_string(float_format=lambda x: f"{x:.3f}" if abs(x) < 1e4 else f"{x:.3g}"))
    print("\n".join(["", *remarks]))
    print(f"\nRun {run.run_id}\nLook at it:  {tracking.look_at(run.run_id)}")
