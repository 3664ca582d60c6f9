"""What passes between a surface, which knows one wire format, and the pipeline, which knows none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gating.types import Decision, Evidence
    from proxy.exceptions import HttpError


class Request(msgspec.Struct, frozen=True):
    """A client's request, read as far as gating needs; ``fields`` holds every field's own bytes."""

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
    #: How many questions it asks: of several, ``n`` counts the choices of all.
    prompts: int = 1
    #: What the client wants its answer to be drawn with.
    seed: int | None = None
    #: Passages that came in the request's own ``idk`` field; the messages do not hold them yet.
    context: tuple[str, ...] = ()
    #: Whether ``idk`` shall hold the sentences of what goes out.
    verbose: bool = False
    #: What the client asks for that no gate can hold; None: nothing. A route that enforces refuses it.
    ungateable: str | None = None
    #: The client's own fields, where ``fields`` are a translation of them.
    origin: Mapping[str, msgspec.Raw] | None = None


class Edit(Protocol):
    """Changes the text of one message."""

    def __call__(self, role: str, name: str | None, text: str) -> str | None:
        """The text in its place; None: the text goes."""
        ...


class Ask(msgspec.Struct, frozen=True):
    """What the proxy itself wants of the upstream, beside what the client asked for.

    ``alternatives``: how many of each token's alternatives the scorers read, whoever asked for more.
    ``samples`` > 0: that many answers are asked for which the gate alone reads: never streamed, nor kept or
    taken from a cache by the upstream, of at most ``max_tokens`` tokens each, and with this ``seed`` or none
    (the client's own is the answer's). ``usage``: a stream shall count its tokens at its end, whatever the
    client asked for.
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
    #: Whether the evidence of a tool call is wanted: that of its arguments.
    gate_tools: bool = False


class Choice(msgspec.Struct, frozen=True):
    """One choice of an answer. ``refusal``: the vendor's own field says that the model declined."""

    index: int
    evidence: Evidence
    finish_reason: str | None = None
    tool_call: bool = False
    refusal: bool = False
    #: The evidence of the text beside a tool call whose arguments are the choice's own evidence; None without text.
    words: Evidence | None = None


class Completion(msgspec.Struct, frozen=True):
    """An upstream's answer, read; ``body`` is its surface's own, for rendering."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    body: bytes = b""
    #: The upstream's own, by which a client may give feedback.
    id: str | None = None
    #: Which model the upstream says has answered.
    model: str | None = None


class VendorError(msgspec.Struct):
    """What an upstream says of its failure."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None

    @property
    def code_text(self) -> str | None:
        """Some servers number their codes; OpenAI's schema has a string."""
        return None if self.code is None else str(self.code)


class Sentence(msgspec.Struct, frozen=True):
    """One of an answer, and how far the samples say it, in [0, 1]."""

    text: str
    score: float


class ChoiceReport(msgspec.Struct, frozen=True):
    """One choice in the ``idk`` field.

    ``sentences``, the least supported first, stand there where the client asks for them, the answer is long and
    was compared with samples, and it goes out: of what is withheld nothing is told.
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
    """What was paid beyond the answer itself."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


NOTHING_MORE = Extra()


class Step(msgspec.Struct, frozen=True):
    """One gate's own word, where a request went through several."""

    route: str
    policy: str | None
    certified: bool
    choices: tuple[ChoiceReport, ...]


class Report(msgspec.Struct, frozen=True):
    """The ``idk`` field of a gated response.

    ``steps`` stand there only where a remedy was tried: every gate's word, the route's own first.
    """

    route: str
    mode: str
    policy: str | None
    certified: bool
    choices: tuple[ChoiceReport, ...]
    extra: Extra = NOTHING_MORE
    steps: tuple[Step, ...] | msgspec.UnsetType = msgspec.UNSET


class Verdict(msgspec.Struct, frozen=True):
    """The gate's word on every choice of one completion; ``withheld`` are the indices to replace."""

    decisions: tuple[Decision, ...]
    withheld: frozenset[int]
    report: Report
    abstain_text: str

    def __post_init__(self) -> None:
        """Refuse a verdict that covers no choice: it would let an answer pass that was not judged."""
        if not self.decisions:
            raise ValueError("a verdict must cover at least one choice")


class StreamReader(Protocol):
    """Reads an upstream's event stream; holds it, or lets it flow, and ends it with the verdict."""

    def feed(self, data: bytes) -> bytes:
        """Take what came; give back what may go to the client now (nothing while holding).

        Raises UpstreamGarbage, or UpstreamStatus where the stream carries the upstream's error.
        """
        ...

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended yet."""
        ...

    @property
    def settled(self) -> bool:
        """Whether no further token can change that every choice is withheld."""
        ...

    def completion(self) -> Completion:
        """All that was read; raises UpstreamCut where the stream ended too early."""
        ...

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        """What is left to send: all that was held, or the last chunk alone, with ``idk`` in it."""
        ...


class Watch(Protocol):
    """Follows one choice's tokens; see ``gating.early``."""

    def add(self, logprobs: Sequence[float]) -> None:
        """Take further tokens of the answer."""
        ...

    @property
    def settled(self) -> bool:
        """Whether no continuation can pass the gate."""
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
    """One wire format: how to ask for logprobs in it, where the answer is, how an abstention looks in it."""

    name: str
    #: The upstream's path, after its base URL.
    path: str
    #: Whether one request can ask for several answers.
    takes_n: bool

    def parse(self, body: bytes) -> Request:
        """Read a client's body; raises BadRequest."""
        ...

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """The body for the upstream. Where ``ask.samples`` are wanted and ``takes_n`` is not, for one of them."""
        ...

    def edited(self, request: Request, edit: Edit) -> Request:
        """The request with the text of its messages, in their order, through ``edit``; raises BadRequest.

        A message of several texts is edited text by text, and left out where all of them go.
        """
        ...

    def read(self, body: bytes, ask: Ask) -> Completion:
        """Read an upstream's answer; raises UpstreamGarbage."""
        ...

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """The body for the client; its usage counts ``verdict.report.extra`` too."""
        ...

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """A reader of the upstream's event stream; ``watch`` makes a ``Watch`` for each choice."""
        ...

    def ungated(self, request: Request) -> Translator | None:
        """Return what translates an answer that no gate reads; None if the client gets the upstream's bytes."""
        ...

    def error(self, exc: HttpError) -> bytes:
        """An error in the vendor's shape."""
        ...

    def error_event(self, exc: HttpError) -> bytes:
        """The same inside a stream that has begun."""
        ...


def report_choices(decisions: Sequence[Decision], choices: Sequence[Choice]) -> tuple[ChoiceReport, ...]:
    """The decisions as they stand in ``idk.choices``."""
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
