"""Which Host headers are ours, and which tokens."""

import pytest
from starlette.datastructures import Headers

from pipeline.cli.console.access import Keys, is_known_host

NAMES = {"localhost", "ops.example"}


@pytest.mark.parametrize(
    "header",
    ["localhost", "LOCALHOST.:80", "ops.example:443", "10.0.0.7", "[fe80::1]:80", "[::1]"],
)
def test_known(header: str) -> None:
    """Addresses can't be made to lead elsewhere, and names we were told are ours."""
    assert is_known_host(header, NAMES)


@pytest.mark.parametrize(
    "header",
    ["", "evil.example", "localhost.evil.example", "[::1", "[::1]x", "[evil]", "2130706433", "1.1"],
)
def test_unknown(header: str) -> None:
    """Any other name may be anybody's."""
    assert not is_known_host(header, NAMES)


def test_tokens_are_made_up_anew() -> None:
    """Of 256 bits; and a cookie is none."""
    keys, others = Keys(), Keys()
    assert keys.token != others.token
    assert len(keys.token) >= 43
    cookie = keys.cookie(80, is_secure=True)
    assert cookie.endswith("; Secure")
    kept = cookie.partition(";")[0]
    assert keys.admits(Headers({"cookie": kept}), 80)
    assert not keys.admits(Headers({"cookie": kept}), 81)
    assert not others.admits(Headers({"cookie": kept}), 80)
    assert not keys.fits(kept.partition("=")[2])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cookie": "pump_console_80="},
        {"cookie": "pump_console_80"},
        {"cookie": "\x00;;=,"},
        {"authorization": "Bearer "},
        {"authorization": "Basic {token}"},
        {"authorization": "Bearer {token}x"},
        {"authorization": "Bearer é"},
    ],
    ids=str,
)
def test_others_stay_out(headers: dict[str, str]) -> None:
    """However the header is malformed."""
    keys = Keys()
    filled = {name: text.replace("{token}", keys.token) for name, text in headers.items()}
    assert not keys.admits(Headers(filled), 80)


@pytest.mark.parametrize(
    "beside", ['state={"a": 1}', "theme=dark mode", "odd", "a[b]=1", "path=/x", "a=\xe9"]
)
def test_cookies_of_others_lock_nobody_out(beside: str) -> None:
    """A browser sends those of every port of this host, and we have no say in them."""
    keys = Keys()
    kept = keys.cookie(80, is_secure=False).partition(";")[0]
    assert keys.admits(Headers({"cookie": f"{beside}; {kept}"}), 80)
    assert keys.admits(Headers({"cookie": f"{kept}; {beside}"}), 80)
