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
    commands[1].reply.cancel()
    assert sorted(each.number for each in aside.some(2)) == [0, 2, 4]
    assert "settle" not in aside
    assert "open" in aside
    assert [each.number for each in aside.empty()] == [3]
    assert "open" not in aside
    assert aside.empty() == []
