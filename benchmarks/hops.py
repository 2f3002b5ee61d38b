"""Hops a second of the memory pump beside xml-pipeline 0.4.0, on the same organism."""

import sys
from dataclasses import replace

from benchmarks.measuring import PEERS, Comparison, Contestant, Target, interleave, peer_python

PEER = "xml-pipeline"


def compare(rounds: int) -> list[Comparison]:
    """Both pumps in turn; the peer in a venv of its own."""
    theirs = peer_python(PEER, "xml-pipeline==0.4.0", "python-dotenv")
    script = str(PEERS / "xml_pipeline_two_hops.py")
    ours, others = interleave(
        [
            Contestant("celery-pump", [sys.executable, "-m", "benchmarks.two_hops"]),
            Contestant(PEER, [theirs, script]),
        ],
        "hops_per_s",
        rounds=rounds,
    )
    title = "two hops in memory, against xml-pipeline"
    beside = Comparison(title, "hops/s", ours, others, more_is_better=True)
    wanted = "e. memory mode against xml-pipeline"
    return [replace(beside, targets=[Target.at_least(wanted, 50, beside.ratio)])]
