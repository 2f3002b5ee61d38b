"""`make races-planted`: faults planted in the scripts, one at a time; the races must find each.

A check that finds nothing may look at nothing. What is given behind the command are names of
faults; without any all are planted. The exit code is 1 where one was not found.
"""

import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from hypothesis import Phase

from backends.redis import scripts
from tests.machines import run_machine
from tests.races.machine import Races
from tests.servers import running_redis

EXAMPLES, STEPS = 1000, 50
#: Seconds after which a fault counts as not found.
LIMIT_S = 120.0


class Fault(NamedTuple):
    """Some text of one script, and what stands there instead."""

    script: str
    text: str
    instead: str = ""


FAULTS = {
    "a hop is acknowledged by whoever": Fault(
        "settle",
        "if not acknowledge(entry) then\n    save()",
        "acknowledge(entry)\n  if false then\n    save()",
    ),
    "a scatter's members count for nothing": Fault(
        "settle", "units = units + scatter(scope)", "scatter(scope)"
    ),
    "a finished scatter is kept": Fault("settle", "close_gather(gather)\n", "\n"),
    "a dead letter is dropped": Fault("settle", "keep_letter(letter_id, letter)"),
    "late answers are not counted": Fault("settle", "count('late_answers', dropped)"),
    "a second answer replaces the first": Fault(
        "scopes", "if not answer or field('r' .. id) then", "if not answer then"
    ),
    "a member is settled twice": Fault("scopes", "if scope[SETTLED] == 1 then", "if false then"),
    "a finished scatter keeps nothing open": Fault("scopes", "add_unit(scope[PARENT])\n", "\n"),
    "a member's answer is forgotten": Fault(
        "scopes", "set_field('a' .. gather .. ':' .. scope[POSITION], answer)"
    ),
    "other pumps are told nothing": Fault(
        "scopes",
        "    else\n      redis.call('XADD'",
        "    elseif false then\n      redis.call('XADD'",
    ),
    "a scope closes before its last message": Fault(
        "lives", "if scope[UNITS] > 0 then", "if scope[UNITS] > 1 then"
    ),
    "a conversation that has ended stays open": Fault("lives", "call_with('ZREM', OPEN, ended)"),
    "what has ended never expires": Fault("lives", "redis.call('PEXPIRE', v, integer(real_ttl))"),
    "an opening sent twice is taken for another's": Fault(
        "open", "if redis.call('ZSCORE', openings_of(pump), scope) == number then", "if false then"
    ),
    "a message id is forgotten": Fault(
        "open", "redis.call('SET', prefix .. 'n:' .. message_id, id)"
    ),
    "who asks again is not told": Fault("open", "first[PUMPS] = first[PUMPS] .. ' ' .. pump"),
    "what has closed counts as open": Fault("recall", "and 'closed' or", "and 'open' or"),
    "a retry of what another holds": Fault(
        "defer", "if not acknowledge(entry) then", "acknowledge(entry)\n  if false then"
    ),
    "a dispatch of what another holds": Fault(
        "dispatch", "if not acknowledge(entry) then", "acknowledge(entry)\n  if false then"
    ),
    "a retry that was due stays": Fault(
        "beat", "redis.call('HDEL', prefix .. 'l:delayed', message)"
    ),
    "what is run is published": Fault(
        "publish", "elseif kept[i] and not holders[i] then", "elseif kept[i] then"
    ),
    "what has no room is dropped": Fault("publish", "put_first(left)\n", "\n"),
    "a claim does not look at its holder": Fault(
        "claim", "if kept[i] and (not holders[i] or holders[i] == owner) then", "if kept[i] then"
    ),
    "a claim is not kept": Fault("claim", "redis.call('HSET', CLAIMS, unpack(claims))"),
    "an outcome is taken from whoever": Fault(
        "complete", "if holders[i] == owner then", "if holders[i] then"
    ),
    "a dispatch outlives its outcome": Fault("complete", "finish(done)\n", "\n"),
    "what a dead worker held is dropped": Fault("ledger", "put_first(again)\n", "\n"),
    "a handler may kill once more": Fault(
        "ledger", "if #history >= max_attempts then", "if #history > max_attempts then"
    ),
    "what is published again is dropped": Fault("ledger", "    put_first(ids)\n", "\n"),
    "what a dead pump held is dropped": Fault("ledger", "deliver(unpack(entry[2]))\n", "\n"),
    "what a dead pump held is there twice": Fault(
        "ledger", "redis.call('XDEL', INBOX, row[1])\n", "\n"
    ),
    "a death counts against all the process held": Fault(
        "bury",
        "return is_counted and (running[owner] == '' or running[owner] == id)",
        "return is_counted",
    ),
    "who lives is buried": Fault(
        "sweep",
        "redis.call('ZRANGEBYSCORE', ALIVE, '-inf', integer(now))",
        "redis.call('ZRANGE', ALIVE, 0, -1)",
    ),
    "an opening of a folded one is taken for another's": Fault(
        "begin", "if redis.call('ZSCORE', openings_of(pump), id) == number then", "if false then"
    ),
    "a folded conversation leads elsewhere": Fault(
        "begin", "is_open[id] = place_of(entry)", "is_open[id] = place_of('1-1')"
    ),
    "a folded conversation's first hop unfolds nothing": Fault(
        "settle", "unfold_into(chain, pump, slot)\n", "\n"
    ),
    "an outage is judged": Fault("sweep", "if now - since < lease then", "if false then"),
    "a stop counts as a death": Fault(
        "leave", "bury_worker(id, false, 1)", "bury_worker(id, true, 1)"
    ),
}


