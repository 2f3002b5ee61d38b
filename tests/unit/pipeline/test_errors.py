"""Errors of the organism say what they must."""

import pickle

from pipeline import ConfigError, ErrorMessage, HandlerError


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
