"""Names of Redis keys: what goes in comes out, and no two tenants share one."""

import hypothesis.strategies as st
from hypothesis import given

from backends import chains
from backends.redis.keys import Keys, escape, unescape

texts = st.text(alphabet="^_:.t#@ü", max_size=8)


@given(texts)
def test_escaping_round_trips(text: str) -> None:
    """Every id survives, and none brings a colon of its own."""
    assert unescape(escape(text).encode()) == text
    assert ":" not in escape(text)


@given(texts)
def test_escaping_commutes_with_callers(chain: str) -> None:
    """Scripts may look for callers in an escaped chain."""
    expected = [escape(caller) for caller in chains.callers(chain)]
    assert list(chains.callers(escape(chain))) == expected


@given(texts, texts, texts, texts)
def test_different_prefixes_have_different_keys(
    first: str, second: str, ours: str, theirs: str
) -> None:
    """No pair of ids makes two tenants meet, even when one prefix begins with the other."""
    a, b = Keys(first), Keys(first + second)
    if second:
        assert a.thread(ours) != b.thread(theirs)
        assert a.chain(ours) != b.chain(theirs)
        assert a.thread(ours) != b.chain(theirs)
