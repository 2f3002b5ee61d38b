"""Which processes of a pool live."""

from types import SimpleNamespace
from typing import Any

from tasks.supervision import processes_of


def test_one_that_is_not_there_yet_has_no_id() -> None:
    pool: Any = SimpleNamespace(info={"processes": [7, None, 8]})
    assert processes_of(pool) == {7, 8}


def test_a_pool_taken_apart_has_none() -> None:
    assert processes_of(None) == set()
