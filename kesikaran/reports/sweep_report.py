"""The report of a finished sweep: tables and figures go to its parent run, sentences to the terminal."""

import pandas as pd

from kesikaran.analysis import cross_validation, seed_study, sweep_summary, uncertainty
from kesikaran.analysis.wording import in_words, significance_level
from kesikaran.config.metric_names import ACROSS_SETTINGS, IN_SWEEP_TABLE, METRICS, OBJECTIVE
from kesikaran.metrics import binary, paired
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import nested_report, run_report, sweep_figures, uncertainty_report
from kesikaran.tracking import artifacts, run_store
from kesikaran.tracking.runs import Run

_RUN_ID_LENGTH = 8  # the first characters of a run id, which are enough for kesikaran.compare


def print_summary(run: Run, jobs: pd.DataFrame, whole: bool) -> None:
    """Log and print the report of a sweep.

    Args:
        run: the parent of the sweep.
        jobs: the table of `tracking.queries.sweep_jobs`.
        whole: whether the sweep came to its end.
    """
    unfinished = int((jobs["status"] != "FINISHED").sum())
    print(f"\nSweep {run.run_id}: {len(jobs)} jobs, {unfinished} not finished\n")
    table = sweep_summary.summary(jobs)
    best = None if uncertainty.applies(jobs) else sweep_summary.best(jobs)
    remarks, metric, words = [], None, None
    if best:
        confidence, _ = _evaluation(jobs)
        p_values, images = _against(jobs, best)
        table["p_value_vs_best"] = p_values
        metric, words = best.metric, sweep_summary.against_best(best, p_values, confidence)
        remarks = [sweep_summary.best_sentence(jobs, best, p_values, images, confidence)] if len(jobs) > 1 else []
    run.text(table.to_csv(index=False), "sweep.csv")
    print(_shown(table, metric, words).to_string(index=False, na_rep="-", max_colwidth=30))
    if best and words is not None:
        log_figures(run, jobs, best, words)
    if (count := sweep_summary.splits(jobs)) > 1:
        remarks.append(
            f"These jobs were scored on {count} different splits (tag split_fingerprint): "
            "their metrics are not comparable image by image."
        )
    print("".join(f"\n{remark}\n" for remark in remarks), end="")
    if seed_study.of_seeds(jobs):
        log_seed_spread(run, jobs[jobs["status"] == "FINISHED"])
    if uncertainty.applies(jobs):
        uncertainty_report.log_uncertainty(run, jobs, _evaluation(jobs)[0])
    if whole and not unfinished and sweep_summary.over_folds(jobs):
        log_cross_validation(run, jobs)
    print(f"\nLook at it:  {run_store.look_at(run.run_id)}")


def _against(jobs: pd.DataFrame, best: sweep_summary.Best) -> tuple[pd.Series, int]:
    """(Holm's p-value of each job against the best on the test images, NaN where there is none; number of images)."""
    rows = [best.row, *best.rivals]
    predictions = [_test_predictions(str(jobs.loc[row, "run_id"])) for row in rows]
    confidence, bins = _evaluation(jobs)
    p_values = paired.against_best(predictions, 0, best.metric, confidence, bins)
    return pd.Series(p_values, index=rows).reindex(jobs.index), len(predictions[0].labels)


def _test_predictions(run_id: str) -> Predictions:
    """The predictions of a job on its test images, sorted by object id."""
    rows = artifacts.predictions(run_id)
    return Predictions.from_table(rows[rows["split"] == "test"].sort_values("object_id"))


def _evaluation(jobs: pd.DataFrame) -> tuple[float, int]:
    """(confidence, bins of the calibration error) of the first job that logged its params."""
    confidence, bins = (
        jobs[f"params.evaluation.{name}"].dropna().iloc[0] for name in ("confidence", "calibration_bins")
    )
    return float(confidence), int(bins)


def _shown(table: pd.DataFrame, metric: str | None, words: pd.Series | None) -> pd.DataFrame:
    """The summary for the terminal, with two header lines and intervals beside the test metrics."""
    columns: dict[tuple[str, str], object] = {("", "run"): table["run_id"].str[:_RUN_ID_LENGTH]}
    if (table["status"] != "FINISHED").any():
        columns["", "status"] = table["status"]
    for name in table.columns[2:]:
        head, _, tail = name.rpartition(".")
        if "/" not in name and name != "p_value_vs_best":
            columns[head, tail] = table[name]
    for name in OBJECTIVE.values():
        if f"validation/{name}" in table:
            columns["validation", name] = table[f"validation/{name}"].map("{:.4f}".format, na_action="ignore")
    for name in IN_SWEEP_TABLE:
        if f"test/{name}" in table:
            columns["test", name] = _with_limits(table, f"test/{name}")
    if metric and words is not None:
        columns["test", f"{metric} vs best"] = words
    return pd.DataFrame(columns)


def _with_limits(table: pd.DataFrame, name: str) -> list[str]:
    ends = table.reindex(columns=[name, f"{name}_low", f"{name}_high"])
    return [in_words(Interval(*map(float, row))) for row in ends.to_numpy()]


