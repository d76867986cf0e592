"""The report of a sweep over all folds of a cross-validation: pooled metrics, and the comparison of its settings."""

import pandas as pd

from kesikaran.analysis import cross_validation, sweep_summary
from kesikaran.analysis.wording import in_words, significance_level
from kesikaran.config.metric_names import ACROSS_SETTINGS, METRICS
from kesikaran.metrics import binary
from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.predictions import Predictions
from kesikaran.reports import columns, nested_report, run_report, sweep_figures
from kesikaran.tracking import artifacts
from kesikaran.tracking.open_run import Run


def log_cross_validation(run: Run, jobs: pd.DataFrame, sentences: list[str], commands: list[str]) -> None:
    """Pool the test splits of a sweep over all folds, and log and print the results.

    For one setting its metrics, confusion matrix and label doubts are logged. For several settings there is a row for
    each in `cross_validation.csv`, one for each pair in `cross_validation_pairs.csv`, and `cross_validation.png`.

    Args:
        run: the parent of the sweep.
        jobs: the table of `tracking.queries.sweep_jobs`, all FINISHED.
        sentences, commands: of the note of the sweep; they get what has come out, and how one goes on.
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
    rows = {
        name: cross_validation.describe(pooled, *sweep_summary.evaluation(jobs)) for name, pooled in settings.items()
    }
    if len(settings) == 1:
        name = next(iter(settings))
        log_one_setting(run, settings[name], rows[name])
        sentences.append(_in_words(settings[name], rows[name], sweep_summary.verdict(jobs)))
        commands.append(f"kesikaran data label-doubts {run.run_id}")
        return
    run.parquet(pd.concat([rows.assign(setting=name) for name, rows in settings.items()]), "oof_predictions.parquet")
    run.text(pd.DataFrame(rows).T.to_csv(index_label=" ".join(varied)), "cross_validation.csv")
    sentences += log_several_settings(
        run, settings, " ".join(varied), sweep_summary.evaluation(jobs)[0], sweep_summary.verdict(jobs)
    )
    if varied != ["seed"]:  # nobody chooses a seed
        nested_report.log_nested(
            run, jobs.assign(setting=names), settings, sweep_summary.verdict(jobs), *sweep_summary.evaluation(jobs)
        )


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
    shown[["fold_mean", "fold_std"]] = shown[["fold_mean", "fold_std"]].map("{:.3f}".format, na_action="ignore")
    print(columns.fitted(shown))
    print(f"\nWhich labels may be wrong, with pictures:  kesikaran data label-doubts {run.run_id}")


def _in_words(pooled: pd.DataFrame, result: dict[str, float], verdict: str) -> str:
    found = [
        f"{METRICS[name].words} {in_words(Interval(*(result[f'oof/{name}{end}'] for end in ('', '_low', '_high'))))}"
        for name in dict.fromkeys((verdict, "accuracy", "roc_auc"))
        if f"oof/{name}" in result
    ]
    return f"Out of fold, {len(pooled):,} images, each tested once by a model that has not seen it: {', '.join(found)}."


def log_several_settings(
    run: Run, settings: dict[str, pd.DataFrame], of: str, confidence: float, verdict: str
) -> list[str]:
    """Log and print the comparison of the settings of one cross-validation. Returns its sentences.

    Args:
        settings: name -> its pooled table. of: the names of the settings that vary. verdict: the metric that comes
            first, where the comparison has it.
    """
    pairs = cross_validation.compare(settings, confidence)
    run.text(pairs.to_csv(index=False), "cross_validation_pairs.csv")
    values = {name: cross_validation.values(pooled, confidence) for name, pooled in settings.items()}
    shown = pd.DataFrame(
        {name: {metric: in_words(found) for metric, found in metrics.items()} for name, metrics in values.items()}
    ).T
    shown = shown[sorted(shown.columns, key=lambda name: name != verdict)]
    images = len(next(iter(settings.values())))
    print(f"\nOut of fold: {images:,} images, each tested once, by a model that has not seen it\n")
    print(columns.fitted(shown.rename_axis(of)))
    said = cross_validation.conclusion(pairs, images, confidence, verdict)
    print("\n".join(["", *said]))
    real = pairs[pairs["p_holm_first"] <= significance_level(confidence)]
    differ = {metric: set(real.loc[real["metric"] == metric, "b"]) for metric in ACROSS_SETTINGS}
    run.figure(sweep_figures.settings(values, differ), "cross_validation.png")
    return said
