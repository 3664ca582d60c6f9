"""Server-sent events (WHATWG HTML, 9.2): cutting a byte stream into events, and writing them."""

from __future__ import annotations

import re

from proxy.exceptions import UpstreamGarbage

KEEPALIVE = b": keep-alive\n\n"
DONE = b"[DONE]"

_BOM = b"\xef\xbb\xbf"
#: Two line ends in a row, in any of the three forms that the standard allows.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Splitter:
    """Cuts what comes into whole events; the rest waits for more."""

    def __init__(self, limit: int) -> None:
        self._rest = b""
        self._limit = limit
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that ``data`` completes; comments and other fields are left out."""
        buffer = self._rest + data if self._rest else data
        if not self._begun:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                self._rest = buffer
                return []
            self._begun = True
            buffer = buffer.removeprefix(_BOM)
        if b"\r" in buffer:
            # A last "\r" may be half of "\r\n": leave it for the next read.
            keep = 1 if buffer.endswith(b"\r") else 0
            blocks = _BLANK_LINE.split(buffer[: len(buffer) - keep])
            blocks[-1] += buffer[len(buffer) - keep :]
        else:
            blocks = buffer.split(b"\n\n")
        self._rest = blocks.pop()
        if len(self._rest) > self._limit:
            raise UpstreamGarbage("the upstream sent an event over the limit")
        return [payload for payload in map(_payload, blocks) if payload is not None]

    def rest(self) -> list[bytes]:
        """The payload of an event that the stream's end left without its blank line."""
        rest, self._rest = self._rest, b""
        payload = _payload(rest)
        return [] if payload is None else [payload]


def _payload(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block and b"\r" not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(block) if line.startswith(b"data:")]
    # The standard joins lines by "\n"; the payloads here are JSON, where a space means the same and keeps
    # the payload on one line when it is sent on.
    return b" ".join(lines) if lines else None


def event(payload: bytes) -> bytes:
    """One event with this payload (a single line)."""
    return b"data: " + payload + b"\n\n"
