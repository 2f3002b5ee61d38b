"""What an agent is told about its peers, as text for a prompt."""

import json
from typing import Any

import msgspec

from pipeline.organism import Listener
from pipeline.roster import Roster


def usage_instructions(agent: Listener, roster: Roster) -> str:
    """Each peer's name, description and payload as a JSON Schema; empty without peers."""
    if not agent.peers:
        return ""
    parts = [f"You are {agent.name}. You may send messages to these listeners and no others:"]
    for name in agent.peers:
        parts += [_about(listener) for _, listener in roster.named(name)]
    parts.append(
        "Finish what you need from them before you answer: your answer goes to whoever called you."
    )
    return "\n\n".join(parts)


def _about(listener: Listener) -> str:
    head = f"## {listener.name}"
    if listener.description:
        head += f"\n{listener.description}"
    schema = json.dumps(payload_schema(listener.payload_class), indent=2)
    return f"{head}\nPayload `{listener.payload_class.__name__}`:\n```json\n{schema}\n```"


def payload_schema(payload_class: type) -> dict[str, Any]:
    """The payload's JSON Schema (draft 2020-12); permissive where a type has none."""
    try:
        return msgspec.json.schema(payload_class)
    except TypeError:
        return {"type": "object", "title": payload_class.__name__}
