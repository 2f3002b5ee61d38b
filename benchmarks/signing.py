"""What a signing key costs: the same requests over Redis, every record signed beside none."""

import sys

from benchmarks.measuring import Comparison, Contestant, interleave


def compare(rounds: int) -> list[Comparison]:
    """Signed and unsigned in turn, for small payloads and for larger ones."""
    found = []
    for size, requests in ((100, 4000), (10_000, 2000)):
        options = ["--requests", str(requests), "--payload-bytes", str(size)]
        command = [sys.executable, "-m", "benchmarks.signed", *options]
        signed, unsigned = interleave(
            [Contestant("signed", [*command, "--signed"]), Contestant("unsigned", command)],
            "requests_per_cpu_s",
            rounds=rounds,
        )
        title = f"requests over Redis, {size:,} bytes, signed"
        found.append(Comparison(title, "requests/CPU s", signed, unsigned, more_is_better=True))
    return found
