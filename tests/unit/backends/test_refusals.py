"""What Redis refuses for now: told apart from errors, and said once."""

import logging
import time

import pytest
import redis

from backends import BackendDeniedError, BackendRefusingError, BackendUnavailableError
from backends.contact import Contact
from backends.redis.connection import translated
from backends.redis.refusals import refusal_in
from tests.waiting import eventually

ERRORS = [
    (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
    (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left"), "MISCONF"),
    (redis.exceptions.OutOfMemoryError("command not allowed when used memory > "), "OOM"),
    (redis.ResponseError("Error running script (call to f_1): @user_script:3: -OOM co"), "OOM"),
    (redis.ReadOnlyError("You can't write against a read only replica."), "READONLY"),
    (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), "NOREPLICAS"),
    (redis.BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
    (redis.exceptions.MasterDownError("Link with MASTER is down"), "MASTERDOWN"),
    (redis.ResponseError("BUSY Redis is busy running a script."), "BUSY"),
    (redis.exceptions.ClusterDownError("The cluster is down"), "CLUSTERDOWN"),
    (redis.exceptions.TryAgainError("Multiple keys request during rehashing"), "TRYAGAIN"),
    (redis.AuthenticationError("Authentication required."), "NOAUTH"),
    (redis.AuthenticationError("HELLO must be called with the client already"), "NOAUTH"),
    (redis.AuthenticationError("invalid username-password pair or user is disa"), "WRONGPASS"),
    (redis.AuthenticationError("AUTH <password> called without any password con"), "WRONGPASS"),
    (redis.exceptions.NoPermissionError("this user has no permissions to run"), "NOPERM"),
    (redis.ResponseError("The user executing the script can't run this command or"), "NOPERM"),
    (redis.ResponseError("ACL failure in script: User pump has no permissions to"), "NOPERM"),
    (redis.ResponseError("DENIED Redis is running in protected mode"), "DENIED"),
]
OF_WRITES = {"OOM", "MISCONF", "READONLY", "NOREPLICAS"}
OF_ACCESS = {"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"}


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_what_to_wait_for(error: redis.RedisError, code: str) -> None:
    """Each is told by its code, whoever passes it on, and names what helps."""
    refusal = refusal_in(error)
    assert refusal is not None
    assert refusal.code == code
    assert refusal.is_of_writes == (code in OF_WRITES)
    wrapped = OSError("a library's own")
    wrapped.__cause__ = error
    assert refusal_in(wrapped) == refusal
    with (
        pytest.raises(BackendUnavailableError, match=f"redis at here .*{code}: .*; ") as caught,
        translated("redis at here"),
    ):
        raise error
    assert isinstance(caught.value, BackendRefusingError) == refusal.is_of_writes
    assert isinstance(caught.value, BackendDeniedError) == (code in OF_ACCESS)


@pytest.mark.parametrize(
    "text", ["WRONGTYPE Operation against a key", "ERR no such key 'OOMPH'", "BUSYGROUP exists"]
)
def test_what_is_an_error(text: str) -> None:
    """No waiting would cure it."""
    assert refusal_in(redis.ResponseError(text)) is None


def test_a_refusal_is_said_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    """Though some writes are taken meanwhile, and whoever only reads is answered."""
    caplog.set_level(logging.WARNING)
    returns: list[None] = []
    contact = Contact("redis at here", quiet_s=0.2)
    now = time.monotonic
    began = now()
    contact.subscribe(lambda: returns.append(None))
    for _ in range(3):
        contact.lost(BackendRefusingError("redis at here takes no writes: OOM: x"), since=now())
        contact.answered(since=now())
    assert [record.getMessage() for record in caplog.records] == [
        "redis at here takes no writes: OOM: x"
    ]
    assert not contact.is_lost

    def has_ended() -> bool:
        contact.answered(since=now())
        return len(caplog.records) > 1

    assert eventually(has_ended)
    assert caplog.records[1].getMessage() == "redis at here takes writes again"
    assert not returns, "no answer has gone astray"
    contact.lost(BackendRefusingError("redis at here takes no writes: OOM: x"), since=began)
    assert len(caplog.records) == 2, "what was sent before says nothing new"
    contact.lost(BackendRefusingError("redis at here takes no writes: MISCONF: y"), since=now())
    assert "MISCONF" in caplog.records[2].getMessage()


def test_who_is_not_let_in_is_told_so_after_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that lost its users in a restart is not just away: waiting will not bring it back."""
    caplog.set_level(logging.WARNING)
    contact = Contact("redis at here", quiet_s=0.2)
    now = time.monotonic
    contact.lost(BackendUnavailableError("redis at here does not answer"), since=now())
    for _ in range(3):
        contact.lost(BackendDeniedError("redis at here refuses: WRONGPASS: x; y"), since=now())
    said = [record.getMessage() for record in caplog.records]
    assert said == ["redis away", "redis at here refuses: WRONGPASS: x; y"]

    def has_ended() -> bool:
        contact.answered(since=now())
        return len(caplog.records) == 4

    assert eventually(has_ended)
    said = [record.getMessage() for record in caplog.records[2:]]
    assert said == ["redis back", "redis at here lets us in again"]


def test_a_user_without_rights_is_told_which_to_use() -> None:
    """A worker with the pumps' user, or a pump with the workers', is named the right one."""
    refusal = refusal_in(redis.exceptions.NoPermissionError("this user has no permissions"))
    assert refusal is not None
    assert "workers as user worker, pumps and commands as user pump" in refusal.text
