"""What Redis refuses for now waits aside, in its order."""

import asyncio

from backends.redis.aside import Aside, Command


async def test_the_oldest_come_first_and_each_name_has_its_share() -> None:
    """Whatever the order in which they were refused; nobody's are dropped."""
    loop = asyncio.get_running_loop()
    commands = [
        Command(number, name, (), loop.create_future())
        for number, name in enumerate(("open", "open", "settle", "open", "settle"))
    ]
    aside = Aside()
    for command in reversed(commands):
        aside.put(command)
    commands[0].reply.cancel()
    assert sorted(each.number for each in aside.some(1)) == [1, 2]
    assert "settle" in aside
    assert sorted(each.number for each in aside.some(2)) == [3, 4]
    assert not aside
    assert aside.empty() == []


async def test_those_that_nobody_awaits_are_let_go() -> None:
    """Not when their turn comes, which may be never."""
    loop = asyncio.get_running_loop()
    commands = [Command(number, "open", (), loop.create_future()) for number in range(5)]
    aside = Aside()
    for command in commands:
        aside.put(command)
    for number in (0, 3):
        commands[number].reply.cancel()
    aside.tidy()
    assert sum(map(len, aside._waiting.values())) == 3
    assert [each.number for each in aside.empty()] == [1, 2, 4]
    aside.put(commands[0])
    aside.tidy()
    assert not aside
