"""`pump send`, `threads`, `trace` and `dead-letters` beside a pump and a worker at work."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from tests.acceptance.fleets import PUMP, Fleet, environment, pump, running_fleet, write_sums
from tests.servers import RedisServer
from tests.waiting import eventually


@pytest.fixture(scope="module")
def fleet(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One for the whole module; tests look only at what they have sent themselves."""
    prefix = f"test-{uuid4().hex}:"
    folder = tmp_path_factory.mktemp("fleet")
    with running_fleet(folder, redis_server.url, prefix) as running:
        yield running
    with redis.Redis.from_url(redis_server.url) as client:
        for pattern in (f"{prefix}*", f"celery.{prefix}*"):
            for key in client.scan_iter(match=pattern, count=1000):
                client.delete(key)


def on_a_terminal(folder: Path, *args: str, width: int = 80) -> str:
    """What a command shows on a terminal so wide."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PUMP, *args],
        cwd=folder,
        env=environment(TERM="xterm", COLUMNS=str(width), NO_COLOR="1"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            parts.append(os.read(ours, 65536))
        except OSError:
            break
    os.close(ours)
    assert process.wait(60) == 0
    return re.sub("\x1b\\[[0-9;?]*[A-Za-z]|\r", "", b"".join(parts).decode())


class TestSend:
    def test_the_answer_is_a_line(self, fleet: Fleet) -> None:
        """By the pump and the worker that run, whatever is in flight there."""
        done = fleet.pump("send", "organism.yaml", "squares", '{"n": 4}')
        assert (done.returncode, done.stdout, done.stderr) == (0, '{"n":14}\n', "")

    def test_the_file_is_found(self, fleet: Fleet) -> None:
        """As everywhere; and the payload may come from stdin."""
        done = fleet.pump("send", "squares", "-", stdin='{"n": 3}')
        assert (done.returncode, done.stdout) == (0, '{"n":5}\n')

    def test_on_a_terminal_a_short_answer_is_a_line_too(self, fleet: Fleet) -> None:
        """One that is wider than the terminal is indented; its thread is told as well."""
        send = ("send", "squares", '{"n": 4}')
        line, thread = on_a_terminal(fleet.folder, *send).splitlines()
        assert line == '{"n":14}'
        assert re.fullmatch(r"thread [0-9a-f-]{36}, [\d.]+ s", thread)
        assert on_a_terminal(fleet.folder, *send, width=7).startswith('{\n  "n": 14\n}\n')

    def test_json_tells_the_thread(self, fleet: Fleet) -> None:
        """With which one can go on, or trace."""
        first = fleet.asked("send", "squares", '{"n": 2}')
        assert first["answer"] == {"n": 1}
        assert first["type"] == "Number"
        again = fleet.asked("send", "squares", '{"n": 3}', "--thread", first["thread"])
        assert again["thread"] == first["thread"]
        hops = fleet.asked("trace", first["thread"])["hops"]
        assert [hop["to"] for hop in hops if hop["depth"] == 0] == ["squares"] * 4

    def test_a_failure_is_a_line_and_1(self, fleet: Fleet) -> None:
        """The handler's words, or that nobody answered."""
        done = fleet.pump("send", "picky", '{"n": 1}')
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "raised: picky: ValueError: not this one\n"
        shown = fleet.pump("send", "picky", '{"n": 1}', "--json")
        error = json.loads(shown.stdout)["error"]
        assert error == {"code": "raised", "message": "picky: ValueError: not this one"}
        verbose = fleet.pump("send", "picky", '{"n": 1}', "-v")
        assert "sums.py" in verbose.stderr
        unanswered = fleet.pump("send", "silent", '{"n": 1}')
        assert unanswered.returncode == 1
        assert unanswered.stderr.startswith("no_answer: ")

    def test_what_is_wrong_is_not_sent(self, fleet: Fleet) -> None:
        """Exit 2; an error repeats no value."""
        for args, said in (
            (("squares", '{"m": "secret"}'), 'Number has no such field; it has "n"'),
            (("squares", '{"n": "secret"}'), "Expected `int`"),
            (("squared", '{"n": 1}'), "squared"),
            (("squares",), "[FILE] LISTENER JSON"),
        ):
            done = fleet.pump("send", *args)
            assert (done.returncode, done.stdout) == (2, "")
            assert said in done.stderr
            assert "secret" not in done.stderr

    def test_it_need_not_wait(self, fleet: Fleet) -> None:
        """The thread's id at once; the rest can be looked at."""
        thread = fleet.pump("send", "gate", '{"n": 7}', "--no-wait").stdout.strip()
        assert eventually((fleet.folder / "begun.7").exists, timeout_s=30)
        (row,) = [each for each in fleet.asked("threads") if each["thread"] == thread]
        assert (row["state"], row["busy"]) == ("open", 1)
        late = fleet.pump("send", "gate", '{"n": 8}', "--timeout", "0.3")
        assert late.returncode == 1
        assert late.stderr == "timeout: no answer within 0.3 s; the conversation goes on\n"
        (fleet.folder / "gate").touch()
        assert eventually(lambda: fleet.asked("trace", thread)["state"] == "answered", timeout_s=30)

    def test_it_takes_no_work(self, fleet: Fleet) -> None:
        """However long it waits: every run is on the pump, or on the worker."""
        served, worker = fleet.commands
        told = fleet.asked("send", "squares", '{"n": 30}')
        hops = fleet.asked("trace", told["thread"])["hops"]
        places = {int(hop["where"].rpartition(":")[2]) for hop in hops}
        assert len(hops) == 32
        assert places <= {served.process.pid, *worker.session()}

    def test_a_message_id_is_sent_once(self, fleet: Fleet) -> None:
        """The second gets the first one's answer."""
        name = uuid4().hex
        for text in ('{"n": 4}', '{"n": 5}'):
            done = fleet.pump("send", "squares", text, "--message-id", name)
            assert done.stdout == '{"n":14}\n'

    def test_nobody_is_there(
        self, redis_server: RedisServer, redis_prefix: str, tmp_path: Path
    ) -> None:
        """It says what it waits for."""
        write_sums(tmp_path, redis_server.url, redis_prefix)
        done = pump(tmp_path, "send", "squares", '{"n": 1}', "--timeout", "0.3")
        assert done.returncode == 1
        assert done.stderr.startswith("no pump runs; waiting for one (pump run)\n")

    def test_without_redis_it_runs_here(self, tmp_path: Path) -> None:
        """The same command on a laptop's file."""
        write_sums(tmp_path, "redis://127.0.0.1:1", "x:", backend={"type": "memory"})
        done = pump(tmp_path, "send", "squares", '{"n": 4}')
        assert (done.returncode, done.stdout, done.stderr) == (0, '{"n":14}\n', "")
        refused = pump(tmp_path, "send", "squares", '{"n": 4}', "--no-wait")
        assert refused.returncode == 2


