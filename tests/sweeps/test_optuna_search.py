"""`hydra/sweeper=optuna`: what is searched, in which direction, and that the same command goes on."""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Made
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from kesikaran.config.schema import Monitor
from kesikaran.core.errors import InputError

if find_spec("optuna") is None:
    pytest.skip("the extra optuna is not installed", allow_module_level=True)

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from kesikaran.sweeps import optuna_search, search_space

WORDS = ["optimizer.lr=interval(-1,1)", "seed=3"]


def config(monitor: Monitor = Monitor.loss, **settings: Any) -> DictConfig:
    fixed = {"data": {"name": "made", "labels": None}, "split": {"file": None}, "hydra": {"verbose": False}}
    return OmegaConf.create({**fixed, "fit": {"monitor": monitor}, **settings})


class Trials:
    """Stands in for a launcher: a job's value is that of `score`, and the numbers of jobs in `failing` fail."""

    def __init__(self, score: Callable[[float], float] = lambda lr: lr, failing: Sequence[int] = ()):
        self._score, self._failing = score, failing
        self.drawn: list[float] = []
        self.batches: list[int] = []

    def launch(self, overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        self.batches.append(len(overrides))
        return [self._run(list(words), first + place) for place, words in enumerate(overrides)]

    def _run(self, words: list[str], number: int) -> JobReturn:
        assert "seed=3" in words
        (lr,) = (float(word.split("=")[1]) for word in words if word.startswith("optimizer.lr="))
        self.drawn.append(lr)
        result = JobReturn()
        result.overrides, result.status = words, JobStatus.COMPLETED
        result.return_value = self._score(lr)
        if number in self._failing:
            result.status, result.return_value = JobStatus.FAILED, InputError("a job that fails")
        return result


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Trials]:
    def call(trials: Trials, n_trials: int, n_jobs: int = 1, words: Sequence[str] = WORDS, **given: Any) -> Trials:
        options = {"study": None, "seed": 0, "storage": f"sqlite:///{tmp_path / 'optuna.db'}", **given}
        found = optuna_search.Options(n_trials=n_trials, n_jobs=n_jobs, **options)
        optuna_search.search(config(), words, trials.launch, found)
        return trials

    return call


def states(tmp_path: Path) -> list[str]:
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    (name,) = optuna.get_all_study_names(storage)
    return [trial.state.name for trial in optuna.load_study(study_name=name, storage=storage).trials]


def test_a_search_that_was_stopped_draws_what_it_would_have_drawn(
    search: Callable[..., Trials], tmp_path: Path
) -> None:
    undisturbed = search(Trials(), 14, study="undisturbed").drawn
    parts = [search(Trials(), count, study="stopped").drawn for count in (3, 3, 14)]
    assert parts[1] == [], "all are there"
    assert [lr for part in parts for lr in part] == undisturbed
    assert len(set(undisturbed)) == 14


def test_a_failed_trial_is_tried_again_by_the_next_command(search: Callable[..., Trials], tmp_path: Path) -> None:
    first = Trials(failing=[1])
    with pytest.raises(InputError, match="a job that fails"):
        search(first, 3)
    assert states(tmp_path) == ["COMPLETE", "FAIL", "COMPLETE"]
    second = search(Trials(), 4)
    assert second.drawn[0] == first.drawn[1]
    assert len(second.drawn) == 2
    assert states(tmp_path).count("COMPLETE") == 4
    assert len({*first.drawn, *second.drawn}) == 4


def test_trials_that_all_fail_are_different_ones(search: Callable[..., Trials]) -> None:
    trials = Trials(failing=range(4))
    with pytest.raises(InputError):
        search(trials, 4)
    assert len(set(trials.drawn)) == 4


def test_what_a_signal_stops_is_tried_again_at_once(search: Callable[..., Trials], tmp_path: Path) -> None:
    drawn: list[float] = []

    class Stopped(Trials):
        def _run(self, words: list[str], number: int) -> JobReturn:
            result = super()._run(words, number)
            if number == 1:
                drawn.extend(self.drawn)
                raise SystemExit(143)
            return result

    with pytest.raises(SystemExit):
        search(Stopped(), 3)
    assert states(tmp_path) == ["COMPLETE", "FAIL"]
    began = time.monotonic()
    assert search(Trials(), 3).drawn[0] == drawn[1]
    assert time.monotonic() - began < 10


def test_what_a_kill_left_is_tried_again_when_nobody_has_heard_of_it(
    search: Callable[..., Trials], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_search, "_SILENT_SECONDS", 2)
    monkeypatch.setattr(optuna_search, "_ALIVE_SECONDS", 1)
    tell = optuna.Study.tell
    monkeypatch.setattr(optuna.Study, "tell", lambda *given, **named: None)  # as if it had been killed before
    options = optuna_search.Options(2, 2, 0, None, f"sqlite:///{tmp_path / 'optuna.db'}")
    left = Trials()
    opened = optuna_search._open(optuna_search._name(config(), search_space.read(WORDS)[0]), options.storage,
                                 optuna_search.OBJECTIVE[Monitor.loss])  # fmt: skip
    trials = optuna_search._draw(opened, search_space.read(WORDS)[0], 2, 0)
    words = [["seed=3", f"optimizer.lr={trial.params['optimizer.lr']}"] for trial in trials]
    optuna_search._run(opened, trials, left.launch, words, 0)
    assert states(tmp_path) == ["RUNNING", "RUNNING"]
    monkeypatch.setattr(optuna.Study, "tell", tell)
    again = search(Trials(), 2, n_jobs=2)
    assert sorted(again.drawn) == sorted(left.drawn)
    assert states(tmp_path) == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(("monitor", "best"), [(Monitor.loss, min), (Monitor.auc, max)], ids=["loss", "auc"])
