"""The Lua scripts agree with the Python they mirror."""

import fakeredis
import hypothesis.strategies as st
from hypothesis import given

from backends import chains
from backends.redis.scripts import script_text

_CALLERS = """
local found = {}
local caller = caller_of(ARGV[3])
while caller do
  found[#found + 1] = caller
  caller = caller_of(caller)
end
return found
"""


@given(st.lists(st.sampled_from(["a", "bü", "@7", "#m", "@", "", "a@b", "c#"]), max_size=8))
def test_callers_are_the_same_in_lua(segments: list[str]) -> None:
    """A script walks a chain upwards as `chains.callers` does."""
    chain = ".".join(segments)
    beginning = script_text("count").partition("-- How many")[0]
    found = _client.eval(beginning + _CALLERS, 0, "p:", 0, chain)
    assert isinstance(found, list)
    assert [caller.decode() for caller in found] == list(chains.callers(chain))


_client = fakeredis.FakeRedis()
