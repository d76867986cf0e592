"""The sweeper `hydra/sweeper=grid`, the default. Hydra finds plugins in this namespace only, and imports it at every
start, so the work is done in `kesikaran.sweeps`, imported late."""

import math
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus


class GridSweeper(BasicSweeper):
    """All combinations, as Hydra's own sweeper. It checks each value once, where that composes each job, and keeps the
    jobs that another command is at work on for the end."""

    def sweep(self, arguments: list[str]) -> Any:
        from kesikaran.sweeps import others
        from kesikaran.sweeps.composition import Composer

        if self.hydra_context is None or self.config is None or self.launcher is None:
            raise AssertionError("Hydra sets a sweeper up before it sweeps")
        loader = self.hydra_context.config_loader
        composer = Composer(loader, self.config)
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
        returns: list[Sequence[JobReturn]] = []
        number = 0
        for batch in self.split_arguments(overrides, self.max_batch_size):
            for job in batch:
                composer.check(job)
            returns.append(self.launcher.launch(batch, initial_job_idx=number))
            for place, (job, result) in enumerate(zip(batch, returns[-1], strict=True), start=number):
                value = result.return_value if result.status is JobStatus.COMPLETED else None
                if isinstance(value, float) and math.isnan(value):
                    others.leave(composer, place, job)
            number += len(batch)
            for result in returns[-1]:
                _ = result.return_value  # raises what a job has raised
        return returns