class TestThreads:
    def test_newest_last_and_no_more_than_asked(self, fleet: Fleet) -> None:
        """Bounded, with what the conversation came to."""
        sent = [fleet.asked("send", "squares", '{"n": 2}')["thread"] for _ in range(3)]
        failed = fleet.pump("send", "picky", '{"n": 1}', "--no-wait").stdout.strip()
        assert eventually(
            lambda: fleet.asked("threads", "--limit", "1")[0]["state"] == "failed", timeout_s=30
        )
        found = fleet.asked("threads", "--limit", "4")
        assert [row["thread"] for row in found] == [*sent, failed]
        first = found[0]
        assert (first["state"], first["busy"], first["hops"], first["threads"]) == (
            "answered",
            0,
            4,
            3,
        )
        assert first["started"] < first["last"]

    def test_a_line_each_in_a_pipe_a_table_on_a_terminal(self, fleet: Fleet) -> None:
        """The table fits 80 columns."""
        thread = fleet.asked("send", "squares", '{"n": 2}')["thread"]
        lines = fleet.pump("threads", "--limit", "1").stdout.splitlines()
        assert [line.split("\t")[:4] for line in lines] == [[thread, "answered", "0", "4"]]
        head, row = on_a_terminal(fleet.folder, "threads", "--limit", "1").splitlines()
        assert head.split() == ["Thread", "State", "Busy", "Hops", "Started", "Last"]
        assert row.split()[:4] == [thread, "answered", "0", "4"]
        assert len(row) <= 80

    def test_an_id_that_somebody_planted_moves_no_cursor(
        self, fleet: Fleet, redis_server: RedisServer
    ) -> None:
        """Ids are control state, which no signature covers: on a terminal they are text."""
        with redis.Redis.from_url(redis_server.url) as thief:
            planted = b"\x1b]0;mine\x07\x1b[2J\tx\ny"
            thief.zadd(f"{fleet.prefix}i:letters", {planted: 1})
            thief.hset(f"{fleet.prefix}l:letters", planted, b"no letter")
            piped = fleet.pump("dead-letters", "list")
            shown = on_a_terminal(fleet.folder, "dead-letters", "list")
            thief.zrem(f"{fleet.prefix}i:letters", planted)
            thief.hdel(f"{fleet.prefix}l:letters", planted)
        for text in (piped.stdout, shown):
            assert "]0;mine" in text
            assert not set("\x1b\x07") & set(text)
        rows = [line.split("\t") for line in piped.stdout.splitlines()]
        assert {len(row) for row in rows} == {4}

    def test_memory_keeps_none(self, tmp_path: Path) -> None:
        """Refused with the reason."""
        write_sums(tmp_path, "redis://127.0.0.1:1", "x:", backend={"type": "memory"})
        for command in (["threads"], ["trace", "x"], ["dead-letters", "list"]):
            done = pump(tmp_path, *command)
            assert done.returncode == 2
            assert "backend.type is memory" in done.stderr

    def test_a_url_that_leads_nowhere_is_a_mistake(self, tmp_path: Path) -> None:
        """In every command alike: exit 2, without its password."""
        write_sums(tmp_path, "redys://:secret@127.0.0.1:1", "x:")
        for command in (["run"], ["worker"], ["threads"], ["send", "squares", '{"n":1}']):
            done = pump(tmp_path, *command)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert line.startswith("organism.yaml: backend.redis_url: the Redis URL can't be read")
            assert "secret" not in line

    def test_a_redis_that_is_away_is_one_line(self, tmp_path: Path) -> None:
        """Exit 1, host and port, no traceback."""
        write_sums(tmp_path, "redis://:secret@127.0.0.1:1", "x:")
        for command in (
            ["threads"],
            ["trace", "x"],
            ["dead-letters", "list"],
            ["send", "squares", '{"n":1}'],
        ):
            done = pump(tmp_path, *command)
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert "127.0.0.1:1 does not answer" in line
            assert "secret" not in line


