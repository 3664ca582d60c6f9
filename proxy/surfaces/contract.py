"""The types that pass between a surface, which knows one wire format, and the pipeline, which knows none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gating.types import Decision, Evidence
    from proxy.exceptions import HttpError


class Request(msgspec.Struct, frozen=True):
    """A client's request, with the values that gating needs; ``fields`` holds the encoded value of every field."""

    fields: Mapping[str, msgspec.Raw]
    model: str
    stream: bool
    n: int
    logprobs: bool
    top_logprobs: int
    json_answer: bool
    include_usage: bool
    tools: bool
    max_tokens: int | None
    sampling: Mapping[str, float]
    threshold: float | None
    #: The number of prompts in the request. With several, ``n`` counts the choices of all of them.
    prompts: int = 1
    #: The seed that the client asks for.
    seed: int | None = None
    #: Passages from the request's ``idk`` field; the messages do not hold them yet.
    context: tuple[str, ...] = ()
    #: Whether ``idk`` shall list the sentences of an answer that is served.
    verbose: bool = False
    #: A feature of the request that would bypass the gate, with the reason; a route that enforces refuses it.
    ungateable: str | None = None
    #: The client's fields in its own format, if ``fields`` are a translation of them.
    origin: Mapping[str, msgspec.Raw] | None = None


class Edit(Protocol):
    """A function that changes the text of one message."""

    def __call__(self, role: str, name: str | None, text: str) -> str | None:
        """Return the new text, or None to remove it."""
        ...


class Ask(msgspec.Struct, frozen=True):
    """What the proxy wants of the upstream in addition to what the client asked for.

    ``alternatives`` is the number of each token's alternatives that the scorers read. If ``samples`` > 0, that many
    answers are requested for the gate alone: they are not streamed, not stored and not taken from a cache, have at most
    ``max_tokens`` tokens each, and are drawn with ``seed``, if any, instead of the client's seed. ``usage`` makes a
    stream report its token counts at the end, even if the client did not ask for them.
    """

    model: str | None
    params: Mapping[str, float]
    logprobs: bool
    top_logprobs: int
    alternatives: int = 0
    samples: int = 0
    seed: int | None = None
    max_tokens: int | None = None
    usage: bool = False
    #: Whether tool calls are judged too, by the evidence of their arguments.
    gate_tools: bool = False


class Choice(msgspec.Struct, frozen=True):
    """One choice of an answer.

    ``refusal`` is true if the format's own field says that the model declined. ``unreadable`` says why the text, or a
    part of it, could not be read; such a choice is never judged by its evidence. ``missing`` marks the choice that
    takes the place of an answer in which the surface found none.
    """

    index: int
    evidence: Evidence
    finish_reason: str | None = None
    tool_call: bool = False
    refusal: bool = False
    #: The evidence of the text beside a tool call whose arguments are the choice's own evidence; None without text.
    words: Evidence | None = None
    unreadable: str | None = None
    missing: bool = False
    #: Whether the text holds thoughts of the model, which are not part of the answer.
    thoughts: bool = False


class Completion(msgspec.Struct, frozen=True):
    """An upstream's answer; ``body`` is the encoded answer, from which the surface renders the response."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    body: bytes = b""
    #: The upstream's id for the answer. Clients may give feedback by it.
    id: str | None = None
    #: The model that answered, according to the upstream.
    model: str | None = None

    def __post_init__(self) -> None:
        """Refuse a completion without choices: it would be sent without a verdict."""
        if not self.choices:
            raise ValueError("a completion needs at least one choice; use MISSING for an answer without any")


class VendorError(msgspec.Struct):
    """The fields of an error that an upstream reports."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None

    @property
    def code_text(self) -> str | None:
        """Return the code as text: some servers number their codes, and OpenAI's schema has a string."""
        return None if self.code is None else str(self.code)


class Sentence(msgspec.Struct, frozen=True):
    """One sentence of an answer, and the share of the samples in [0, 1] that support it."""

    text: str
    score: float


class ChoiceReport(msgspec.Struct, frozen=True):
    """One choice in the ``idk`` field.

    ``sentences``, the least supported first, is present only if the client asked for it, the answer is long and was
    compared with samples, and the answer is served: a withheld answer is not described.
    """

    index: int
    decision: str
    reason: str
    confidence: float | None
    threshold: float | None
    score: float | None
    source: str
    #: Why the answer is unmeasured or not certified, as a sentence that names the fields and both values.
    detail: str | msgspec.UnsetType = msgspec.UNSET
    sentences: tuple[Sentence, ...] | msgspec.UnsetType = msgspec.UNSET


