"""The example's own package, importable as its organism imports it."""

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "stdlib_audit"
sys.path.insert(0, str(EXAMPLE))
