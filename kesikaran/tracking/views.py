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
_SHOWN = "FIRST_20_RUNS"  # in charts


@dataclass(frozen=True)
class View:
    """What a person compares. metrics, params: the columns; the first metric orders the runs. ascending: whether less
    of it is better. only: False where the sweep has jobs that other commands have made, which no search finds with
    it."""

    metrics: list[str]
    params: list[str]
    ascending: bool
    only: bool


@terminal.sheltered()
def of_sweep(sweep_id: str, experiment_id: str, view: View) -> str:
    """Keep the view of a sweep, and return the fragment of its address. Where the store does not keep it, that of the
    sweep's own page."""
    metrics = [f"metrics.`{metric_places.stored(name)}`" for name in view.metrics]
    state = {
        "searchFilter": f"tags.{context.SWEEP_TAG} = '{sweep_id}'" if view.only else "",
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
