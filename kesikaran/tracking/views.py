"""An address of MLflow's page of an experiment that carries columns and an order.

MLflow's button "Share" keeps a view as a tag of the experiment and gives an address that names it. A view is kept here
in the same way.
"""

import json
from contextlib import suppress
from dataclasses import dataclass

from kesikaran.core import terminal
from kesikaran.tracking import context, metric_places, run_store, store_client

_TAG = "mlflow.sharedViewState."
_MOST = 5000  # characters of an experiment's tag
_MOST_LISTED = 3000  # of them for the ids of jobs; with more jobs all runs of the experiment are shown
_SHOWN = "FIRST_20_RUNS"  # in charts


@dataclass(frozen=True)
class View:
    """What a person compares. metrics, params: the columns; the first metric orders the runs. ascending: whether less
    of it is better. jobs: the run ids of all jobs, where other commands have made some of them, which carry the tag of
    their own sweep; else empty."""

    metrics: list[str]
    params: list[str]
    ascending: bool
    jobs: list[str]


@terminal.sheltered()
def of_sweep(sweep_id: str, experiment_id: str, view: View) -> str:
    """Keep the view of a sweep, and return the fragment of its address. Where the store does not keep it, that of the
    sweep's own page."""
    metrics = [f"metrics.`{metric_places.stored(name)}`" for name in view.metrics]
    search = f"tags.{context.SWEEP_TAG} = '{sweep_id}'"
    if view.jobs:
        listed = ", ".join(f"'{run_id}'" for run_id in (sweep_id, *view.jobs))
        search = f"attributes.run_id IN ({listed})" if len(listed) < _MOST_LISTED else ""
    state = {
        "searchFilter": search,
        "orderByKey": metrics[0],
        "orderByAsc": view.ascending,
        "selectedColumns": [*metrics, *(f"params.`{name}`" for name in view.params)],
        "runsExpanded": {sweep_id: True},
        "runsHiddenMode": _SHOWN,
    }
    text = json.dumps(state)
    if len(text) <= _MOST:
        with suppress(*run_store.FAILURES):  # a person who may write runs may be kept from the experiment's tags
            store_client.client().set_experiment_tag(experiment_id, f"{_TAG}{sweep_id}", text)
            return run_store.page_of_view(experiment_id, sweep_id)
    return run_store.page_of_run(run_id=sweep_id, experiment_id=experiment_id)