class TestTrace:
    def test_who_called_whom(self, fleet: Fleet) -> None:
        """With payload, place, time and attempt; a gathered answer is one more run."""
        thread = fleet.asked("send", "squares", '{"n": 2}')["thread"]
        hops = fleet.asked("trace", thread)["hops"]
        assert [(hop["depth"], hop["to"], hop["from"], hop["payload"]) for hop in hops] == [
            (0, "squares", "external", "sums.Number"),
            (1, "square", "squares", "sums.Number"),
            (1, "square", "squares", "sums.Number"),
            (0, "squares", "square", "pipeline.messages.Gathered"),
        ]
        assert {hop["attempt"] for hop in hops} == {1}
        assert {hop["error"] for hop in hops} == {None}
        assert all(hop["seconds"] >= 0 for hop in hops)
        served, *others = fleet.commands
        assert hops[0]["where"].endswith(f":{served.process.pid}")
        assert int(hops[1]["where"].rpartition(":")[2]) in others[0].session()

    def test_any_thread_of_it_will_do(self, fleet: Fleet) -> None:
        """A member's, for one."""
        thread = fleet.asked("send", "squares", '{"n": 2}')["thread"]
        whole = fleet.asked("trace", thread)
        assert fleet.asked("trace", whole["hops"][1]["thread"]) == whole

    def test_a_tree_on_a_terminal(self, fleet: Fleet) -> None:
        """Within 80 columns, and bounded."""
        thread = fleet.asked("send", "squares", '{"n": 3}')["thread"]
        shown = on_a_terminal(fleet.folder, "trace", thread)
        first, _, *rows = shown.splitlines()
        assert first == f"{thread}: answered, 5 hops"
        assert [row.split("  ")[0].rstrip() for row in rows] == [
            "squares",
            "├─ square",
            "├─ square",
            "└─ square",
            "squares",
        ]
        assert max(map(len, shown.splitlines())) <= 80
        short = fleet.pump("trace", thread, "--limit", "2")
        assert len(short.stdout.splitlines()) == 2
        assert "… 3 more hops; --limit shows more" in short.stderr

    def test_an_error_has_its_code(self, fleet: Fleet) -> None:
        """On the run that failed."""
        thread = fleet.pump("send", "picky", '{"n": 1}', "--no-wait").stdout.strip()
        assert eventually(lambda: fleet.asked("trace", thread)["state"] == "failed", timeout_s=30)
        (hop,) = fleet.asked("trace", thread)["hops"]
        assert hop["error"] == "raised"
        assert hop["raised"] == "ValueError"
        assert re.fullmatch(r"sums\.py:\d+ in picky", hop["at"])
        shown = fleet.pump("trace", thread).stdout
        assert f"picky raised ValueError at {hop['at']}\n" in shown
        assert "not this one" not in shown

    def test_what_is_not_kept(self, fleet: Fleet) -> None:
        """One line, exit 1."""
        done = fleet.pump("trace", "nothing")
        assert done.returncode == 1
        assert "nothing of thread 'nothing' is kept" in done.stderr


