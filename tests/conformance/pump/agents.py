"""What agents may do, and what they are told."""

from typing import Any

import pytest

from pipeline import (
    ConfigError,
    ErrorMessage,
    HandlerMetadata,
    HandlerResponse,
    StreamPump,
)
from tests.conformance.pump.base import OpenPump, Ping, Pong, PumpContract, answer


class Agents(PumpContract):
    async def test_an_agent_writes_to_its_peers_only(self, open_pump: OpenPump) -> None:
        """A breach comes back to it as an error message and reaches nobody else."""
        reached: list[str] = []

        async def agent(payload: Any, metadata: HandlerMetadata) -> Any:
            if isinstance(payload, ErrorMessage):
                return HandlerResponse.respond(Pong(0, [payload.code, metadata.from_id]))
            breach = HandlerResponse(Ping(), to="stranger")
            if payload.number:
                breach = HandlerResponse.scatter([Ping(), Ping()], to="stranger")
            return [HandlerResponse(Ping(), to="friend"), breach]

        async def note(payload: Ping, metadata: HandlerMetadata) -> None:
            reached.append(metadata.from_id)

        pump = await open_pump(
            {"agent": (agent, {"agent": True, "peers": ["friend"]}), "friend": note}
        )
        pump.register("stranger", note, Ping)
        for number in range(2):
            told = await pump.request("agent", Ping(number))
            assert told == Pong(0, ["not_a_peer", "system"])
        await pump.join()
        assert reached == ["agent", "agent"]

    async def test_an_agent_knows_itself_and_its_peers(self, open_pump: OpenPump) -> None:
        """Its own name, and each peer with description and payload; others know neither."""
        told: dict[str, HandlerMetadata] = {}

        async def note(payload: Ping, metadata: HandlerMetadata) -> None:
            told["agent" if metadata.own_name else "tool"] = metadata

        pump = await open_pump(
            {
                "agent": (note, {"agent": True, "peers": ["tool"]}),
                "tool": (note, {"description": "Does the work"}),
            }
        )
        await pump.inject("agent", Ping())
        await pump.inject("tool", Ping())
        await pump.join()
        assert told["agent"].own_name == "agent"
        for text in ("tool", "Does the work", '"number"', '"integer"'):
            assert text in told["agent"].usage_instructions
        assert (told["tool"].own_name, told["tool"].usage_instructions) == (None, "")

    async def test_an_agents_callee_fails_to_the_agent(self, open_pump: OpenPump) -> None:
        """Agents take errors unless told otherwise."""

        async def agent(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, ErrorMessage):
                return HandlerResponse.respond(Pong(0, [payload.message]))
            return HandlerResponse(payload, to="tool")

        async def tool(payload: Ping, metadata: HandlerMetadata) -> None:
            raise KeyError("broken")

        pump = await open_pump({"agent": (agent, {"agent": True, "peers": ["tool"]}), "tool": tool})
        assert await pump.request("agent", Ping()) == Pong(0, ["KeyError: 'broken'"])

    async def test_peers_must_exist_when_the_pump_starts(self) -> None:
        """They may be registered later than the agent, but not after the start."""
        pump = StreamPump(name="agents")
        pump.register("agent", answer, Ping, agent=True, peers=["tool"])
        with pytest.raises(ConfigError, match='no listener "tool"'):
            await pump.start()
        pump.register("tool", answer, Ping)
        await pump.start()
        await pump.shutdown()
