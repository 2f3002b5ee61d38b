"""Errors of the organism cross processes, and say what they must."""

import inspect
import pickle

import pytest

from pipeline import ConfigError, ErrorMessage, HandlerError, errors

CLASSES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if each.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_survives_pickling(error: type[Exception]) -> None:
    """Class and text; all of them under one root."""
    again = pickle.loads(pickle.dumps(error("what happened")))  # noqa: S301 - our own bytes
    assert type(again) is error
    assert str(again) == "what happened"
    assert issubclass(error, errors.PipelineError)


def test_a_handler_error_is_the_remote_message() -> None:
    """`str()` is what was said where it happened; where that was stands beside it."""
    error = ErrorMessage("timeout", "too late", "desk", 2, "frames").to_exception()
    again: HandlerError = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    for each in (error, again):
        assert str(each) == "too late"
        assert (each.code, each.listener, each.attempt, each.traceback) == (
            "timeout",
            "desk",
            2,
            "frames",
        )


def test_a_config_error_has_a_line_a_problem() -> None:
    """For people; and one by one for tools."""
    error = ConfigError("a: wrong", "b: worse")
    assert str(error) == "a: wrong\nb: worse"
    assert error.problems == ("a: wrong", "b: worse")
