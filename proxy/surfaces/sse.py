"""Server-sent events (WHATWG HTML, 9.2): splitting a byte stream into events, and writing them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from proxy.exceptions import UpstreamGarbage

DONE = b"[DONE]"

_BOM = b"\xef\xbb\xbf"
#: The two forms of a line's end that the standard allows beside a line feed.
_LINE_END = re.compile(rb"\r\n?")


class Splitter:
    """Splits a stream of bytes into events, and keeps the incomplete last one until more bytes come."""

    def __init__(self, limit: int) -> None:
        self._rest = b""
        #: The data lines of an event that is not complete, and their size in bytes.
        self._lines: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._begun = False

    @property
    def pending(self) -> int:
        """Return the number of bytes of the event that is not complete yet."""
        return self._size + len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads of the events that ``data`` completes, without comments and empty payloads."""
        if not (self._rest or self._lines) and self._begun and _is_one_event(data):
            return [data[6:-2]]
        buffer = self._rest + data if self._rest else data
        if not self._begun:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                self._rest = buffer
                return []
            self._begun = True
            buffer = buffer.removeprefix(_BOM)
        half = b""
        if b"\r" in buffer:
            # The last "\r" may be one half of "\r\n": leave it for the next call.
            half = b"\r" if buffer.endswith(b"\r") else b""
            buffer = _LINE_END.sub(b"\n", buffer.removesuffix(half))
        *lines, rest = buffer.split(b"\n")
        self._rest = rest + half
        payloads = self._events(lines)
        if self.pending > self._limit:
            raise UpstreamGarbage("the upstream sent an event over the limit")
        return payloads

    def _events(self, lines: list[bytes]) -> list[bytes]:
        """Return the payloads of the events that these lines complete."""
        payloads = []
        for line in lines:
            if line[:5] == b"data:":
                self._lines.append(line[6:] if line[5:6] == b" " else line[5:])
                self._size += len(line)
            elif not line and self._lines:
                # The standard joins lines with "\n". The payloads here are JSON, where a space has the same meaning
                # and keeps the payload on one line when it is sent on. Servers send empty payloads as keep-alives,
                # and "[DONE]" with white space around it.
                payload = b" ".join(self._lines).strip()
                if payload:
                    payloads.append(payload)
                self._lines.clear()
                self._size = 0
        return payloads

    def rest(self) -> list[bytes]:
        """Return the payload of the last event if the stream ended without the blank line after it."""
        return self.feed(b"\n\n")


def _is_one_event(data: bytes) -> bool:
    """Return whether ``data`` is one plain data line and its end, as servers send that flush each event."""
    return (
        len(data) > len(b"data: \n\n")
        and data[:6] == b"data: "
        and data[-1:] == b"\n"
        and data.find(b"\n") == len(data) - 2
        and data[6:7] not in b" \t"
        and data[-3:-2] not in b" \t"
        and b"\r" not in data
    )


def event(payload: bytes) -> bytes:
    """Write one event with this payload, which must be a single line."""
    return b"data: " + payload + b"\n\n"


def named_event(payload: dict[str, Any]) -> bytes:
    """Write one event whose name is the type in its payload."""
    return b"event: " + str(payload.get("type")).encode() + b"\n" + event(msgspec.json.encode(payload))
