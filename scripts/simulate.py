"""Simulations of how often intervals hold the truth and comparisons err: `python scripts/simulate.py`."""

import argparse
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from kesikaran.config.metric_names import METRICS
from kesikaran.core import terminal
from kesikaran.metrics import binary, intervals, paired, prevalence, scores
from kesikaran.metrics.predictions import Predictions

_POPULATION = 1_000_000


@dataclass(frozen=True)
class World:
    """A population of images of two labels.

    The scores of a label have variance 1 and are normal, or with `heavy` those of Student's t with 3 degrees of
    freedom, and the means of the two labels are `distance` apart. The logit of normal scores is the true log-odds
    times `stretch` (1: calibrated); with `tied` it is rounded to halves. zeros, ones: the images of each label in a
    sample, exactly so where the counts are `fixed`, else on average. Images of a group of size `group` share the part
    `alike` of their variance, and their label unless `mixed`. With `groups` a sample is so many groups of lognormal
    sizes, 8 images on average, and half of the labels are 1; zeros and ones are not read then. The scores of two models
    have the correlation `twins`, given the label.
    """

    zeros: int
    ones: int
    distance: float = 2.0
    stretch: float = 1.0
    group: int = 1
    groups: int = 0
    alike: float = 0.0
    mixed: bool = False
    fixed: bool = True
    heavy: bool = False
    tied: bool = False
    twins: float = 0.8

    @property
    def share(self) -> float:
        return 0.5 if self.groups else self.ones / (self.zeros + self.ones)

    @property
    def name(self) -> str:
        counts = f"{self.groups} unequal groups" if self.groups else f"{self.zeros} / {self.ones}"
        parts = {
            f", groups of {self.group}": self.group > 1,
            ", both labels in each": self.mixed,
            ", counts random": not self.fixed and not self.groups,
            f", {self.distance:g} apart": self.distance != 2,
            f", logits x {self.stretch:g}": self.stretch != 1,
            ", heavy tails": self.heavy,
            ", ties": self.tied,
            f", correlated {self.twins:g}": self.twins != 0.8,
        }
        return counts + "".join(part for part, said in parts.items() if said)


def draw(
    world: World, random: np.random.Generator, models: int = 1, better: float = 0.0, offsets: tuple[float, ...] = ()
) -> list[Predictions]:
    """The predictions of several models on the same images. The distance of each is larger by `better` than that of the
    one before it. offsets: what is added to the logits of each model."""
    labels, groups = _sample(world, random)
    grouped = world.group > 1 or world.groups > 0

    def noise() -> np.ndarray:
        alone, together = _scores(world, random, len(labels)), _scores(world, random, len(labels))[groups]
        return np.sqrt(1 - world.alike) * alone + np.sqrt(world.alike) * together

    common, predictions = noise(), []
    for model in range(models):
        distance = world.distance + model * better
        seen = np.sqrt(world.twins) * common + np.sqrt(1 - world.twins) * noise() + distance * (labels - 0.5)
        logits = world.stretch * (distance * seen + np.log(world.share / (1 - world.share)))
        logits = np.round(2 * logits) / 2 if world.tied else logits
        logits = logits + (offsets[model] if offsets else 0.0)
        predictions.append(
            Predictions.from_logits(labels, logits, groups if grouped else None, counts_fixed=world.fixed)
        )
    return predictions


def _scores(world: World, random: np.random.Generator, count: int) -> np.ndarray:
    return random.standard_t(3, count) / np.sqrt(3) if world.heavy else random.normal(size=count)


