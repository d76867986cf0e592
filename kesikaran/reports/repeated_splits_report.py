"""The report of a sweep over repeated random splits: the mean and the spread of each setting."""

import pandas as pd

from kesikaran.analysis import repeated_splits, sweep_summary
from kesikaran.analysis.wording import p_in_words, significance_level
from kesikaran.config.metric_names import METRICS
from kesikaran.tracking.open_run import Run


def log_repeated_splits(run: Run, jobs: pd.DataFrame) -> None:
    """Log and print the test metrics over the splits: `splits.csv`, and of several settings `split_pairs.csv`.

    Args:
        run: the parent of the sweep.
        jobs: its finished jobs.
    """
    confidence, _ = sweep_summary.evaluation(jobs)
    verdict = sweep_summary.verdict(jobs)
    without = (repeated_splits.SEED,)
    names = pd.Series({row: sweep_summary.setting(jobs, row, without) or "all jobs" for row in jobs.index})
    spread = repeated_splits.spread(jobs, names, confidence)
    run.text(spread.to_csv(index=False), "splits.csv")
    own = spread[spread["metric"] == verdict]
    print(f"\nTest {METRICS[verdict].words} over {jobs[f'params.{repeated_splits.SEED}'].nunique()} random splits:\n")
    for one in own.to_dict("records"):
        print(
            f"  {one['setting']}: mean {one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}], standard deviation "
            f"{one['std']:.3f}, {one['least']:.3f} to {one['most']:.3f}"
        )
    print(
        "\nThe splits share images: the interval of the mean is that of Nadeau and Bengio (2003). No job is the best."
    )
    if len(own) == 1:
        ends = {f"splits/{one['metric']}_{end}": float(one[end]) for one in spread.to_dict("records")
                for end in ("mean", "low", "high", "std")}  # fmt: skip
        run.metrics({name: value for name, value in ends.items() if value == value})
        return
    pairs = repeated_splits.differences(jobs, names, verdict, confidence)
    if pairs.empty:
        return
    run.text(pairs.to_csv(index=False), "split_pairs.csv")
    level = significance_level(confidence)
    for one in pairs.to_dict("records"):
        mark = " ~" if not one["p_value"] <= level else ""
        print(
            f"  {one['b']} less {one['a']}: {one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}], "
            f"p {p_in_words(one['p_value'])}{mark}"
        )
    print("~ within noise. These p-values are not corrected for the number of pairs.")
