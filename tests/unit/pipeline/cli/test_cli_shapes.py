"""How what stands in a record is shown, whoever wrote it."""

import pytest

from pipeline.cli.shapes import duration, iso_time, local_time, short_time

NO_MOMENTS = [float("nan"), float("inf"), -float("inf"), 1e300, -1e13, 1e12]


@pytest.mark.parametrize("moment", NO_MOMENTS)
def test_what_is_no_moment_is_a_dash(moment: float) -> None:
    assert (local_time(moment), short_time(moment), iso_time(moment)) == ("-", "-", None)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_what_is_no_duration_is_a_dash(seconds: float) -> None:
    assert duration(seconds) == "-"
