"""What `decoders.py` and `confined.py` check, in processes that may be watched and confined."""

import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
#: What pytest says when a check has passed for each decoder.
EACH_PASSED = f"{len(TARGETS)} passed"


def run_alone(*arguments: str) -> str:
    """What a process of its own prints that has to end well."""
    run = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-6000:]}\n{run.stderr[-3000:]}"
    return run.stdout


def check(name: str) -> str:
    return run_alone("pytest", f"{HERE / 'decoders.py'}::{name}", "-q", "-p", "no:cacheprovider")


def test_what_is_hostile_is_refused_with_one_error() -> None:
    assert EACH_PASSED in check("test_what_is_hostile_is_refused_with_one_error")


def test_any_bytes_are_decoded_or_refused() -> None:
    assert EACH_PASSED in check("test_any_bytes_are_decoded_or_refused")


def test_memory_is_a_bounded_multiple_of_the_input() -> None:
    assert EACH_PASSED in check("test_memory_is_a_bounded_multiple_of_the_input")


def test_a_list_of_small_objects_takes_what_the_objects_take() -> None:
    assert "1 passed" in check("test_a_list_of_small_objects_takes_what_the_objects_take")


def test_what_is_large_fits_into_little_memory_and_time() -> None:
    """Megabytes of input, in a process that may have 256 MiB more than it begins with."""
    assert f"{len(TARGETS)} decoders" in run_alone("tests.fuzz.confined")
