"""A job composed by its differences is the job that Hydra composes."""

from collections.abc import Iterator
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf, flag_override

from kesikaran.config import compose, schema
from kesikaran.core import paths
from kesikaran.sweeps.composition import Composer


@pytest.fixture(scope="module")
def loader() -> Iterator[Any]:
    import hydra

    ConfigStore.instance().store(name="schema", node=schema.Experiment)
    OmegaConf.register_new_resolver("kesikaran_cache", lambda: str(paths.cache_dir()), replace=True)
    with hydra.initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def master(loader: Any, *words: str) -> Any:
    return loader.load_configuration("config", list(words), RunMode.MULTIRUN)


JOBS = {
    "numbers": ["optimizer.lr=1e-3", "head.dropout=0.3", "seed=7"],
    "the same setting twice": ["head.dropout=0.3", "head.dropout=0.1"],
    "a list": ["head.hidden_units=[64,32]"],
    "an empty list": ["experiment=article", "data.labels=a.csv", "data.images=b", "head.hidden_units=[]"],
    "nothing": ["fit.patience=null"],
    "text with blanks": ["tracking.run_name='a b'"],
    "a group and a value of it": ["optimizer=sgd", "optimizer.momentum=0.9"],
    "a value before its group": ["optimizer.momentum=0.9", "optimizer=sgd"],
    "an overlay": ["strategy=focal", "seed=1"],
    "an added setting": ["++fit.epochs=3", "seed=1"],
    "an experiment": ["experiment=debug", "fit.epochs=2"],
    "an option of the sweeper": ["hydra.sweeper.max_batch_size=3", "seed=2"],
}


@pytest.mark.parametrize("words", JOBS.values(), ids=JOBS)
def test_it_is_what_hydra_composes(words: list[str], loader: Any) -> None:
    of_sweep = master(loader)
    ours = Composer(loader, of_sweep).compose(words)
    hydras = loader.load_sweep_config(of_sweep, words)
    assert "hydra" not in ours
    with flag_override(hydras, ["readonly", "struct"], False):
        del hydras["hydra"]
    assert compose.flatten(compose.parse(ours)) == compose.flatten(compose.parse(hydras))
    assert compose.to_yaml(ours) == compose.to_yaml(hydras)


def test_one_job_leaves_nothing_to_the_next(loader: Any) -> None:
    composer = Composer(loader, master(loader))
    first = compose.to_yaml(composer.compose(["head.hidden_units=[64]", "seed=3"]))
    composer.compose(["head.hidden_units=[8]", "seed=4"])
    assert compose.to_yaml(composer.compose(["head.hidden_units=[64]", "seed=3"])) == first
    assert composer.compose(["optimizer.lr=0.1"]).seed == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimizer.rate=1"], "there is no setting optimizer.rate; the valid ones are: optimizer.name"),
        (["seed=1", "head.dropout=much"], "head.dropout=much is not allowed: Value 'much'"),
        (["optimizer=adamm"], "there is no option optimizer=adamm; the valid ones are: adam"),
        (["nothing=1"], "there is no setting nothing; the valid ones are: "),
    ],
)
def test_what_is_wrong_is_said_as_hydra_says_it(words: list[str], says: str, loader: Any) -> None:
    composer = Composer(loader, master(loader))
    for call in (composer.compose, composer.check):
        with pytest.raises(HydraException) as caught:
            call(words)
        assert compose.explain(caught.value).startswith(says)


def test_files_are_read_once_for_a_choice_of_groups(loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    of_sweep = master(loader)
    composer, composed = Composer(loader, of_sweep), []
    unpatched = loader.load_sweep_config

    def counted(*given: Any) -> Any:
        composed.append(given)
        return unpatched(*given)

    monkeypatch.setattr(loader, "load_sweep_config", counted)
    for rate in range(1, 6):
        for optimizer in ("adam", "sgd"):
            composer.check([f"optimizer={optimizer}", f"optimizer.lr={rate}", f"seed={rate}"])
            composer.compose([f"optimizer={optimizer}", f"optimizer.lr={rate}", f"seed={rate}"])
    assert len(composed) == 2
