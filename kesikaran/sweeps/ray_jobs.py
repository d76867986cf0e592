"""The jobs of a sweep by Ray: on a cluster, or on a Ray of this machine that ends with the command."""

import atexit
import contextlib
import io
import os
import pickle
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import ray
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from ray import cloudpickle

from kesikaran.core import share, terminal
from kesikaran.sweeps import workers

# Of the environment of the command, what its workers on other machines need.
_CARRIED = ("KESIKARAN_", "MLFLOW_", "TFHUB_", "AWS_")
_OBJECT_STORE_BYTES = 100 * 2**20  # jobs hand each other nothing; Ray would set aside a third of the memory
_CLOSING_SECONDS = 20.0  # a worker that is told to stop closes its run


def launch(jobs: Sequence[workers.Job], options: workers.Options) -> list[JobReturn]:
    """Run the jobs. What a job has printed is printed when it has ended. Where the wait is interrupted, the jobs that
    have not ended are stopped.

    Raises:
        HydraException: there is no such cluster, or it can never run a job of this size.
    """
    _start(options["address"])
    cpus, gpus = options["num_cpus"], options["num_gpus"]
    if gpus is None:
        gpus = min(1, ray.cluster_resources().get("GPU", 0))
    # No second try: a job that failed is known as failed, and the next command tries it again.
    size = {"num_cpus": cpus, "num_gpus": gpus, "memory": int(options["memory_gb"] * 2**30), "max_retries": 0}
    _need_room(size)
    carried = {key: value for key, value in os.environ.items() if key.startswith(_CARRIED)}
    remote = ray.remote(**size)(_run)
    tasks = {remote.remote(carried, cloudpickle.dumps(job), cpus): job for job in jobs}
    returned: dict[int, JobReturn] = {}
    waiting = list(tasks)
    try:
        while waiting:
            ended, waiting = ray.wait(waiting)
            returned |= {tasks[task].number: _result(task, tasks[task]) for task in ended}
    except BaseException:
        for task in waiting:
            ray.cancel(task)
        ray.wait(waiting, num_returns=len(waiting), timeout=_CLOSING_SECONDS)
        terminal.stop_if_asked()  # of a signal that comes while Ray waits, Ray makes an exit with code 1
        raise
    return [returned[job.number] for job in jobs]


def _start(address: str | None) -> None:
    """Start or join a Ray, unless an earlier batch of the sweep has.

    Raises:
        HydraException: there is none at the address.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send usage data
    always: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    handlers = {signum: signal.getsignal(signum) for signum in terminal.STOPS}
    try:
        if address:
            ray.init(address, **always)
            return
        # The name is short because those of Ray's sockets, which get longer, must not exceed 107 bytes.
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(ray.shutdown)  # before the folder goes
        ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, _temp_dir=folder, **always)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise HydraException(f"there is no Ray at hydra.launcher.address={address}: {error}") from None
    finally:
        for signum, handler in handlers.items():  # Ray sets some of its own, which would end the process at once
            signal.signal(signum, handler)


def _need_room(size: dict[str, Any]) -> None:
    """Raises HydraException where no machine of the cluster has what one job asks for: it would wait for ever."""
    asked = {"CPU": size["num_cpus"], "GPU": size["num_gpus"], "memory": size["memory"]}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(machine.get(what, 0) >= much for what, much in asked.items()) for machine in machines):
        raise HydraException(
            f"no machine of the Ray cluster has what one job asks for, {asked}: less by hydra.launcher.num_cpus, "
            "num_gpus or memory_gb"
        )


def _run(environment: dict[str, str], job: bytes, cpus: float) -> tuple[JobReturn, str, str]:
    """In a worker: what the job returns, and what it prints to stdout and stderr. The environment is set before
    anything of the job is loaded. Ray itself sets the GPU of a worker."""
    os.environ.update(environment)
    workers_here = max(1, int(share.cores() // max(cpus, 1)))
    own = share.Share(workers_here, gpus=(), command=ray.get_runtime_context().get_job_id())
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        returned: JobReturn = pickle.loads(job)(own)  # noqa: S301  the command's own
    return returned, out.getvalue(), err.getvalue()


def _result(task: Any, job: workers.Job) -> JobReturn:
    try:
        returned, out, err = ray.get(task)
    except ray.exceptions.RayError as error:
        return workers.lost(job, f"{type(error).__name__}, as where it takes more memory than there is")
    print(out, end="")
    print(err, end="", file=sys.stderr)
    result: JobReturn = returned
    return result
