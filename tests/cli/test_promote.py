"""`kesikaran promote`: a better, an equal and a worse run, what is said of each, and where the alias is afterwards."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Done
from registrable import finished, predictions

from kesikaran.cli import promote as door
from kesikaran.tracking import artifacts, registry, runs
from kesikaran.tracking.queries import Record

pytestmark = pytest.mark.tensorflow

Promote = Callable[..., Done]
WRONG = range(40)  # of 200 images, the champion


@pytest.fixture
def promote(run: Callable[..., Done]) -> Promote:
    """`kesikaran promote WORDS`."""
    return lambda *words: run(door.main, "kesikaran promote", *words)


@pytest.fixture
def champion() -> tuple[str, Record]:
    """(models:/NAME@champion of a registered model that no other test has, the run that it names)"""
    name, record = f"cells {uuid.uuid4().hex[:8]}", finished("old", predictions(WRONG))
    registry.set_alias(name, "champion", registry.register(record, name))
    return f"models:/{name}@champion", record


def versions(over: str, client: Any) -> list[int]:
    """All versions of a registered model, the newest first."""
    name = registry.parse(over).name
    return [v.version for v in client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])]


def test_a_better_run_takes_the_place(promote: Promote, champion: tuple[str, Record]) -> None:
    over, old = champion
    new = finished("better", predictions(range(10)))
    done = promote(new.run_id, "--over", over, "--margin", "0")
    assert (done.code, done.err) == (0, "")
    found = registry.resolve(over)
    assert (found.record, found.version) == (new, 2)
    lines = done.out.splitlines()
    assert lines[0] == f"Old: {over}, version 1, run {old.run_id} (old)"
    assert lines[1] == f"New: run {new.run_id} (better)"
    images = "On the 200 test images the new run has accuracy 0.950, the old one 0.800: a gain of +0.150 [+0.1"
    assert lines[3].startswith(images)
    assert lines[4] == "The lower end is above 0: the new run is really better."
    assert f"run {new.run_id} (better) had no gate" in done.out
    assert "finished runs were scored on this very split" in done.out
    assert lines[-3:] == [
        f"{over} is version 2 now, run {new.run_id} (better).",
        f"Use it:      kesikaran predict '{over}' PATHS...",
        f"Back again:  kesikaran publish {old.run_id} --register '{registry.parse(over).name}' --alias champion",
    ]
    again = promote(new.run_id, "--over", over)
    assert (again.code, again.err) == (0, "")
    assert again.out == f"{over} is run {new.run_id} (better) already, version 2: nothing is changed.\n"


def test_an_equal_run_by_the_margin(promote: Promote, champion: tuple[str, Record], client: Any) -> None:
    over, old = champion
    new = finished("equal", predictions(range(1, 41)))
    done = promote(new.run_id, "--over", over, "--margin", "0.01")
    assert (done.code, done.err) == (3, "")
    assert (
        "is not above -0.01: that the new run is at most 0.01 worse is not shown. Needed would be a gain of +0.0"
        in done.out
    )
    assert done.out.endswith(f"\n{over} stays version 1.\n")
    assert (registry.resolve(over).record, versions(over, client)) == (old, [1])
    assert promote(new.run_id, "--over", over, "--margin", "0").code == 3
    done = promote(new.run_id, "--over", over, "--margin", "0.05")
    assert (done.code, done.err) == (0, "")
    assert "is above -0.05: the new run is at most 0.05 worse." in done.out
    assert registry.resolve(over).record == new


def test_a_worse_run_stays_out(promote: Promote, champion: tuple[str, Record], client: Any) -> None:
    over, old = champion
    done = promote(finished("worse", predictions(range(70))).run_id, "--over", over)
    assert (done.code, done.err) == (3, "")
    assert "a gain of -0.150 [-0." in done.out
    assert "more test images would not help this one." in done.out
    assert (registry.resolve(over).record, versions(over, client)) == (old, [1])


def refused(done: Done, says: str) -> None:
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert says in done.err


def test_mistakes_change_nothing(promote: Promote, champion: tuple[str, Record], client: Any) -> None:
    over, old = champion
    name = registry.parse(over).name
    good = predictions(range(10))
    new = finished("new", good)
    first = f"; kesikaran publish RUN --register '{name}' --alias best sets it to the model of a run"
    refused(promote(new.run_id, "--over", f"models:/{name}@best"), f"registered model {name} has no alias best{first}")
    refused(promote(new.run_id, "--over", f"models:/{name}/1"), "a version stays what it is, give NAME@ALIAS")
    refused(promote(new.run_id, "--over", old.run_id), "models:/NAME@ALIAS or models:/NAME/VERSION")
    refused(promote("no such run", "--over", over), "there is no run no such run")
    refused(promote(new.run_id, "--over", over, "--margin", "0.5"), "--margin 0.5 is not allowed")
    refused(promote(new.run_id, "--over", over, "--margin", "nan"), "--margin nan is not allowed")
    refused(promote(new.run_id, "--over", over, "--metric", "log_loss"), "give --margin in its own unit")
    refused(promote(new.run_id, "--over", over, "--metric", "best"), "best cannot judge a promotion")
    bare = finished("bare", good, has_model=False)
    refused(promote(bare.run_id, "--over", over), "has no model (tracking.log_model=false")
    gate = {"gate": "failed", "gate_judged": "0.8: the lower end is below 0.85"}
    failed = finished("failed", good, tags=gate)
    refused(promote(failed.run_id, "--over", over), "has not passed its gate (0.8: the lower end is below 0.85)")
    other = finished("other", predictions(range(10), 150), tags={"data_digest": "another"})
    refused(promote(other.run_id, "--over", over), "were not scored on the same test images: 50 only in the first, 0")
    without = finished("without")
    refused(promote(without.run_id, "--over", over), f"has no {artifacts.PREDICTIONS}")
    with pytest.raises(ValueError, match="stopped"), runs.run("registry", "killed", {}) as killed:
        raise ValueError("stopped")
    refused(promote(killed.run_id, "--over", over), "is FAILED, not FINISHED")
    assert (registry.resolve(over).record, versions(over, client)) == (old, [1])


def test_two_at_once(promote: Promote, champion: tuple[str, Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command moves the alias while this one compares: what it was compared with is the champion no more."""
    over, _ = champion
    name = registry.parse(over).name
    first, second = (finished(each, predictions(range(10))) for each in ("first", "second"))
    register = registry.register

    def raced(record: Record, name: str) -> int:
        registry.set_alias(name, "champion", register(first, name))
        return register(record, name)

    monkeypatch.setattr(registry, "register", raced)
    done = promote(second.run_id, "--over", over)
    assert done.code == 1
    assert done.err == (
        f"error: {over} was moved to version 2 meanwhile, by another command, and no longer names version 1: give the "
        "same command again\n"
    )
    assert registry.resolve(over).record == first
    monkeypatch.undo()
    done = promote(second.run_id, "--over", over, "--margin", "0.02")
    assert done.code == 0, "it is as good, and compared with the new champion"
    assert registry.resolve(f"models:/{name}/3").record == second
