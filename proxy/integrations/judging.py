"""Judging one answer by a policy, without a server: what the hosts share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from gating import Gate, Policy
from gating.types import Decision, GatingError
from proxy.exceptions import ConfigError, UpstreamGarbage
from proxy.surfaces import SURFACES
from proxy.surfaces.contract import Ask, Report, Verdict, report_choices
from proxy.surfaces.sse import DONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gating.gate import OnUnmeasured
    from proxy.surfaces.contract import Choice, Completion, Request, Surface

#: Evidence that one response can hold; policies that read more need the proxy, which makes further calls.
_GATHERED_HERE: Final = frozenset({"logprobs", "top_logprobs"})
#: The most alternatives that OpenAI's API returns for a token.
_MOST_ALTERNATIVES: Final = 20
#: The alternatives that the proxy asks for where a policy reads any, and that ``idk evaluate`` records.
_ALTERNATIVES: Final = 5
_CHAT: Final = SURFACES["chat"]


@dataclass(frozen=True, slots=True)
class ChoiceJudgement:
    """The decision on one choice; ``confidence`` in [0, 1], or None where the answer is unmeasured."""

    index: int
    decision: str
    reason: str
    confidence: float | None
    threshold: float | None
    score: float | None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The decision on one response.

    The attributes beside ``choices`` are those of the decisive choice: the first one that is withheld, or else the
    one with the lowest confidence.
    """

    choices: tuple[ChoiceJudgement, ...]

    def __post_init__(self) -> None:
        """Refuse a judgement of nothing: it would read as an answer that may be shown."""
        if not self.choices:
            raise ValueError("a judgement needs at least one choice")

    @property
    def answered(self) -> bool:
        """Whether every choice may be shown."""
        return all(choice.decision == "answer" for choice in self.choices)

    @property
    def decision(self) -> str:
        """``answer`` or ``abstain``."""
        return self._decisive.decision

    @property
    def reason(self) -> str:
        """``confident``, ``below_threshold``, ``unmeasured``, ``upstream_abstained`` or ``tool_call``."""
        return self._decisive.reason

    @property
    def confidence(self) -> float | None:
        """The calibrated probability in [0, 1] that the answer is right; None where it is unmeasured."""
        return self._decisive.confidence

    @property
    def threshold(self) -> float | None:
        """The threshold on the confidence."""
        return self._decisive.threshold

    @property
    def detail(self) -> str | None:
        """Why the answer is unmeasured, in a sentence."""
        return self._decisive.detail

    @property
    def _decisive(self) -> ChoiceJudgement:
        withheld = [choice for choice in self.choices if choice.decision != "answer"]
        if withheld:
            return withheld[0]
        return min(self.choices, key=lambda choice: 1.0 if choice.confidence is None else choice.confidence)


