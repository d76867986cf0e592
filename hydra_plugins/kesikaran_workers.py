"""The launchers joblib, submitit_local, submitit_slurm and ray: each job of a sweep in a process of a worker.

Hydra finds plugins in this namespace only, and imports it at every start, so the work is done in
`kesikaran.sweeps.workers`, imported late.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

OWN = {"launcher": ("joblib", "submitit_local", "submitit_slurm", "ray"), "sweeper": ("optuna",)}


class WorkerLauncher(Launcher):
    """Hands the jobs of a sweep to an engine, which runs them in processes of its own."""

    def __init__(self, engine: str, **options: Any):
        """engine: joblib, submitit or ray. options: see conf/hydra/launcher."""
        self._engine, self._options = engine, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from kesikaran.sweeps import workers

        self._sweep = workers.Sweep(hydra_context, config, task_function)
        self._launch = workers.engine(self._engine)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = [self._sweep.job(list(words), number) for number, words in enumerate(job_overrides, initial_job_idx)]
        return self._launch(jobs, dict(self._options))


class OwnOptions(SearchPathPlugin):
    """Hydra has published plug-ins with the same names. Where one is installed, Hydra would check the options in
    conf/hydra against those of that plug-in, which have other settings."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        groups = ConfigStore.instance().repo.get("hydra", {})
        for group, names in OWN.items():
            for name in names:
                groups.get(group, {}).pop(f"{name}.yaml", None)
