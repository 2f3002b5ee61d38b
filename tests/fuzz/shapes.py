"""Payload classes with every kind of field, as an organism may declare them."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Tree:
    name: str = ""
    children: "list[Tree]" = field(default_factory=list)


@dataclass
class Everything:
    text: str = ""
    number: int = 0
    ratio: float = 0.0
    raw: bytes = b""
    moment: datetime | None = None
    id: UUID | None = None
    price: Decimal | None = None
    colour: Colour = Colour.RED
    names: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    pair: tuple[int, str] = (0, "")
    tags: frozenset[str] = frozenset()
    tree: Tree | None = None
    anything: Any = None


@dataclass
class Picky:
    """Refuses what its fields allow, as a class's own check does."""

    number: int = 1

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ZeroDivisionError("x" * 10_000)
