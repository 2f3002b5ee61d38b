"""Who looks after a batch while its members run."""

from threading import Event
from typing import Any

import pytest

from backends.errors import BackendError
from tasks.batch import Batch, BatchKeeper


class Refusing:
    """A ledger whose Redis refuses once what is handed in."""

    backlog = 0

    def __init__(self) -> None:
        self.refused, self.taken = Event(), Event()

    def go_on(self, owner: str, done: dict[str, Any], *_: Any) -> tuple[list[bool], list[Any]]:
        if not self.refused.is_set():
            self.refused.set()
            raise BackendError("redis refuses")
        self.taken.set()
        return [True] * len(done), []


def test_the_keeper_outlives_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """The next batch's outcomes are handed in while its members run."""
    ledger: Any = Refusing()
    keeper = BatchKeeper()
    outcome: Any = type("Outcome", (), {"body": b""})
    for event in (ledger.refused, ledger.taken):
        members: Any = [("a", None), ("b", None)]
        batch = Batch(
            ledger, "o", members, listener="l", budget_s=60, wanted=lambda: 0, keeper=keeper
        )
        batch.done("a", outcome)
        assert event.wait(10)
    keeper.keep(None)
    assert "outcomes not handed in" in caplog.text