def _sample(world: World, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(labels, groups) of a sample that has both labels."""
    if world.groups:
        sizes = np.maximum(1, np.rint(8 * np.exp(random.normal(size=world.groups) - 0.5)).astype(int))
        groups = np.repeat(np.arange(world.groups), sizes)
        by = random.random(len(groups)) if world.mixed else random.random(world.groups)[groups]
        labels = (by < 0.5).astype(int)
    else:
        n = world.zeros + world.ones
        labels = (np.arange(n) >= world.zeros).astype(int)
        if not world.fixed:
            labels = (random.random(n) < world.share).astype(int)
        groups = (random.permutation(n) if world.mixed else np.arange(n)) // world.group
    return (labels, groups) if 0 < labels.sum() < len(labels) else _sample(world, random)


def truth(world: World) -> dict[str, float]:
    """Each metric in a population with the world's share of label 1."""
    ones = int(_POPULATION * world.share)
    large = replace(world, zeros=_POPULATION - ones, ones=ones, group=1, groups=0, alike=0.0, mixed=False, fixed=True)
    return scores.score(draw(large, np.random.default_rng(0))[0])


def coverage(world: World, samples: int, step: Callable[[], object], seed: int = 1) -> pd.DataFrame:
    """Rows: metrics. Columns: the share of 95 % intervals that hold the truth, are above it, are below it."""
    random, known = np.random.default_rng(seed), truth(world)
    known |= _in_use_truth(known)
    counts: dict[str, list[tuple[bool, bool, bool]]] = {}
    for _ in range(samples):
        (predictions,) = draw(world, random)
        found = intervals.intervals(predictions)
        at = prevalence.at(predictions, 0.01)
        found |= {"precision at 1 %": at.precision, "alerts at 1 %": at.alerts, "missed at 1 %": at.missed}
        for name, one in found.items():
            true = known[name]
            if not np.isnan(one.value):  # undefined, such as the precision where nothing is predicted 1
                counts.setdefault(name, []).append((one.low <= true <= one.high, true < one.low, true > one.high))
        step()
    shares = {name: np.mean(held, axis=0) for name, held in counts.items()}
    return pd.DataFrame(shares, index=["holds", "above", "below"]).T


def _in_use_truth(target: dict[str, float]) -> dict[str, float]:
    hit, wrong = 0.01 * target["recall"], 0.99 * (1 - target["specificity"])
    alerts, missed = 1e4 * (hit + wrong), 1e4 * 0.01 * (1 - target["recall"])
    return {"precision at 1 %": hit / (hit + wrong), "alerts at 1 %": alerts, "missed at 1 %": missed}


def rejections(
    world: World,
    better: float,
    samples: int,
    step: Callable[[], object],
    seed: int = 2,
    offsets: tuple[float, ...] = (),
    metrics: Collection[str] | None = None,
) -> pd.DataFrame:
    """Rows: metrics. Columns: the share of samples with p <= 0.05, and of intervals that hold the true difference.
    offsets: as in `draw`; the metrics of the two models then differ, all but the log loss. metrics: None for all."""
    random = np.random.default_rng(seed)
    first, second = truth(world), truth(replace(world, distance=world.distance + better))
    counts: dict[str, list[tuple[bool, bool]]] = {}
    for _ in range(samples):
        a, b = draw(world, random, 2, better, offsets)
        for name, one in paired.compare(a, b, metrics=metrics).items():
            true = second[name] - first[name] if better else 0.0
            if not np.isnan(one.p_value):  # undefined, as in `coverage`
                counts.setdefault(name, []).append((one.p_value <= 0.05, one.low <= true <= one.high))
        step()
    return pd.DataFrame({name: np.mean(held, axis=0) for name, held in counts.items()}, index=["rejects", "holds"]).T


def equal_loss(world: World, offset: float) -> float:
    """The offset of the other sign that gives logits the same log loss in the population as `offset` does."""
    ones = int(_POPULATION * world.share)
    large = replace(world, zeros=_POPULATION - ones, ones=ones, group=1, groups=0, alike=0.0, mixed=False, fixed=True)
    (predictions,) = draw(large, np.random.default_rng(0))

    def loss(shift: float) -> float:
        return binary.log_loss(predictions.labels, predictions.logits + shift)

    return float(brentq(lambda shift: loss(shift) - loss(offset), 1e-3 * -np.sign(offset), -4 * offset))


_UNEQUAL = tuple(
    World(0, 0, groups=groups, alike=0.5, mixed=mixed, fixed=False)
    for groups in (12, 30, 100)
    for mixed in (False, True)
)
WORLDS = (
    World(75, 75),
    World(15, 15),
    World(130, 20),
    World(1161, 1161),
    World(75, 75, group=5, alike=0.5),
    World(75, 75, group=5, alike=0.5, mixed=True),
    World(75, 75, stretch=2.0),
    World(75, 75, distance=3.6),
    World(75, 75, heavy=True),
    World(75, 75, tied=True),
    World(40, 40, distance=0.742),
    World(20, 200),
    World(200, 20),
    World(500, 5),
    World(75, 75, fixed=False),
    World(950, 50, fixed=False),
    *_UNEQUAL,
)
PAIRED = (
    World(75, 75),
    World(15, 15),
    World(130, 20),
    World(20, 200),
    World(200, 20),
    World(500, 5),
    World(40, 40, distance=0.742),
    World(950, 50, fixed=False),
    World(75, 75, heavy=True),
    World(75, 75, tied=True),
    World(75, 75, twins=0.99),
    World(75, 75, group=5, alike=0.5),
    *_UNEQUAL,
)
QUICK = tuple(name for name in METRICS if name != "calibration_error")  # whose comparison takes a hundred times longer
OPPOSITE = (World(1863, 761, fixed=False), World(950, 50, fixed=False))
OFFSET = -0.9  # of one of two models with the same log loss, as of a training with another prior
BETTER = 0.5


def table(title: str, columns: dict[str, pd.Series]) -> str:
    """Metrics side by side, and a row for each world."""
    frame = 100 * pd.DataFrame(columns).T
    lines = [f"| {' | '.join(['', *frame.columns])} |", "|---" * (len(frame.columns) + 1) + "|"]
    lines += [
        f"| {' | '.join([str(name), *('-' if np.isnan(value) else f'{value:.1f}' for value in row)])} |"
        for name, row in frame.iterrows()
    ]
    return "\n".join([f"\n{title}\n", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Draw samples from made scores and print, as Markdown, how often each 95 %% interval holds the "
        "truth, how often each comparison finds a difference where there is none, and where there is one."
    )
    parser.add_argument("--samples", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    words = parser.parse_args()
    samples, seed = words.samples, words.seed
    few = PAIRED[:3]
    steps = len(WORLDS) + len(PAIRED) + len(OPPOSITE) + len(few)
    with terminal.progress(None, "simulating", "sample", samples * steps) as bar:
        covered = {world.name: coverage(world, samples, bar.update, seed) for world in WORLDS}
        null = {
            world.name: rejections(world, 0.0, samples, bar.update, seed, metrics=None if world in few else QUICK)
            for world in PAIRED
        }
        shifted = {
            world.name: rejections(
                world, 0.0, samples, bar.update, seed, (OFFSET, equal_loss(world, OFFSET)), metrics=("log_loss",)
            )
            for world in OPPOSITE
        }
        real = {world.name: rejections(world, BETTER, samples, bar.update, seed) for world in few}
    print(f"{samples} samples a row, seed {seed}; a row says the images of label 0 / of label 1. All numbers in %.")
    print(table("Intervals that hold the truth (95 is promised)", {k: v["holds"] for k, v in covered.items()}))
    print(table("Intervals that lie wholly above it (2.5)", {k: v["above"] for k, v in covered.items()}))
    print(table("Comparisons of equals with p <= 0.05 (5)", {k: v["rejects"] for k, v in null.items()}))
    print(table("Their intervals that hold 0 (95)", {k: v["holds"] for k, v in null.items()}))
    opposite = {k: v["rejects"] for k, v in shifted.items()}
    print(table("Equal log loss by logits shifted opposite ways, p <= 0.05 (5)", opposite))
    gain = {
        name: truth(replace(WORLDS[0], distance=2 + BETTER))[name] - value for name, value in truth(WORLDS[0]).items()
    }
    print(table("Comparisons with p <= 0.05 where b is better (power)", {k: v["rejects"] for k, v in real.items()}))
    print(table("Their intervals that hold the difference (95)", {k: v["holds"] for k, v in real.items()}))
    print(f"\nBetter by, at 75 / 75: {', '.join(f'{name} {gain[name]:+.3f}' for name in null[PAIRED[0].name].index)}")


if __name__ == "__main__":
    main()
