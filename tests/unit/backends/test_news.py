"""What a pump asks about its scopes when news may have been lost."""

import asyncio
from typing import Any, cast

from backends.codec import Codec
from backends.contact import Contact
from backends.mailbox import Opened
from backends.redis.news import News
from backends.redis.pipeliner import Pipeliner
from backends.redis.records import Records


class Questions:
    """In a pipeliner's place: each waits until it is answered."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.replies: list[asyncio.Future[list[bytes]]] = []

    def run(self, *command: Any) -> "asyncio.Future[list[bytes]]":
        self.asked.append(command)
        self.replies.append(asyncio.get_running_loop().create_future())
        return self.replies[-1]


async def turns() -> None:
    """Let everything come as far as it does without an answer."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_question_about_all_is_on_its_way_at_a_time() -> None:
    """However often connections break meanwhile; then it is asked once more."""
    questions = Questions()
    news = News(
        None, "s", cast("Pipeliner", questions), Records(Codec()), Contact("a Redis of nobody")
    )
    news.enter("scope", "conversation", 1)
    news.entered(Opened("conversation", "scope"))
    for _ in range(3):
        news.ask()
        await turns()
    assert questions.asked == [("recall", "conversation", "scope")]
    questions.replies[0].set_result([b"open", b""])
    await turns()
    assert len(questions.asked) == 2
    questions.replies[1].set_result([b"open", b""])
    await turns()
    assert len(questions.asked) == 2
    news.ask()
    await turns()
    assert len(questions.asked) == 3
    await news.stop()
