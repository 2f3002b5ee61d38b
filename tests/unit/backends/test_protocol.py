"""Settings of a backend: their order and defaults, and what is refused."""

from typing import Any

import pytest

from backends import BackendConfig


def test_settings_have_their_order_and_defaults() -> None:
    """Positions and defaults are part of the contract."""
    config = BackendConfig("redis", "redis://h", "p:", 60, None, None, 7, 8)
    assert (config.max_slots_per_thread, config.max_threads) == (7, 8)
    assert vars(BackendConfig()) == {
        "backend_type": "memory",
        "redis_url": "redis://localhost:6379",
        "redis_prefix": "xp:",
        "redis_ttl": 86400,
        "manager_address": None,
        "manager_authkey": None,
        "max_slots_per_thread": 10_000,
        "max_threads": 1_000,
        "keep_closed": 1_000,
        "redis_replicas": 0,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"redis_ttl": -1},
        {"redis_ttl": float("inf")},
        {"redis_ttl": float("nan")},
        {"max_slots_per_thread": 0},
        {"max_threads": 0},
        {"keep_closed": -1},
        {"redis_replicas": -1},
    ],
)
def test_a_number_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    """Before anything is connected to."""
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        BackendConfig(**wrong)


def test_secrets_stay_out_of_repr() -> None:
    """A config may be logged; its URL and key may not."""
    config = BackendConfig(redis_url="redis://:s3cret@h", manager_authkey="s3cret")
    assert "s3cret" not in repr(config)
