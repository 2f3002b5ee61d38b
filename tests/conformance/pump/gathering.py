"""Scatter and gather, whatever becomes of the members."""

import asyncio
from typing import Any

import pytest

from pipeline import Gathered, HandlerError, HandlerMetadata, HandlerResponse, get_context_buffer
from pipeline.organism import Limits
from tests.conformance.pump.base import OpenPump, Ping, Pong, PumpContract, answer


def scatter_to(target: str, count: int) -> Any:
    """A handler that scatters *count* pings and answers with what it gathered."""

    async def scatterer(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Gathered):
            return HandlerResponse.respond(summary(payload))
        return HandlerResponse.scatter([Ping(n) for n in range(count)], to=target)

    return scatterer


def summary(gathered: Gathered) -> Pong:
    """Each result's number, `-` for none, and each error with its index."""
    texts = [str(each.number) if each else "-" for each in gathered.results]
    texts += [f"{index}={error}" for index, error in sorted(gathered.errors.items())]
    return Pong(len(gathered.results), texts)


class Gathering(PumpContract):
    async def test_results_come_in_the_order_scattered(self, open_pump: OpenPump) -> None:
        """However the members finish, and the scatterer is called once."""
        calls: list[str] = []

        async def last_first(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            await asyncio.sleep(0.05 - payload.number / 100)
            return HandlerResponse.respond(Pong(payload.number))

        async def scatterer(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            calls.append(type(payload).__name__)
            reply: HandlerResponse = await scatter_to("member", 5)(payload, metadata)
            return reply

        pump = await open_pump({"scatterer": scatterer, "member": last_first})
        assert await pump.request("scatterer", Ping()) == Pong(5, ["0", "1", "2", "3", "4"])
        assert calls == ["Ping", "Gathered"]

    async def test_what_was_gathered_leads_on(self, open_pump: OpenPump) -> None:
        """To another scatter, to somebody else and back: each message is one of its own."""

        async def planner(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Pong):
                return HandlerResponse.respond(payload)
            if isinstance(payload, Ping):
                return HandlerResponse.scatter([Ping(n) for n in range(3)], to="member")
            total = sum(each.number for each in payload.results)
            if total < 10:
                return HandlerResponse.scatter([Ping(total + n) for n in range(3)], to="member")
            return HandlerResponse(Ping(total), to="member")

        pump = await open_pump({"planner": planner, "member": answer})
        assert await pump.request("planner", Ping(), timeout_s=10) == Pong(12)

    async def test_members_run_in_threads_of_their_own(self, open_pump: OpenPump) -> None:
        """None sees another's messages; all answers stand in the scatterer's thread."""
        seen: set[str] = set()

        async def member(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            assert len(get_context_buffer().get_thread(metadata.thread_id)) == 1
            seen.add(metadata.thread_id)
            return HandlerResponse.respond(Pong(payload.number))

        pump = await open_pump({"scatterer": scatter_to("member", 3), "member": member})
        thread_id = await pump.inject("scatterer", Ping())
        await pump.join()
        assert len(seen) == 3
        slots = get_context_buffer().get_thread(thread_id)
        (gathered,) = [slot.payload for slot in slots.get_by_type("Gathered")]
        assert gathered.results == [Pong(0), Pong(1), Pong(2)]
        assert slots.get_from("member")[0].payload == gathered

    async def test_failures_stand_beside_the_results(self, open_pump: OpenPump) -> None:
        """A member that raises, runs out of time or never answers; the others count."""

        async def member(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse | None:
            match payload.number:
                case 1:
                    raise ValueError("one")
                case 2:
                    await asyncio.Event().wait()
                case 3:
                    return None
            return HandlerResponse.respond(Pong(payload.number))

        pump = await open_pump(
            {"scatterer": scatter_to("member", 5), "member": (member, {"timeout_s": 0.05})}
        )
        late = "member did not finish within timeout_s (0.05 s)"
        assert await pump.request("scatterer", Ping()) == Pong(
            5, ["0", "-", "-", "-", "4", "1=ValueError: one", f"2={late}"]
        )

    async def test_a_member_may_call_others(self, open_pump: OpenPump) -> None:
        """Its answer is the one it gives the scatterer, however long its own chain."""

        async def member(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Pong):
                return HandlerResponse.respond(Pong(payload.number + 100))
            return HandlerResponse(payload, to="helper")

        pump = await open_pump(
            {"scatterer": scatter_to("member", 3), "member": member, "helper": answer}
        )
        assert await pump.request("scatterer", Ping()) == Pong(3, ["100", "101", "102"])

    async def test_scatters_nest(self, open_pump: OpenPump) -> None:
        """A member scatters in turn; each gathers its own."""

        async def middle(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Gathered):
                total = sum(result.number for result in payload.results)
                return HandlerResponse.respond(Pong(total))
            return HandlerResponse.scatter([Ping(payload.number)] * 3, to="leaf")

        pump = await open_pump(
            {"scatterer": scatter_to("middle", 4), "middle": middle, "leaf": answer}
        )
        assert await pump.request("scatterer", Ping()) == Pong(4, ["0", "3", "6", "9"])

    async def test_a_failure_below_a_member_is_the_members(self, open_pump: OpenPump) -> None:
        """An error passes up to the scatter it belongs to and no further."""

        async def middle(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse(payload, to="leaf")

        async def leaf(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            if payload.number == 1:
                raise ValueError("deep")
            return HandlerResponse.respond(Pong(payload.number))

        async def middle_or_relay(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Pong):
                return HandlerResponse.respond(payload)
            return await middle(payload, metadata)

        pump = await open_pump(
            {"scatterer": scatter_to("middle", 3), "middle": middle_or_relay, "leaf": leaf}
        )
        assert await pump.request("scatterer", Ping()) == Pong(
            3, ["0", "-", "2", "1=ValueError: deep"]
        )

    async def test_an_empty_scatter_gathers_nothing_at_once(self, open_pump: OpenPump) -> None:
        """No members is not for ever."""
        pump = await open_pump({"scatterer": scatter_to("member", 0), "member": answer})
        assert await pump.request("scatterer", Ping()) == Pong(0)

    async def test_a_member_answers_once(self, open_pump: OpenPump) -> None:
        """The first answer counts; the gather does not wait for what a member does after."""
        finished = asyncio.Event()

        async def member(payload: Ping, metadata: HandlerMetadata) -> list[HandlerResponse]:
            return [
                HandlerResponse.respond(Pong(1)),
                HandlerResponse.respond(Pong(2)),
                HandlerResponse(payload, to="afterwards"),
            ]

        async def afterwards(payload: Ping, metadata: HandlerMetadata) -> None:
            await finished.wait()

        pump = await open_pump(
            {"scatterer": scatter_to("member", 2), "member": member, "afterwards": afterwards}
        )
        assert await pump.request("scatterer", Ping()) == Pong(2, ["1", "1"])
        finished.set()
        await pump.join()

    async def test_too_wide_a_scatter_is_refused(self, open_pump: OpenPump) -> None:
        """`max_scatter` and `max_hop_bytes` bound what one return may send."""
        pump = await open_pump(
            {"wide": scatter_to("member", 4), "member": answer}, limits=Limits(max_scatter=3)
        )
        with pytest.raises(HandlerError, match=r"wide scattered 4 .* limits.max_scatter \(3\)"):
            await pump.request("wide", Ping())

    async def test_too_heavy_a_return_is_refused(self, open_pump: OpenPump) -> None:
        """All payloads of one return together."""

        async def heavy(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(Pong(0, ["x" * 2000]))

        pump = await open_pump({"heavy": heavy}, limits=Limits(max_hop_bytes=1000))
        with pytest.raises(HandlerError, match=r"heavy returned 20\d\d bytes.*max_hop_bytes"):
            await pump.request("heavy", Ping())