def log_figures(run: Run, jobs: pd.DataFrame, best: sweep_summary.Best, words: pd.Series) -> None:
    """`sweep.png`, and `parallel_coordinates.png` where more than two settings vary."""
    metric = f"metrics.validation/{best.metric}"
    drawn = jobs[(jobs["status"] == "FINISHED") & jobs[metric].notna()]
    names = sweep_summary.swept(drawn)
    if len(drawn) < 2 or not names:
        return
    value, low, high = (drawn[f"{metric}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    trials = sweep_figures.Trials(
        {name: list(drawn[f"overrides.{name}"].astype(str)) for name in names},
        f"validation {METRICS[best.metric].words}",
        not METRICS[best.metric].higher_is_better,
        *(value, low, high),
        best=(words[drawn.index] == "best").to_numpy(),
        alike=(words[drawn.index] == "~").to_numpy(),
    )
    run.figure(sweep_figures.sweep(trials), "sweep.png")
    if len(names) > 2:
        run.figure(sweep_figures.parallel_coordinates(trials), "parallel_coordinates.png")


def log_seed_spread(run: Run, jobs: pd.DataFrame) -> None:
    """Log and print the spread over seeds beside the standard error over test images."""
    spread = seed_study.seed_spread(jobs, _evaluation(jobs)[0])
    run.text(spread.to_csv(), "seeds.csv")
    run.metrics(
        {
            f"seeds/{metric}_{column}": float(row[column])
            for metric, row in spread.iterrows()
            for column in ("mean", "std", "standard_error")
        }
    )
    shown = pd.DataFrame(
        {
            "mean": spread["mean"].map("{:.4f}".format),
            "std of seeds": [
                f"{row['std']:.4f} [{row['std_low']:.4f}, {row['std_high']:.4f}]" for _, row in spread.iterrows()
            ],
            "standard error of images": spread["standard_error"].map("{:.4f}".format),
            "larger": spread["larger"],
        }
    ).rename_axis(None)
    images = int(jobs["metrics.test/n"].iloc[0])
    print(f"\n{len(jobs)} seeds of one setting, on {images:,} test images\n\n{shown.to_string()}\n")
    print("\n".join(seed_study.seed_sentences(spread, len(jobs))))


def log_cross_validation(run: Run, jobs: pd.DataFrame) -> None:
    """Pool the test splits of a sweep over all folds, and log and print the results.

    For one setting its metrics, confusion matrix and label doubts are logged. For several settings there is a row for
    each in `cross_validation.csv`, one for each pair in `cross_validation_pairs.csv`, and `cross_validation.png`.

    Args:
        run: the parent of the sweep.
        jobs: the table of `tracking.queries.sweep_jobs`, all FINISHED.
    """
    varied = [name for name in sweep_summary.swept(jobs) if name != sweep_summary.FOLD]
    names = pd.Series({row: sweep_summary.setting(jobs, row, without=(sweep_summary.FOLD,)) for row in jobs.index})
    if len(varied) == 1:  # the values alone identify the settings
        names = names.str.partition("=")[2]
    settings = {}
    for name, group in jobs.groupby(names, sort=False):
        fold, folds = (group[f"params.split.{key}"].astype(int) for key in ("fold", "folds"))
        if sorted(fold) != list(range(folds.iloc[0])):
            print("\nNot every fold was run once: nothing is pooled.")
            return
        runs = zip(fold, group["run_id"], strict=True)
        settings[str(name)] = cross_validation.pool({number: artifacts.predictions(run_id) for number, run_id in runs})
    rows = {name: cross_validation.describe(pooled, *_evaluation(jobs)) for name, pooled in settings.items()}
    if len(settings) == 1:
        name = next(iter(settings))
        log_one_setting(run, settings[name], rows[name])
        return
    run.parquet(pd.concat([rows.assign(setting=name) for name, rows in settings.items()]), "oof_predictions.parquet")
    run.text(pd.DataFrame(rows).T.to_csv(index_label=" ".join(varied)), "cross_validation.csv")
    log_several_settings(run, settings, " ".join(varied), _evaluation(jobs)[0])
    if varied != ["seed"]:  # nobody chooses a seed
        nested_report.log_nested(run, jobs.assign(setting=names), settings, *_evaluation(jobs))


def log_one_setting(run: Run, pooled: pd.DataFrame, result: dict[str, float]) -> None:
    """Log and print the cross-validation of one setting."""
    run.parquet(pooled, "oof_predictions.parquet")
    run.text(pd.DataFrame([result]).to_csv(index=False), "cross_validation.csv")
    run.metrics(result)
    run_report.log_confusion_matrix(run, binary.confusion(Predictions.from_table(pooled)), "oof")
    run.text(cross_validation.doubts(pooled).to_csv(index=False), "label_doubts.csv")
    table = cross_validation.table(result)
    limits = [in_words(Interval(*row)) for row in table[["pooled", "low", "high"]].to_numpy()]
    shown = pd.DataFrame({"pooled": limits, **table[["fold_mean", "fold_std"]]}, index=table.index)
    print(f"\nOut of fold: {len(pooled):,} images, each tested once, by a model that has not seen it\n")
    print(shown.to_string(float_format=lambda x: f"{x:.3f}", na_rep="-"))


def log_several_settings(run: Run, settings: dict[str, pd.DataFrame], of: str, confidence: float) -> None:
    """Log and print the comparison of the settings of one cross-validation.

    Args:
        settings: name -> its pooled table. of: the names of the settings that vary.
    """
    pairs = cross_validation.compare(settings, confidence)
    run.text(pairs.to_csv(index=False), "cross_validation_pairs.csv")
    values = {name: cross_validation.values(pooled, confidence) for name, pooled in settings.items()}
    shown = pd.DataFrame(
        {name: {metric: in_words(found) for metric, found in metrics.items()} for name, metrics in values.items()}
    ).T
    images = len(next(iter(settings.values())))
    print(f"\nOut of fold: {images:,} images, each tested once, by a model that has not seen it\n")
    print(shown.rename_axis(of).to_string())
    print("\n".join(["", *cross_validation.conclusion(pairs, images, confidence)]))
    real = pairs[pairs["p_holm_first"] <= significance_level(confidence)]
    differ = {metric: set(real.loc[real["metric"] == metric, "b"]) for metric in ACROSS_SETTINGS}
    run.figure(sweep_figures.settings(values, differ), "cross_validation.png")
