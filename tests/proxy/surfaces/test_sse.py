"""Cutting an event stream gives the same payloads however its bytes come."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import UpstreamGarbage
from proxy.gateway.event_stream import KEEPALIVE
from proxy.surfaces import sse

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
LINE = st.one_of(
    TEXT.map("data: {}".format),
    TEXT.map("data:{}".format),
    TEXT.map(": {}".format),
    st.sampled_from(["event: x", "id: 3", "retry: 5", "data", "datax: 1", " data: 1", "", "", ""]),
)
STREAM = st.builds(
    lambda bom, lines, tail: ("\ufeff" if bom else "") + "".join(lines) + tail,
    st.booleans(),
    st.lists(st.builds(str.__add__, LINE, st.sampled_from(["\n", "\r\n", "\r"])), max_size=14),
    st.sampled_from(["", "data: tail", "data", ": c"]),
).map(str.encode)


def reference(stream):
    """Read the whole as the standard does, with data lines joined by a space, and without events that are blank."""
    events, lines = [], []
    for line in [*re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        if not line and lines:
            events.append(b" ".join(lines).strip())
            lines = []
    return [event for event in events if event]


def split(pieces, limit=1_000):
    splitter = sse.Splitter(limit)
    found = [payload for piece in pieces for payload in splitter.feed(piece)]
    return found + splitter.rest()


@given(STREAM, st.data())
def test_any_split_of_any_stream_gives_the_payloads_of_the_whole(stream, data):
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    places = [0, *cuts, len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    assert split(pieces) == reference(stream)


@given(STREAM)
def test_a_stream_may_come_byte_by_byte(stream):
    assert split([bytes([byte]) for byte in stream]) == reference(stream)


def test_a_payload_is_given_as_soon_as_its_event_is_whole():
    splitter = sse.Splitter(100)
    assert splitter.feed(b'data: {"a": 1}\n') == []
    assert splitter.feed(b"\ndata: [DO") == [b'{"a": 1}']
    assert splitter.feed(b"NE]\n\n") == [b"[DONE]"]
    assert splitter.rest() == []


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])).map(str.encode)))
def test_what_is_written_is_read_again(payloads):
    assert split([b"".join(map(sse.event, payloads))], limit=10_000) == [
        p.strip() for p in payloads if p.strip()
    ]


def test_a_keepalive_is_no_event():
    assert split([KEEPALIVE, sse.event(b"1"), KEEPALIVE]) == [b"1"]


def test_an_event_that_never_ends_is_refused():
    splitter = sse.Splitter(20)
    assert splitter.feed(b"data: " + b"x" * 14) == []
    with pytest.raises(UpstreamGarbage, match="over the limit"):
        splitter.feed(b"x")