class TestDeadLetters:
    @pytest.fixture
    def letter(self, fleet: Fleet) -> Iterator[dict[str, Any]]:
        """A letter whose handler killed its worker as often as it may."""
        done = fleet.pump("send", "through", '{"n": 1}', "--json", timeout_s=120)
        assert done.returncode == 1
        told = json.loads(done.stdout)
        assert told["error"]["code"] == "worker_lost"
        found = fleet.asked("dead-letters", "list")
        yield next(each for each in found if each["conversation"] == told["thread"])
        (fleet.folder / "mended").unlink(missing_ok=True)

    def test_listed_shown_and_dropped(self, fleet: Fleet, letter: dict[str, Any]) -> None:
        """What it was and whom it killed; what it says only when asked for."""
        name = letter["letter"]
        assert (letter["listener"], letter["code"], letter["deaths"]) == (
            "deadly",
            "worker_lost",
            3,
        )
        assert f"{name}\tdeadly\tworker_lost" in fleet.pump("dead-letters", "list").stdout
        assert f"dead letter {name}" in fleet.pump("trace", letter["conversation"]).stdout
        shown = fleet.asked("dead-letters", "show", name)
        assert shown["from"] == "through"
        assert len(shown["history"]) == 3
        assert shown["reason"] == "deadly killed its worker 3 times (SIGKILL)"
        assert {each["ending"] for each in shown["history"]} == {"SIGKILL"}
        assert all(re.fullmatch(r"[^/ ]+:\d+", each["process"]) for each in shown["history"])
        assert "payload" not in shown
        plain = fleet.pump("dead-letters", "show", name).stdout
        assert "bytes; --payload shows it" in plain
        assert fleet.asked("dead-letters", "show", name, "--payload")["payload"] == {"n": 1}
        assert fleet.pump("dead-letters", "drop", name).stdout == f"dropped {name}\n"
        for command in ("drop", "show", "replay"):
            gone = fleet.pump("dead-letters", command, name)
            assert gone.returncode == 1
            assert name in gone.stderr

    def test_a_replay_completes_the_conversation(
        self, fleet: Fleet, letter: dict[str, Any]
    ) -> None:
        """Once its handler is mended: a first attempt, and its caller gets the answer."""
        (fleet.folder / "mended").touch()
        done = fleet.pump("dead-letters", "replay", letter["letter"], "gone")
        assert done.returncode == 1
        assert done.stdout == f"replayed {letter['letter']}, thread {letter['conversation']}\n"
        assert "no dead letter 'gone'" in done.stderr
        thread = letter["conversation"]
        assert eventually(lambda: self._ran(fleet, thread) == 4, timeout_s=30)
        found = fleet.asked("trace", thread)
        hops = found["hops"]
        assert [(h["depth"], h["to"], h["from"], h["attempt"], h["error"]) for h in hops] == [
            (0, "through", "external", 1, None),
            (1, "deadly", "through", 3, "worker_lost"),
            (1, "deadly", "through", 1, None),
            (0, "through", "deadly", 1, None),
        ]
        assert found["dead_letters"] == []

    @staticmethod
    def _ran(fleet: Fleet, thread: str) -> int:
        return len(fleet.asked("trace", thread)["hops"])

    def test_a_letter_that_dies_again_is_one_again(
        self, fleet: Fleet, letter: dict[str, Any]
    ) -> None:
        """Under an id of its own, with as many attempts as the first time."""
        fleet.pump("dead-letters", "replay", letter["letter"])

        def again() -> list[dict[str, Any]]:
            found = fleet.asked("dead-letters", "list")
            return [each for each in found if each["conversation"] == letter["conversation"]]

        assert eventually(lambda: bool(again()), timeout_s=60)
        (second,) = again()
        assert second["letter"] != letter["letter"]
        assert second["deaths"] == 3
