"""Server-sent events (WHATWG HTML, 9.2): cutting a byte stream into events, and writing them."""

from __future__ import annotations

import re

from proxy.exceptions import UpstreamGarbage

DONE = b"[DONE]"

_BOM = b"\xef\xbb\xbf"
#: The other two forms of a line's end that the standard allows.
_LINE_END = re.compile(rb"\r\n?")


class Splitter:
    """Cuts what comes into whole events; the rest waits for more."""

    def __init__(self, limit: int) -> None:
        self._rest = b""
        #: The data lines of an event that has not ended yet, and their bytes.
        self._lines: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._begun = False

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended yet."""
        return self._size + len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that ``data`` completes; comments and other fields are left out."""
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
            # A last "\r" may be half of "\r\n": leave it for the next read.
            half = b"\r" if buffer.endswith(b"\r") else b""
            buffer = _LINE_END.sub(b"\n", buffer.removesuffix(half))
        *lines, rest = buffer.split(b"\n")
        self._rest = rest + half
        payloads = self._events(lines)
        if self.pending > self._limit:
            raise UpstreamGarbage("the upstream sent an event over the limit")
        return payloads

    def _events(self, lines: list[bytes]) -> list[bytes]:
        payloads = []
        for line in lines:
            if line[:5] == b"data:":
                self._lines.append(line[6:] if line[5:6] == b" " else line[5:])
                self._size += len(line)
            elif not line and self._lines:
                # The standard joins lines by "\n"; the payloads here are JSON, where a space means the same and
                # keeps the payload on one line when it is sent on.
                payloads.append(b" ".join(self._lines))
                self._lines.clear()
                self._size = 0
        return payloads

    def rest(self) -> list[bytes]:
        """The payload of an event that the stream's end left without its blank line."""
        return self.feed(b"\n\n")


def _is_one_event(data: bytes) -> bool:
    """Whether it is one line of data and its end: what a server sends that flushes each event."""
    return (
        data[:6] == b"data: "
        and data[-1:] == b"\n"
        and data.find(b"\n") == len(data) - 2
        and b"\r" not in data
    )


def event(payload: bytes) -> bytes:
    """One event with this payload (a single line)."""
    return b"data: " + payload + b"\n\n"