def test_the_direction_is_that_of_the_metric(
    monitor: Monitor, best: Callable[..., float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = optuna_search.Options(12, 3, 0, None, f"sqlite:///{tmp_path / 'optuna.db'}")
    trials = Trials()
    optuna_search.search(config(monitor), WORDS, trials.launch, options)
    assert trials.batches == [3, 3, 3, 3]
    assert f"on validation: optimizer.lr={best(trials.drawn)}" in capsys.readouterr().out


def test_a_value_that_is_no_number_is_a_failed_trial(search: Callable[..., Trials], tmp_path: Path) -> None:
    with pytest.raises(HydraException, match="the metric that the search goes by is nan"):
        search(Trials(lambda lr: float("nan")), 2)
    assert states(tmp_path) == ["FAIL", "FAIL"]


def test_of_few_choices_each_is_trained_once(search: Callable[..., Trials], tmp_path: Path) -> None:
    trials = search(Trials(), 12, words=["optimizer.lr=1,2", "seed=3"])
    assert sorted(trials.drawn) == [1, 2]
    assert states(tmp_path) == ["COMPLETE"] * 12


def test_the_study_is_named_by_all_that_it_depends_on(tmp_path: Path) -> None:
    space, _ = search_space.read(WORDS)
    labels = tmp_path / "label.csv"
    labels.write_text("a")
    plain = optuna_search._name(config(), space)
    assert plain == optuna_search._name(config(tracking={"run_name": "x"}), space)
    others = [config(seed=1), config(Monitor.auc), config(data={"name": "made", "labels": str(labels)})]
    names = [plain, *(optuna_search._name(other, space) for other in others)]
    names.append(optuna_search._name(config(), search_space.read(["optimizer.lr=interval(-1,2)"])[0]))
    labels.write_text("b")
    names.append(optuna_search._name(others[2], space))
    assert len(set(names)) == 6
    assert all(name.startswith("made-") for name in names)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("optimizer.lr=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("head.dropout=interval(0,0.5)", FloatDistribution(0, 0.5)),
        ("fit.batch_size=range(32,129,32)", IntDistribution(32, 128, step=32)),
        ("seed=range(5)", IntDistribution(0, 4)),
        ("optimizer=adam,sgd", CategoricalDistribution(["adam", "sgd"])),
        ("head.hidden_units=choice([],[64,32])", CategoricalDistribution(["[]", "[64,32]"])),
        ("fit.patience=null,5", CategoricalDistribution(["null", "5"])),
        ("head.dropout=range(0,0.3,0.1)", CategoricalDistribution(["0.0", "0.1", "0.2"])),
    ],
)
def test_hydras_words_for_what_is_searched(word: str, expected: Any) -> None:
    key = word.split("=")[0]
    assert search_space.read([f"{key}=1", word, "split.folds=3"]) == ({key: expected}, ["split.folds=3"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["seed=1"], "has nothing to search"),
        (["optimizer=glob(*)"], r"optimizer=glob\(\*\) cannot be searched: list its values"),
        (["optimizer.lr=tag(log,interval(0,1))"], "cannot be searched: "),
        (["fit.monitor=loss,auc", "seed=3"], "fit.monitor cannot be searched"),
    ],
)
def test_what_cannot_be_searched_is_refused(words: list[str], says: str, search: Callable[..., Trials]) -> None:
    with pytest.raises(HydraException, match=says):
        search(Trials(), 2, words=words)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n_trials": 0}, "n_trials and n_jobs have to be at least 1"),
        ({"n_trials": 1, "storage": "nonsense"}, "hydra.sweeper.storage=nonsense: "),
        ({"n_trials": 1, "storage": "sqlite:////no/such/folder/x.db"}, "unable to open database file"),
        ({"n_trials": 1, "storage": "postgresql+none://me:secret@host/db"}, r"postgresql\+none://me:\*\*\*@host/db: "),
    ],
)
def test_options_that_are_refused(given: dict[str, Any], says: str, search: Callable[..., Trials]) -> None:
    with pytest.raises(HydraException, match=says) as caught:
        search(Trials(), **given)
    assert "secret" not in str(caught.value)


def test_a_study_of_another_search_is_told(search: Callable[..., Trials]) -> None:
    search(Trials(), 1, study="one", words=["optimizer.lr=1,2", "seed=3"])
    with pytest.raises(HydraException, match="study one has searched something else"):
        search(Trials(), 2, study="one", words=["optimizer.lr=1,2,3", "seed=3"])


def test_a_real_search_goes_on(
    train: Callable[..., Done], made: Made, runs: Callable[[], list[Any]], tmp_path: Path
) -> None:
    words = [word for word in made.words if not word.startswith("optimizer.lr=")]
    words += ["hydra/sweeper=optuna", f"hydra.sweeper.storage=sqlite:///{tmp_path / 'optuna.db'}"]
    words += ["hydra/launcher=vectorized", "hydra.sweeper.n_jobs=2", "tracking.log_model=false"]
    words += ["optimizer.lr=tag(log,interval(1e-3,1))", "imbalance=none,class_weight"]
    for asked, there in ((2, 0), (4, 2)):
        done = train("-m", *words, f"hydra.sweeper.n_trials={asked}")
        assert done.code == 0, done.err
        assert f"{there} of {asked} trials are done." in done.out
    jobs = [run for run in runs() if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.status for run in jobs] == ["FINISHED"] * 4
    assert len({run.data.params["optimizer.lr"] for run in jobs}) == 4
    least = min(run.data.metrics["validation/selection_log_loss"] for run in jobs)
    assert "Best of the study by prior-corrected log loss on validation: " in done.out
    assert done.out.split("Best of the study")[1].splitlines()[0].endswith(f", {least:.4f}")
