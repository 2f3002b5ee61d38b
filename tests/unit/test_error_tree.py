"""Errors of every package cross processes, and each package has one root."""

import inspect
import pickle

import pytest

import backends.errors
import pipeline.errors

ROOTS = {
    backends.errors: backends.errors.BackendError,
    pipeline.errors: pipeline.errors.PipelineError,
}
ERRORS = [
    (each, root)
    for module, root in ROOTS.items()
    for _, each in inspect.getmembers(module, inspect.isclass)
    if each.__module__ == module.__name__
]


@pytest.mark.parametrize(("error", "root"), ERRORS)
def test_every_error_survives_pickling(error: type[Exception], root: type[Exception]) -> None:
    """Class and text; whoever catches the root catches them all."""
    again = pickle.loads(pickle.dumps(error("what happened")))  # noqa: S301 - our own bytes
    assert type(again) is error
    assert str(again) == "what happened"
    assert isinstance(again, root)