def main(names: Sequence[str]) -> int:
    """Plant them one by one; say how each was found."""
    missed, started = [], time.monotonic()
    with running_redis() as server:
        for name in names or FAULTS:
            told = found_by(name, server.url)
            if told is None:
                missed.append(name)
            sys.stdout.write(f"{name:<46}{told or 'NOT FOUND'}\n")
            sys.stdout.flush()
    took_s = time.monotonic() - started
    total = len(names or FAULTS)
    sys.stdout.write(f"{total - len(missed)} of {total} faults found, {took_s:.0f} s\n")
    return 1 if missed else 0


def found_by(name: str, url: str) -> str | None:
    """After how many steps races over the Redis at *url* found this fault, and by which check."""
    command = [sys.executable, "-c", "from tests.races.planted import race; race()", name, url]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() or None


def race() -> None:
    """In a process of its own: with one fault planted; prints what was found, or nothing."""
    name, url = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        plant(FAULTS[name], Path(folder))
        machine = type("Machine", (Races,), {"url": url})
        try:
            run_machine(
                machine,
                examples=EXAMPLES,
                steps=STEPS,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                report_multiple_bugs=False,
            )
        except Exception as exc:  # noqa: BLE001 - whatever the races say
            sys.stdout.write(f"{Races.ran.total():>5} steps, {_check_of(exc)}\n")


def plant(fault: Fault, folder: Path) -> None:
    """Have this process take its scripts from *folder*, one of them with the fault."""
    ours = folder / "scripts"
    ours.mkdir()
    for script in files("backends.redis").joinpath("scripts").iterdir():
        text = script.read_text()
        if script.name == f"{fault.script}.lua":
            assert text.count(fault.text) == 1, f"{fault.script}: {text.count(fault.text)} places"
            text = text.replace(fault.text, fault.instead)
        (ours / script.name).write_text(text)
    scripts.files = lambda _: folder  # type: ignore[attr-defined, assignment]
    # What is run is what was planted.
    assert scripts.script_text("turn")


def _check_of(exc: Exception) -> str:
    """Where in the races it was noticed."""
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [frame.name for frame in frames if "/races/" in frame.filename]
    return ours[-1] if isinstance(exc, AssertionError) else f"{type(exc).__name__} in {ours[-1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
