"""What events come to."""

from pipeline.events import DeadLettered, HandlerFailed, HandlerFinished, MessageReceived
from pipeline.messages import ErrorCode, ErrorMessage
from pipeline.metrics.meter import OTHER, PumpMeter
from pipeline.metrics.shapes import Distribution, Metric


def rows(meter: PumpMeter, name: str) -> dict[tuple[str, ...], float | int]:
    (found,) = (each for each in meter.collect() if each.name == name)
    return {tuple(labels.values()): _number(value) for labels, value in found.rows}


def _number(value: float | Distribution) -> float | int:
    return sum(value.counts) if isinstance(value, Distribution) else value


def failed(code: ErrorCode, *, will_retry: bool = False) -> HandlerFailed:
    error = ErrorMessage(code, "no", "a", 1)
    return HandlerFailed("c", "t", "a", 1, 0.5, error, will_retry, None)


def test_names_that_nobody_declared_are_one() -> None:
    """However many come, there are no more rows."""
    meter = PumpMeter(["a"])
    for number in range(1000):
        meter(MessageReceived("c", "t", f"made-up-{number}", "external"))
        meter(HandlerFinished("c", "t", f"made-up-{number}", 1, 0.1, 0.2))
    meter(MessageReceived("c", "t", "a", "external"))
    assert rows(meter, "messages_received") == {("a",): 1, (OTHER,): 1000}
    assert rows(meter, "queue_wait_seconds") == {("a",): 0, (OTHER,): 1000}


def test_failures_by_code() -> None:
    """A run that was lost has no duration, a wait that nobody knows is none."""
    meter = PumpMeter(["a"])
    meter(failed(ErrorCode.RAISED, will_retry=True))
    meter(failed(ErrorCode.WORKER_LOST))
    meter(DeadLettered("c", "t", "a", 1, ErrorMessage(ErrorCode.WORKER_LOST, "no", "a", 1)))
    failures = rows(meter, "handler_failures")
    assert failures["a", "raised"] == failures["a", "worker_lost"] == 1
    assert sum(failures.values()) == 2
    assert rows(meter, "handler_duration_seconds")["a",] == 1
    assert rows(meter, "queue_wait_seconds")["a",] == 0
    assert rows(meter, "retries")["a",] == rows(meter, "dead_letters")["a",] == 1


def test_every_metric_has_rows_before_anything_happens() -> None:
    """So that an alert on a first increase has something to compare with."""
    found = list(PumpMeter(["a"]).collect())
    assert all(isinstance(each, Metric) and each.rows for each in found)
