"""What tests of `organism.yaml` write, and how they read what is wrong with it."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.organism import Organism
from pipeline.organism_file import load_organism

Write = Callable[[str], Path]

#: For names that no other test uses.
NUMBERS = count()

HANDLERS = """
from dataclasses import dataclass

@dataclass
class Ask:
    text: str

class Plain: ...

async def answer(payload, metadata): ...
def compute(payload, metadata): ...
"""

LISTENERS = """
listeners:
  - {name: desk, payload_class: %.Ask, handler: %.answer}
"""


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_organism(file)
    return list(caught.value.problems)


def with_settings(write: Write, settings: str) -> Organism:
    return load_organism(write(f"organism: {{name: o}}\n{settings}{LISTENERS}"))