class Extra(msgspec.Struct, frozen=True):
    """Calls and tokens that were paid for in addition to the answer."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


NOTHING_MORE = Extra()


class Step(msgspec.Struct, frozen=True):
    """The report of one gate, where a request passed several."""

    route: str
    policy: str | None
    certified: bool
    choices: tuple[ChoiceReport, ...]


class Report(msgspec.Struct, frozen=True):
    """The ``idk`` field of a gated response.

    ``steps`` is present only if a remedy was tried: the report of every gate, that of the request's route first.
    """

    route: str
    mode: str
    policy: str | None
    certified: bool
    choices: tuple[ChoiceReport, ...]
    extra: Extra = NOTHING_MORE
    steps: tuple[Step, ...] | msgspec.UnsetType = msgspec.UNSET


class Verdict(msgspec.Struct, frozen=True):
    """The gate's decisions on every choice of one completion; ``withheld`` holds the indices to replace.

    ``without_thoughts`` holds the indices of the served choices from whose text the model's thoughts are removed.
    """

    decisions: tuple[Decision, ...]
    withheld: frozenset[int]
    report: Report
    abstain_text: str
    without_thoughts: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Refuse a verdict that covers no choice, or that reports on other choices than it decided."""
        if not self.decisions or len(self.decisions) != len(self.report.choices):
            raise ValueError(
                "a verdict needs one decision and one report for each choice, and at least one choice"
            )


class StreamReader(Protocol):
    """Reads an upstream's event stream, holds it back or passes it on, and ends it with the verdict."""

    def feed(self, data: bytes) -> bytes:
        """Read ``data`` and return what may be sent to the client now; nothing while the stream is held.

        Raises UpstreamGarbage, or UpstreamStatus if the stream carries the upstream's error.
        """
        ...

    @property
    def pending(self) -> int:
        """Return the number of bytes of the event that is not complete yet."""
        ...

    @property
    def settled(self) -> bool:
        """Return whether every choice is withheld, whatever tokens still come."""
        ...

    def completion(self) -> Completion:
        """Return the completion that was read; raises UpstreamCut if the stream ended too early."""
        ...

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """Return what is left to send, with ``idk`` in it: all that was held, or the last event alone."""
        ...


class EarlyVerdict(Protocol):
    """Follows the tokens of one choice, to know early that it will be withheld; see ``gating.early``."""

    def add(self, logprobs: Sequence[float]) -> None:
        """Read further tokens of the answer."""
        ...

    @property
    def settled(self) -> bool:
        """Return whether no continuation can pass the gate."""
        ...


class Translator(Protocol):
    """Translates one answer that no gate reads into the client's format; raises UpstreamGarbage."""

    def whole(self, body: bytes) -> bytes:
        """Translate a whole answer."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Translate the events of a stream that ``data`` completes."""
        ...


class Surface(Protocol):
    """One wire format: how to ask for logprobs in it, where the answer is, and what an abstention looks like."""

    name: str
    #: The upstream's path, after its base URL.
    path: str
    #: Whether one request can ask for several answers.
    takes_n: bool

    def parse(self, body: bytes) -> Request:
        """Read a client's body; raises BadRequest."""
        ...

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """Return the body for the upstream. It asks for one of ``ask.samples`` if the format has no ``n``."""
        ...

    def edited(self, request: Request, edit: Edit) -> Request:
        """Return the request with the texts of its messages replaced, in their order; raises BadRequest.

        Each text of a message with several is edited; a message is removed if all of its texts are.
        """
        ...

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage, or UpstreamStatus if it is an error."""
        ...

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """Return the body for the client, whose usage counts ``verdict.report.extra`` too."""
        ...

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], EarlyVerdict] | None
    ) -> StreamReader:
        """Return a reader of the upstream's event stream; ``watch`` makes an ``EarlyVerdict`` for each choice."""
        ...

    def ungated(self, request: Request) -> Translator | None:
        """Return what translates an answer that no gate reads; None if the client gets the upstream's bytes."""
        ...

    def error(self, exc: HttpError) -> bytes:
        """Encode an error in this format."""
        ...

    def error_event(self, exc: HttpError) -> bytes:
        """Encode an error as an event of a stream that has begun."""
        ...


def report_choices(decisions: Sequence[Decision], choices: Sequence[Choice]) -> tuple[ChoiceReport, ...]:
    """Return the reports of the decisions for ``idk.choices``."""
    return tuple(
        ChoiceReport(
            c.index,
            d.decision,
            d.reason,
            d.confidence,
            d.threshold,
            d.score,
            d.source,
            msgspec.UNSET if d.detail is None else d.detail,
        )
        for d, c in zip(decisions, choices, strict=True)
    )
