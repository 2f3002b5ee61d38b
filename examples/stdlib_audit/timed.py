"""Times one audit, over the organism or in a plain loop; prints `{"seconds": …}`.

The organism's time includes starting its processes and stopping them. With `loops`, two
plain loops run at once, each the whole audit; the time is half of theirs.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from pathlib import Path

from audit.payloads import Report, Tree
from audit.plain import audit_plainly

from pipeline import StreamPump


async def over_pool(tree: Tree) -> Report:
    """The same report, by way of the organism."""
    async with StreamPump.from_file(Path(__file__).with_name("organism.yaml")) as pump:
        report: Report = await pump.request("auditor", tree)
        return report


def two_loops(tree: Tree) -> None:
    """Two audits of the same tree, side by side."""
    loops = [multiprocessing.Process(target=audit_plainly, args=(tree,)) for _ in range(2)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()


def main() -> None:
    """Run the way that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["pool", "loop", "loops"])
    parser.add_argument("--root", default="")
    arguments = parser.parse_args()
    tree = Tree(arguments.root)
    started = time.perf_counter()
    match arguments.way:
        case "pool":
            asyncio.run(over_pool(tree))
        case "loop":
            audit_plainly(tree)
        case "loops":
            two_loops(tree)
    audits = 2 if arguments.way == "loops" else 1
    print(json.dumps({"seconds": (time.perf_counter() - started) / audits}))


if __name__ == "__main__":
    main()
