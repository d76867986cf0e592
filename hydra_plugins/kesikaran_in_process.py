"""The launchers `hydra/launcher=in_turn`, the default, and `hydra/launcher=vectorized`: the jobs of a sweep in this
process. Hydra finds plugins in this namespace only, and imports it at every start, so the work is done in
`kesikaran.sweeps.in_process`, imported late."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class InProcessLauncher(Launcher):
    """Runs the jobs of a sweep in this process. Its jobs share what they have in common, also from one launch to the
    next, which is how a search launches them."""

    def __init__(self, trains_together: bool):
        """trains_together: those jobs whose heads are alike are trained as one model."""
        self._trains_together = trains_together

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from kesikaran.cli import train
        from kesikaran.experiment.job import Job, Shared
        from kesikaran.sweeps.composition import Composer

        composer, shared = Composer(hydra_context.config_loader, config), Shared()

        def begin(words: list[str], number: int) -> Job:
            return train.begin(composer.compose(words), words, number, shared)

        self._begin, self._config = begin, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from kesikaran.sweeps import in_process

        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs = [(list(words), number) for number, words in enumerate(job_overrides, start=initial_job_idx)]
        if self._trains_together:
            return in_process.together(jobs, self._begin)
        return in_process.in_turn(jobs, self._begin, self._config.hydra.sweeper)
