"""Times one audit, over the organism or in a plain loop; prints `{"seconds": …}`.

The organism's time includes starting its processes and stopping them.
"""

import argparse
import asyncio
import json
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


def main() -> None:
    """Run the way that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["pool", "loop"])
    parser.add_argument("--root", default="")
    arguments = parser.parse_args()
    tree = Tree(arguments.root)
    started = time.perf_counter()
    report = asyncio.run(over_pool(tree)) if arguments.way == "pool" else audit_plainly(tree)
    print(json.dumps({"seconds": time.perf_counter() - started, "modules": report.modules}))


if __name__ == "__main__":
    main()
