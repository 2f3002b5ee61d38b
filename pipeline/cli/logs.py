"""Logging for commands that run a pump: one line an event, its fields behind it."""

import logging

from pipeline.cli.reporting import printable, say

#: What every record has; anything else came by `extra`.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """`WARNING handler failed action=fail listener=count …`; an event's fields in their order."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line of one event, its traceback aside."""
        fields = [
            f"{name}={printable(str(value))}"
            for name, value in vars(record).items()
            if name not in _STANDARD
        ]
        return " ".join([super().formatMessage(record), *fields])


class StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the moment, so lines stay above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event."""
        try:
            say(self.format(record))
        except Exception:  # noqa: BLE001 - the outermost edge: logging must not fail its caller
            self.handleError(record)


def configure_logging(*, is_verbose: bool, hides_failures: bool = False) -> None:
    """Show warnings, and with *is_verbose* what happens as well.

    Args:
        hides_failures: leave out that a handler failed; the caller reports it by itself.
    """
    handler = StderrHandler()
    handler.setFormatter(FieldsFormatter())
    if hides_failures and not is_verbose:
        handler.addFilter(lambda record: getattr(record, "action", None) != "fail")
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if is_verbose else logging.WARNING)
