"""Reading the values of a saved policy: each wrong one is an error of one line that names its place."""

from __future__ import annotations

import math

import pytest

from gating.saved import MAX_COUNT, Saved
from gating.types import GatingError

HUGE = 10**400


@pytest.mark.parametrize(
    ("read", "value", "shown"),
    [
        ("count", HUGE, "an integer of more than 64 bits"),
        ("count", MAX_COUNT + 1, str(MAX_COUNT + 1)),
        ("count", -1, "-1"),
        ("count", True, "True"),
        ("number", HUGE, "an integer of more than 64 bits"),
        ("number", math.inf, "inf"),
        ("number", math.nan, "nan"),
        ("text", "\ud800", "'\\ud800'"),
        ("text", 7, "7"),
        ("objects", {}, "{}"),
        ("text", ["x" * 200], "…"),
    ],
)
def test_a_wrong_value_is_named_and_shown_in_short(read, value, shown):
    with pytest.raises(GatingError, match=r"^policy\.key: must be ") as caught:
        getattr(Saved({"key": value}, "policy"), read)("key")
    message = str(caught.value)
    assert shown in message
    assert len(message) < 300
    assert "\n" not in message


def test_right_values():
    saved = Saved(
        {"count": MAX_COUNT, "number": 1, "text": "é", "none": None, "objects": [{"a": 1}]}, "policy"
    )
    assert (saved.count("count"), saved.number("number"), saved.text("text")) == (MAX_COUNT, 1.0, "é")
    assert saved.optional_number("none") is None
    assert saved.objects("objects")[0].place == "policy.objects[0]"
