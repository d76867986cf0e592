"""scripts/growth.py measures a real run. (What it is there to show takes minutes.)"""

import json
from collections.abc import Callable

import pytest
from conftest import Done

pytestmark = pytest.mark.tensorflow


def test_a_run_is_measured(script: Callable[..., Done]) -> None:
    done = script("growth", 300, "--epochs", 1)
    assert done.code == 0, done.err
    measured = json.loads(done.out.splitlines()[-1])
    assert measured["images"] == 300
    assert 1 < measured["seconds"] < 300
    assert 10**8 < measured["anonymous_bytes"] < measured["resident_bytes"] < 10**10
