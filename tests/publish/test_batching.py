"""The queue: who waits for whom, what goes together, and what is too much."""

import threading

import pytest
from fake_judge import FakeJudge, broken, image, wait_until

from kesikaran.publish import batching
from kesikaran.publish.batching import Answer, Full, Queue


@pytest.fixture
def judge() -> FakeJudge:
    return FakeJudge()


def test_an_answer_is_that_of_its_own_image_and_a_reason_too(judge: FakeJudge) -> None:
    queue = Queue(judge, 2)
    odds = [2.0, -2.0, 0.25, -0.5]
    futures = queue.submit([image(odds[0]), b"junk", *map(image, odds[1:])])
    found = [future.result(20) for future in futures]
    assert found[1] == "not a JPEG or PNG image"
    answers = [one for one in found if isinstance(one, Answer)]
    assert [one.log_odds for one in answers] == odds
    assert [one.label for one in answers] == [1, 0, 1, 0]
    assert [one.sure for one in answers] == [True, True, False, False]
    assert answers[0].probability == 0.880797  # as short as the float32 is; float() would give 0.8807970285415649
    assert all(type(value) in (int, float, bool) for value in vars(answers[0]).values())
    assert (queue.answered, queue.waiting) == (5, 0)
    queue.close()


def test_a_lone_image_waits_for_no_other_and_those_that_wait_go_together(judge: FakeJudge) -> None:
    judge.gate.clear()
    queue = Queue(judge, 1)
    first = queue.submit([image(1)])
    wait_until(lambda: judge.groups == [1])
    rest = queue.submit([image(1)] * 70)
    wait_until(lambda: len(queue._forward._items) == 70)
    assert queue.waiting == 71
    judge.gate.set()
    for future in [*first, *rest]:
        future.result(20)
    assert judge.groups == [1, 32, 32, 6]
    assert max(judge.decoded) == 8
    queue.close()


def test_images_are_decoded_on_all_threads(judge: FakeJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=20)

    def decode(contents: list[bytes]) -> list[object]:
        both.wait()
        return [1.0] * len(contents)

    monkeypatch.setattr(judge, "decode", decode)
    queue = Queue(judge, 2)
    for future in queue.submit([image(1)] * 2):
        future.result(20)
    queue.close()


def test_all_of_a_request_are_taken_on_or_none(judge: FakeJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_WAITING", 4)
    judge.gate.clear()
    queue = Queue(judge, 1)
    futures = queue.submit([image(1)] * 3)
    with pytest.raises(Full):
        queue.submit([image(1)] * 2)
    assert queue.waiting == 3
    futures += queue.submit([image(1)])
    judge.gate.set()
    for future in futures:
        future.result(20)
    assert len(queue.submit([image(1)] * 4)) == 4
    queue.close()


def test_a_defect_is_told_to_those_whom_it_meets_and_the_queue_goes_on(
    judge: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(judge, 1)
    with monkeypatch.context() as patch:
        patch.setattr(judge, "judge", broken)
        with pytest.raises(ZeroDivisionError):
            queue.submit([image(1)])[0].result(20)
    assert isinstance(queue.submit([image(1)])[0].result(20), Answer)
    assert queue.waiting == 0
    queue.close()


def test_closing_does_what_waits_first(judge: FakeJudge) -> None:
    queue = Queue(judge, 2)
    futures = queue.submit([image(1)] * 100)
    queue.close()
    assert all(future.done() for future in futures)
    assert not any(thread.is_alive() for thread in (*queue._decode._threads, *queue._forward._threads))
