"""The listeners of an organism as a process that runs their handlers sees them."""

import importlib
import sys

from backends.codec import Codec
from backends.errors import CodecError
from pipeline.errors import ConfigError
from pipeline.instructions import usage_instructions
from pipeline.organism import Listener, Organism
from pipeline.roster import Roster
from pipeline.station import Station


def codec_of(organism: Organism) -> Codec:
    """The codec of an organism, which knows the types its settings name.

    Raises:
        ConfigError: a module of `serialization.modules` can't be imported.
    """
    codec = Codec(
        keys=organism.serialization.signing_key,
        realm=organism.backend.redis_prefix,
        format=organism.serialization.format,
    )
    for name in organism.serialization.modules:
        try:
            module = importlib.import_module(name)
        except ImportError as exc:
            raise ConfigError(f"serialization.modules: {exc}") from exc
        codec.types.declare_module(module)
    return codec


def declare_types(listener: Listener, codec: Codec) -> None:
    """Let what *listener* takes and sends travel.

    Raises:
        ConfigError: its payload class can't.
    """
    try:
        codec.types.declare(listener.payload_class)
    except CodecError as exc:
        raise ConfigError(f"listener {listener.name!r}: payload_class: {exc}") from exc
    for module in modules_of(listener):
        codec.types.declare_module(importlib.import_module(module))


def instruct(stations: dict[str, Station], roster: Roster) -> None:
    """Tell every agent what its peers take."""
    for station in stations.values():
        if station.listener.agent:
            station.usage_instructions = usage_instructions(station.listener, roster)


def stations_of(organism: Organism, codec: Codec) -> dict[str, Station]:
    """Every listener's station by the listener's id; their types are declared to *codec*.

    Raises:
        ConfigError: a payload class can't travel.
    """
    roster = Roster()
    stations = {}
    for listener in organism.listeners:
        declare_types(listener, codec)
        stations[roster.add(listener)] = Station(listener)
    instruct(stations, roster)
    return stations


def modules_of(listener: Listener) -> list[str]:
    """The modules whose dataclasses *listener* may send or take."""
    modules = [
        getattr(each, "__module__", None) for each in (listener.payload_class, listener.handler)
    ]
    return [module for module in dict.fromkeys(modules) if module in sys.modules]
