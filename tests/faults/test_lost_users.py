"""A Redis that knows its users no more, or lets them do less: said once; then everybody goes on."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import StreamPump
from tests.fleet import Worker, running_worker, write_organism
from tests.integration.conftest import listener
from tests.integration.worker_handlers import Work
from tests.servers import ACCOUNT, DURABLY, DurableRedis, access_rules, account
from tests.waiting import eventually

PREFIX = "users:"
#: Seconds for everybody to notice, on a busy machine.
NOTICE_S = 30.0
DENIED = "refuses: NOPERM: this user may not do what is needed (ACL LOG tells what)"
ALLOWED = "lets us do what is needed again"


class Users:
    """A durable server whose users its `aclfile` names."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "rules"
        self.add()
        self.server = DurableRedis(folder, (*DURABLY, "--aclfile", str(self._file)))
        self.server.start()
        self.url = self.server.url.replace("://", f"://${{{ACCOUNT}:-{account('pump')}}}@")

    def forget(self) -> None:
        """Redis starts again without any."""
        self.server.kill()
        self._file.write_text("")
        self.server.start()

    def add(self) -> None:
        self._file.write_text(access_rules(PREFIX, has_default=True))

    def tell(self, *words: str) -> None:
        """Have Redis do something, as who may do anything."""
        client: Any = redis.Redis.from_url(self.server.url)
        with closing(client):
            client.execute_command(*words)


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Users]:
    """A Redis under the rules; whoever names no user may do anything, as tests do."""
    users = Users(tmp_path)
    yield users
    users.server.kill()


@pytest.fixture
def organism(users: Users, tmp_path: Path) -> Path:
    return write_organism(tmp_path / "organism.yaml", users.url, PREFIX, [listener()])


async def _said(text: str, times: int, worker: Worker, mine: pytest.LogCaptureFixture) -> None:
    def is_said() -> bool:
        return worker.log.count(text) == mine.text.count(text) == times

    await asyncio.to_thread(eventually, is_said, timeout_s=NOTICE_S)
    assert is_said(), f"{worker.log}\n{mine.text}"


@pytest.mark.timeout(180)
async def test_a_redis_that_forgot_its_users(
    users: Users, organism: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users that no file keeps are gone with a restart; pump and worker wait for them."""
    caplog.set_level(logging.WARNING)
    with running_worker(organism) as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(120):
            await pump.request("work", Work(1))
            await asyncio.to_thread(users.forget)
            waiting = asyncio.create_task(pump.request("work", Work(2)))
            await _said("refuses: WRONGPASS: it does not know this user", 1, worker, caplog)
            users.add()
            await asyncio.to_thread(users.tell, "ACL", "LOAD")
            assert (await waiting).number == 2
            await _said("lets us in again", 1, worker, caplog)
        assert worker.stop() == 0, worker.log
    assert worker.log.count("WRONGPASS") == caplog.text.count("WRONGPASS") == 1, worker.log
    assert "password-of" not in worker.log + caplog.text


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("user", "command"), [("pump", "evalsha"), ("worker", "brpop"), ("worker", "hmget")]
)
async def test_a_user_that_may_do_too_little(
    users: Users, organism: Path, caplog: pytest.LogCaptureFixture, user: str, command: str
) -> None:
    """Itself, by the broker, or in a script: said once, with what helps; nothing fails."""
    caplog.set_level(logging.WARNING)
    with running_worker(organism, "-c", "1") as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(120):
            await pump.request("work", Work(1))
            await asyncio.to_thread(users.tell, "ACL", "SETUSER", user, f"-{command}")
            waiting = asyncio.create_task(pump.request("work", Work(2)))

            def log() -> str:
                return caplog.text if user == "pump" else worker.log

            await asyncio.to_thread(eventually, lambda: DENIED in log(), timeout_s=NOTICE_S)
            assert DENIED in log()
            await asyncio.to_thread(users.tell, "ACL", "SETUSER", user, f"+{command}")
            assert (await waiting).number == 2
            # Whoever has nothing to do does not ask; a process of the pool makes way for another
            # after so many runs.
            async with asyncio.timeout(NOTICE_S):
                while log().count(ALLOWED) < log().count(DENIED):
                    await pump.request("work", Work(3, 0.2))
        assert log().count(DENIED) == log().count(ALLOWED) == 1, log()
