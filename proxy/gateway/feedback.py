"""``POST /v1/feedback``: a client's label for an answer. User feedback can raise an alarm but never certifies."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proxy.clients.limits import LimitReached
from proxy.control.recording.recorder import GATHER_S
from proxy.exceptions import UNREADABLE, BadRequest, HttpError, NotFound, Overloaded, StoreError
from proxy.server import asgi
from proxy.server.errors import error_body
from proxy.storage import Label
from proxy.storage.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clients.authentication import Caller, Keys
    from proxy.control.recording import Recorder
    from proxy.metrics import Metrics
    from proxy.server.asgi import Receive, Scope, Send
    from proxy.storage import DecisionRecord
    from proxy.storage.link import StoreLink

logger = logging.getLogger("idk")

#: A label is a few words.
MAX_BYTES = 10_000
#: Labels that one key may send in a minute to each process: a person labels a few, a script some more.
LABELS_PER_MINUTE = 120
#: How often an unknown id is looked up: another process may be about to write it.
LOOKS = 4


class Feedback(Struct, frozen=True, forbid_unknown_fields=True):
    """The body; ``id`` is the response's ``x-request-id`` or the completion's own id."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    label: Literal["correct", "incorrect"]
    choice: Annotated[int, Meta(ge=0, le=127)] = 0


class FeedbackEndpoint:
    """Answers 200 once the label is stored; a proxy without a store has nothing to label."""

    def __init__(
        self,
        keys: Keys,
        metrics: Metrics,
        link: StoreLink | None,
        recorder: Recorder | None,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._keys = keys
        self._metrics = metrics
        self._link = link
        self._recorder = recorder
        self._steady = steady
        self._labels: dict[str | None, Window] = {}
        self._body = msgspec.json.Decoder(Feedback)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record one label, and answer once it is stored."""
        base = [(b"x-request-id", asgi.request_id())]
        try:
            if scope["method"] != "POST":
                base.append((b"allow", b"POST"))
                raise HttpError("use POST", status=405, type="invalid_request_error")
            caller = self._keys.caller(scope["headers"])
            self._admit(caller)
            body = await asgi.read_body(receive, scope["headers"], MAX_BYTES)
            label = await self._keep(self._read(body), caller)
        except asgi.ClientGone:
            return
        except HttpError as exc:
            await asgi.respond_error(scope, send, exc, base, error_body(exc))
            return
        base.append(asgi.JSON)
        said = {"id": label.id, "choice": label.choice, "label": label.label, "recorded": True}
        await asgi.respond(send, 200, base, msgspec.json.encode(said))

    def _admit(self, caller: Caller) -> None:
        """Count one label of a key; raises LimitReached over LABELS_PER_MINUTE, in this process."""
        wait_s = self._labels.setdefault(caller.name, Window()).spend(1, LABELS_PER_MINUTE, self._steady())
        if wait_s is not None:
            raise LimitReached(
                f"a key may send {LABELS_PER_MINUTE} labels a minute; try again in {wait_s:.0f} s",
                code="rate_limit_exceeded",
                retry_after_s=max(wait_s, 1.0),
            )

    def _read(self, body: bytes) -> Feedback:
        try:
            return self._body.decode(body)
        except msgspec.ValidationError as exc:
            raise BadRequest(
                f'feedback is {{"id", "label": "correct" or "incorrect", "choice"?}}: {exc}'
            ) from exc
        except UNREADABLE as exc:
            raise BadRequest(f"the body is not JSON: {exc}") from exc

    async def _keep(self, feedback: Feedback, caller: Caller) -> Label:
        """Store the label; raises NotFound, and Overloaded if the store does not answer."""
        try:
            record = await self._find(feedback, caller)
            label = Label(
                id=record.id, choice=record.choice, label=feedback.label, source="feedback", at=time(),
                who=caller.name or "",
            )  # fmt: skip
            link = self._store
            if await link.do("feedback", lambda store: store.add_label(label)):
                self._metrics.feedback.labels(record.route, feedback.label).inc()
        except StoreError as exc:
            logger.warning("feedback is not kept: %s", exc)
            raise Overloaded(
                "the label is not kept: the store does not answer; send it again", retry_after_s=2.0
            ) from exc
        return label

    async def _find(self, feedback: Feedback, caller: Caller) -> DecisionRecord:
        for look in range(LOOKS):
            if look == 1 and self._recorder is not None:
                await self._recorder.flush()
            elif look:
                await asyncio.sleep(GATHER_S)
            found = await self._store.do("feedback", lambda store: store.decision(feedback.id))
            if found:
                break
        for record in found:
            # An id of another key's decision, or of a route that the key may not use, is answered as an unknown one.
            if (
                record.choice == feedback.choice
                and caller.may_use(record.route)
                and record.key == caller.name
            ):
                return record
        raise NotFound(
            "no decision of this id and choice is known here: it is the response's x-request-id or the "
            "completion's id, of a route that is not off, and as old as the retention allows",
            param="id",
            code="unknown_id",
        )

    @property
    def _store(self) -> StoreLink:
        if self._link is None:
            raise NotFound("this proxy keeps no decisions, so there is nothing to label", code="no_store")
        return self._link
