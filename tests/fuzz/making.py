"""Strange values, and values that are nearly right: a good one in which a few places were changed."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What has broken readers of JSON, YAML and numbers before.
STRANGE: Final[list[Any]] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 2**70, 10**400, 0.5, -0.0, 1e-7, 1e-5,
    1e308, -1e308, 5e-324,
    math.nan, math.inf, -math.inf, -9999, -9999.0, "", " ", "0.5", "-0.1", "nan", "NaN", "inf", "null",
    "true", "\x00",
    "\ud800", "\ufffd", "д", "x" * 300, "[", "{}", "../x", "http://[", "*", "a: b", "# x", "&a", "*a",
    "!!python/name:os.system",
    [], {}, [[]], [None], [math.nan], [{}], [0, "x"], {"": 1}, {"a": None}, {"kind": "x"}, ["x"] * 40, [1.0] * 40,
]  # fmt: skip
ANY: Final = st.recursive(
    st.sampled_from(STRANGE) | st.floats() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything inside ``value``."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*at, key)
        yield from places(item, (*at, key))


@st.composite
def nearly(draw: st.DrawFn, base: Any, most: int = 3) -> Any:
    """Draw ``base`` with up to ``most`` places changed, removed, doubled, or with an unknown neighbour."""
    made = copy.deepcopy(base)
    for _ in range(draw(st.integers(0, most))):
        found = list(places(made))
        if not found:
            break
        *way, key = draw(st.sampled_from(found))
        holder = made
        for step in way:
            holder = holder[step]
        match draw(st.sampled_from(("change", "change", "change", "take", "double", "add"))):
            case "take":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=5))] = copy.deepcopy(draw(ANY))
            case _:
                holder[key] = copy.deepcopy(draw(ANY))
    return made


def as_json(value: Any) -> bytes:
    """Encode as JSON, with NaN and Infinity as some writers do."""
    return json.dumps(value).encode()


def cut(text: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly whole, and sometimes damaged: its end missing, a byte changed, or one put in."""

    @st.composite
    def damaged(draw: st.DrawFn) -> bytes:
        whole = draw(text)
        if not whole or draw(st.integers(0, 9)):
            return whole
        at = draw(st.integers(0, len(whole) - 1))
        byte = draw(st.binary(min_size=1, max_size=3))
        return draw(
            st.sampled_from((whole[:at], whole[:at] + byte + whole[at:], whole[:at] + byte + whole[at + 1 :]))
        )

    return damaged()
