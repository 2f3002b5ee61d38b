"""Celery, and nothing else: the application, its tasks, the executor that dispatches to them.

`celery -A tasks worker -Q cpu` starts a worker of the organism that `$ORGANISM` names.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`app`, made when it is first asked for: only then must there be an organism.

    Raises:
        ConfigError: with everything that keeps the organism from running.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tasks.siblings import check_siblings  # noqa: PLC0415 - before what it is about

    check_siblings()
    from tasks.application import app_from_environment  # noqa: PLC0415 - only if asked for

    app = globals()["app"] = app_from_environment()
    return app
