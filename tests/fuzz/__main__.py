"""`make fuzz`: every decoder for a while; prints what was executed, and what was found.

`$FUZZ_SECONDS` is for all of them together. What is found stands below `.fuzz/`, beside the
inputs that reached something new: the next run begins with these.
"""

import os
import re
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

from tests.fuzz.hostile import small
from tests.fuzz.targets import TARGETS

HOME = Path(".fuzz")
DEFAULT_S = 300
#: Of one input; a decoder that needs more hangs.
TIMEOUT_S = 10
#: MiB that a decoder's process may have, the interpreter and libFuzzer's own tables included.
MAX_RSS_MB = 768
MAX_INPUT_BYTES = 8192


def main() -> int:
    """Run them one after the other; 1 where something was found."""
    seconds = max(1, int(os.environ.get("FUZZ_SECONDS", DEFAULT_S)) // len(TARGETS))
    executions = findings = 0
    _say(f"{'decoder':<10} {'executions':>11} {'per s':>7} {'inputs':>7} {'peak MiB':>9}  findings")
    for name in TARGETS:
        corpus = _corpus(name)
        output = _fuzz(name, corpus, seconds)
        executed, rate, peak = (
            _stat(output, part)
            for part in ("number_of_executed_units", "average_exec_per_sec", "peak_rss_mb")
        )
        found = sorted(path.name for path in HOME.glob(f"{name}-*-*"))
        executions, findings = executions + executed, findings + len(found)
        kept = len(list(corpus.iterdir()))
        shown = " ".join(found) or "none"
        _say(f"{name:<10} {executed:>11} {rate:>7} {kept:>7} {peak:>9}  {shown}")
        if found or not executed:
            _say(output[-3000:])
            findings += not executed
    _say(f"{executions} executions, {len(TARGETS)} decoders, {findings} findings")
    return int(findings > 0)


def _fuzz(name: str, corpus: Path, seconds: int) -> str:
    command = [sys.executable, "-m", "tests.fuzz.guided", name]
    command += [
        f"-max_total_time={seconds}",
        f"-timeout={TIMEOUT_S}",
        f"-max_len={MAX_INPUT_BYTES}",
    ]
    command += [f"-rss_limit_mb={MAX_RSS_MB}", "-print_final_stats=1", "-verbosity=1"]
    run = subprocess.run(
        [*command, f"-artifact_prefix={HOME}/{name}-", str(corpus)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return run.stdout.decode(errors="replace")


def _corpus(name: str) -> Path:
    """Where the inputs of one decoder are kept: its seeds, the regressions, what others reached."""
    folder = HOME / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for data in (*TARGETS[name].seeds, *small().values()):
        if len(data) <= MAX_INPUT_BYTES:
            (folder / blake2b(data, digest_size=20).hexdigest()).write_bytes(data)
    for old in HOME.glob(f"{name}-*-*"):
        old.unlink()
    return folder


def _stat(output: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", output)
    return int(found[1]) if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
