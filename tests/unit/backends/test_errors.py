"""Errors of shared state cross processes."""

import inspect
import pickle

import pytest

from backends import errors

CLASSES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if each.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_survives_pickling(error: type[Exception]) -> None:
    """Class and text."""
    again = pickle.loads(pickle.dumps(error("what happened")))  # noqa: S301 - our own bytes
    assert type(again) is error
    assert str(again) == "what happened"


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_a_backend_error(error: type[Exception]) -> None:
    """Whoever catches the root catches them all."""
    assert issubclass(error, errors.BackendError)
