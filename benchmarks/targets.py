"""What was aimed at, what was measured, and whether that is met."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One row of the table."""

    title: str
    wanted: str
    measured: str
    met: bool

    @classmethod
    def at_least(cls, title: str, wanted: float, measured: float, unit: str = "x") -> "Target":
        """Met by *wanted* or more."""
        return cls(title, f"≥ {wanted:g} {unit}", f"{measured:,.4g} {unit}", measured >= wanted)

    @classmethod
    def at_most(cls, title: str, wanted: float, measured: float, unit: str = "x") -> "Target":
        """Met by *wanted* or less."""
        return cls(title, f"≤ {wanted:g} {unit}", f"{measured:,.4g} {unit}", measured <= wanted)

    def row(self) -> str:
        """One line."""
        fate = "met" if self.met else "NOT met"
        return f"{self.title:<64}{self.wanted:>12}{self.measured:>14}  {fate}"

    def as_json(self) -> dict[str, Any]:
        """The same."""
        return {
            "figure": self.title,
            "wanted": self.wanted,
            "measured": self.measured,
            "met": self.met,
        }


def table(results: Iterable[Any]) -> Iterator[str]:
    """The lines of the table, for results of which some have `targets`."""
    rows = [target for result in results for target in getattr(result, "targets", ())]
    if rows:
        yield f"\n{'target':<64}{'wanted':>12}{'measured':>14}"
    yield from (row.row() for row in rows)