class PolicyJudge:
    """Judges responses by a policy, in this process.

    The policy must read the response's own logprobs alone: samples and other further calls need the proxy. Only the
    proxy compares how an answer was asked for with how the policy's labels were made, so a judgement here is never
    certified.
    """

    def __init__(
        self, policy: Policy, *, threshold: float | None = None, on_unmeasured: OnUnmeasured = "abstain"
    ) -> None:
        """Judge by ``policy``; ``threshold`` in [0, 1] replaces the policy's own. Raises ConfigError."""
        further = policy.needs - _GATHERED_HERE
        if further:
            raise ConfigError(
                f"the policy {policy.name} reads {', '.join(sorted(further))}, which one response does not hold: "
                "serve it by `idk serve`, or tune with --scorers mean_logprob"
            )
        try:
            self.gate = Gate(policy, threshold=threshold, on_unmeasured=on_unmeasured)
        except GatingError as exc:
            raise ConfigError(str(exc)) from exc
        self.policy = policy

    @classmethod
    def load(
        cls, path: str | Path, *, threshold: float | None = None, on_unmeasured: OnUnmeasured = "abstain"
    ) -> Self:
        """Return the judge of a policy file; raises ConfigError, naming the file, where it cannot be used."""
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(saved, dict):
                raise ConfigError(f"{path}: must hold a JSON object; write it anew with `idk tune`")
            policy = Policy.load(saved)
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
        except (ValueError, RecursionError) as exc:
            raise ConfigError(f"{path}: is not JSON; write it anew with `idk tune`") from exc
        except GatingError as exc:
            raise ConfigError(f"{path}: {exc}") from exc
        return cls(policy, threshold=threshold, on_unmeasured=on_unmeasured)

    @property
    def top_logprobs(self) -> int:
        """How many alternatives of each token the policy reads; 0 for none."""
        return _ALTERNATIVES if "top_logprobs" in self.gate.needs else 0

    def ask(self, request: Request | None = None) -> Ask:
        """Return what an upstream is asked for beside the client's own request."""
        wanted = request.top_logprobs if request is not None and request.logprobs else 0
        tops = self.top_logprobs
        return Ask(
            model=None,
            params={},
            logprobs=True,
            top_logprobs=min(max(tops, wanted), _MOST_ALTERNATIVES),
            alternatives=tops,
        )

    def judge(self, response: Any) -> Judgement:
        """Judge a chat completion, or the chunks of a streamed one.

        ``response`` is an ``openai`` ChatCompletion, the same as a mapping, or an iterable of chunks in either form;
        the request must have asked for logprobs. Raises UpstreamGarbage where the response has no choice or cannot be
        read.
        """
        one = _is_one(response)
        completion = _CHAT.read(_json_of(response), self.ask()) if one else self._completion_of(response)
        return self.judge_completion(completion)

    def _completion_of(self, chunks: Iterable[Any]) -> Completion:
        request = _CHAT.parse(b'{"model":"","messages":[{}],"stream":true,"logprobs":true,"n":128}')
        reader = _CHAT.stream(request, self.ask(), hold=True, watch=None)
        for chunk in chunks:
            reader.feed(b"data: %b\n\n" % _json_of(chunk))
        reader.feed(b"data: %b\n\n" % DONE)
        return reader.completion()

    def judge_completion(self, completion: Completion) -> Judgement:
        """Judge what a surface has read; raises UpstreamGarbage where there is no choice."""
        return Judgement(
            tuple(
                ChoiceJudgement(c.index, d.decision, d.reason, d.confidence, d.threshold, d.score, d.detail)
                for c, d in zip(completion.choices, self._decisions(completion), strict=True)
            )
        )

    def verdict(self, completion: Completion, abstain_text: str) -> Verdict:
        """Return the verdict by which a surface renders the response; raises UpstreamGarbage without a choice."""
        choices, decisions = completion.choices, self._decisions(completion)
        withheld = frozenset(
            choice.index
            for choice, decision in zip(choices, decisions, strict=True)
            if not decision.served and not choice.refusal
        )
        report = Report(
            route=self.policy.name,
            mode="enforce",
            policy=self.policy.name,
            certified=False,
            choices=report_choices(decisions, choices),
        )
        thoughts = frozenset(choice.index for choice in choices if choice.thoughts) - withheld
        return Verdict(decisions, withheld, report, abstain_text, thoughts)

    def _decisions(self, completion: Completion) -> tuple[Decision, ...]:
        if any(choice.missing for choice in completion.choices):
            raise UpstreamGarbage("the response has no choices, so there is nothing to judge")
        return tuple(self._decide(choice) for choice in completion.choices)

    def _decide(self, choice: Choice) -> Decision:
        if choice.unreadable is not None:
            limit = self.gate.limit_for(choice.evidence)
            return Decision("abstain", "unmeasured", threshold=limit, detail=choice.unreadable)
        if choice.refusal:
            return Decision("abstain", "upstream_abstained", threshold=self.gate.limit_for(choice.evidence))
        if choice.tool_call:
            return Decision("answer", "tool_call", threshold=self.gate.limit_for(choice.evidence))
        return self.gate.decide(choice.evidence)


def surface_of(path: str) -> Surface | None:
    """Return the surface whose answers come from this path of an API, or None."""
    plain = path.rstrip("/")
    return next((surface for surface in SURFACES.values() if plain.endswith(surface.path)), None)


def _is_one(response: Any) -> bool:
    return isinstance(response, dict) or hasattr(response, "model_dump_json")


def _json_of(response: Any) -> bytes:
    """Return a response or chunk as JSON; unset fields stay absent."""
    if isinstance(response, dict):
        return msgspec.json.encode(response)
    if hasattr(response, "model_dump_json"):
        text: str = response.model_dump_json(exclude_unset=True)
        return text.encode()
    kind: Mapping[str, str] = {"type": type(response).__name__}
    raise TypeError(f"judge takes a ChatCompletion, a mapping or chunks of a stream, not {kind['type']}")
