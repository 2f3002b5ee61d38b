"""What an agent reads about its peers."""

from dataclasses import dataclass
from typing import Any

from pipeline.instructions import payload_schema, usage_instructions
from pipeline.organism import Listener
from pipeline.roster import Roster


@dataclass
class Sum:
    numbers: list[int]
    unit: str = "m"


class Opaque: ...


@dataclass
class Odd:
    value: Opaque


async def handle(payload: Any, metadata: Any) -> None: ...


TEXT = """\
You are agent. You may send messages to these listeners and no others:

## add
Adds them up
Payload `Sum`:
```json
SCHEMA
```

Finish what you need from them before you answer: your answer goes to whoever called you."""


def test_peers_are_described_with_their_payloads() -> None:
    """Name, description and a JSON Schema; nobody who is no peer."""
    agent = Listener("agent", handle, Sum, agent=True, peers=("add",))
    roster = Roster(
        [agent, Listener("add", handle, Sum, "Adds them up"), Listener("secret", handle, Sum)]
    )
    head, schema, tail = usage_instructions(agent, roster).partition('{\n  "$ref"')
    schema, fence, tail = (schema + tail).partition("\n```")
    assert head + "SCHEMA" + fence + tail == TEXT
    assert '"numbers"' in schema
    assert '"default": "m"' in schema


def test_an_agent_without_peers_is_told_nothing() -> None:
    """There is nobody to write to."""
    agent = Listener("agent", handle, Sum, agent=True)
    assert usage_instructions(agent, Roster([agent])) == ""


def test_namesakes_are_each_described() -> None:
    """A broadcast name means all who share it."""
    agent = Listener("agent", handle, Sum, agent=True, peers=("log",))
    logs = [Listener("log", handle, Sum, f"Log {n}", broadcast=True) for n in range(2)]
    text = usage_instructions(agent, Roster([agent, *logs]))
    assert text.count("## log\n") == 2
    assert "Log 0" in text
    assert "Log 1" in text


def test_a_type_without_a_schema_is_described_loosely() -> None:
    """Better an open object than no pump."""
    assert payload_schema(Odd) == {"type": "object", "title": "Odd"}
