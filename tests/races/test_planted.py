"""The races find faults: some of those that `make races-planted` plants."""

import pytest

from tests.races.faults import FAULTS
from tests.races.planted import planted_text, race_apart

#: Found within seconds.
SOON = ("sweep-judges-by-an-outage", "settled-entry-is-left", "complete-ends-one-of-a-batch")


@pytest.mark.parametrize("name", SOON)
def test_a_planted_fault_is_found(name: str) -> None:
    """What breaks a promise does not go unnoticed."""
    (fault,) = [each for each in FAULTS if each.name == name]
    verdict = race_apart(fault)
    assert verdict.is_found, verdict.text


def test_each_fault_still_applies() -> None:
    """What it replaces is in its script exactly once."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert planted_text(fault) != ""
