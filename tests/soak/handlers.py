"""What is soaked: a handler on workers, one on pumps, and one that calls the other's worker."""

from dataclasses import dataclass

from pipeline import HandlerMetadata, HandlerResponse


@dataclass
class Load:
    number: int = 0
    #: As large as a test likes.
    filler: str = ""


@dataclass
class Done:
    number: int


def burn(payload: Load, metadata: HandlerMetadata) -> HandlerResponse:
    """On a worker."""
    return HandlerResponse.respond(Done(payload.number))


async def pass_on(payload: Load, metadata: HandlerMetadata) -> HandlerResponse:
    """On a pump."""
    return HandlerResponse.respond(Done(payload.number))


MODULE = __name__
LISTENERS = [
    {
        "name": name,
        "handler": f"{MODULE}.{handler.__name__}",
        "payload_class": f"{MODULE}.Load",
        "cpu_bound": is_cpu_bound,
    }
    for name, handler, is_cpu_bound in (("burn", burn, True), ("pass", pass_on, False))
]
