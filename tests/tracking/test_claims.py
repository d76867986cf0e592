"""A job is trained by one process: whoever opens its run first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kesikaran.tracking import claims, liveness, queries, run_store, runs
from kesikaran.tracking.claims import Claimed

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def fingerprint(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def opened(fingerprint: str) -> Any:
    return runs.run("claims", "a job", {}, fingerprint=fingerprint, is_claim=True)


def refused_by(fingerprint: str) -> str:
    """The run that keeps a job from being opened."""
    with pytest.raises(Claimed) as caught, opened(fingerprint):
        pass
    return caught.value.record.run_id


def test_what_is_at_work_or_finished_is_not_opened_again(client: Any, fingerprint: str) -> None:
    with opened(fingerprint) as run:
        assert refused_by(fingerprint) == run.run_id
    assert refused_by(fingerprint) == run.run_id
    assert len(queries.search(client, f"tags.run_fingerprint = '{fingerprint}'")) == 1
    with opened(f"{fingerprint} other"):
        pass


@pytest.mark.parametrize("end", ["FAILED", "KILLED", "deleted", "dead"])
def test_what_did_not_come_to_its_end_is_opened_again(end: str, client: Any, fingerprint: str) -> None:
    with opened(fingerprint) as first:
        pass
    if end == "deleted":
        client.delete_run(first.run_id)
    else:
        client.set_terminated(first.run_id, "RUNNING" if end == "dead" else end)
        client.set_tag(first.run_id, "process", liveness.tags()["process"].replace("start=", "start=9"))
    with opened(fingerprint) as second:
        pass
    assert second.run_id != first.run_id
    if end == "dead":
        client.set_terminated(first.run_id, "KILLED")


def test_a_run_that_claims_nothing_is_opened_beside(fingerprint: str) -> None:
    with opened(fingerprint), runs.run("claims", "again", {}, fingerprint=fingerprint) as again:
        pass
    assert refused_by(fingerprint) != again.run_id, "the earlier one"


@pytest.fixture
def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store as a server is: nothing holds between the look and the opening."""

    @contextmanager
    def alone() -> Iterator[bool]:
        yield False

    monkeypatch.setattr(run_store, "alone", alone)


@pytest.mark.parametrize("locked", [True, False], ids=["a file", "a server"])
def test_of_many_at_the_same_moment_one_trains(
    locked: bool, client: Any, fingerprint: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, outcomes = threading.Barrier(4), []
    if not locked:
        request.getfixturevalue("without_lock")
        unpatched = claims.twin

        def looks_before_any_opens(*given: Any, **more: Any) -> Any:
            found = unpatched(*given, **more)
            if not more:
                together.wait()
            return found

        monkeypatch.setattr(claims, "twin", looks_before_any_opens)

    def begin() -> None:
        together.wait()
        try:
            with opened(fingerprint) as run:
                outcomes.append(run.run_id)
                late.wait(20)
        except Claimed as claimed:
            outcomes.append(claimed)
        if len(outcomes) == 4:
            late.set()

    late = threading.Event()
    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trained = {one for one in outcomes if isinstance(one, str)}
    refused_for = {one.record.run_id for one in outcomes if isinstance(one, Claimed)}
    assert refused_for <= trained
    # Without a lock, one that sees nobody may be followed by another whose clock is a moment behind: both train.
    assert len(trained) == 1 if locked else 1 <= len(trained) < 4, outcomes
    left = queries.search(client, f"tags.run_fingerprint = '{fingerprint}'")
    assert {(run.run_id, run.status) for run in left} == {(run_id, "FINISHED") for run_id in trained}


def test_a_run_that_was_there_alone_stays_whatever_the_clocks_say(
    client: Any, fingerprint: str, without_lock: None
) -> None:
    with opened(fingerprint) as first:
        experiment_id = client.get_run(first.run_id).info.experiment_id
        tags = {**liveness.tags(), "run_fingerprint": fingerprint}
        an_hour_behind = client.create_run(experiment_id, start_time=1000, tags=tags).info.run_id
        found = claims.contest(client, an_hour_behind, fingerprint)
        assert found is not None
        assert found.run_id == first.run_id
        client.set_terminated(an_hour_behind, "KILLED")


def test_the_earlier_of_two_that_see_each_other_stays(client: Any, fingerprint: str) -> None:
    experiment_id = run_store.open_experiment("claims")
    tags = {**liveness.tags(), "run_fingerprint": fingerprint}
    first, second = (client.create_run(experiment_id, start_time=at, tags=tags).info.run_id for at in (1000, 2000))
    assert claims.contest(client, first, fingerprint) is None
    found = claims.contest(client, second, fingerprint)
    assert found is not None
    assert found.run_id == first
    for run_id in (first, second):
        client.set_terminated(run_id, "KILLED")


def test_the_run_that_is_named_is_the_one_that_stays(
    client: Any, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = run_store.open_experiment("claims")
    tags = {**liveness.tags(), "run_fingerprint": fingerprint}
    first, second = (client.create_run(experiment_id, start_time=at, tags=tags).info.run_id for at in (1000, 2000))
    holds: list[str] = []

    def first_gives_way(seconds: float) -> None:
        later = client.create_run(experiment_id, start_time=3000, tags={**tags, "claim": "held"})
        holds.append(later.info.run_id)
        client.delete_run(first)

    monkeypatch.setattr(claims.time, "sleep", first_gives_way)
    found = claims.contest(client, second, fingerprint)
    assert found is not None
    assert [found.run_id] == holds
    for run_id in (second, *holds):
        client.set_terminated(run_id, "KILLED")


def test_one_that_never_decides_is_not_waited_for_for_ever(
    client: Any, fingerprint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the run of a version that knew no claims."""
    monkeypatch.setattr(claims, "_DECIDED_SECONDS", 0.3)
    experiment_id = run_store.open_experiment("claims")
    tags = {**liveness.tags(), "run_fingerprint": fingerprint}
    first, second = (client.create_run(experiment_id, start_time=at, tags=tags).info.run_id for at in (1000, 2000))
    found = claims.contest(client, second, fingerprint)
    assert found is not None
    assert found.run_id == first
    for run_id in (first, second):
        client.set_terminated(run_id, "KILLED")
