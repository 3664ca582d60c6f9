"""Fingerprints: what answers were made with, and how a request differs from those of the labelled answers.

A fingerprint has keys of the route (``upstream``, ``model``, ``samples`` …), and under ``fields`` the request fields
that shape an answer, by their canonical names; a field that a request did not set is missing. A policy's fingerprint
lists in ``combinations`` the values of the fields that varied among its labels. Fingerprints without ``fields`` are of
an older kind that knows four sampling parameters; they are compared as before, and certify nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

#: The key of the request fields, of the combinations of their values, and of the models that gave labelled answers.
FIELDS: Final = "fields"
COMBINATIONS: Final = "combinations"
ANSWERED_BY: Final = "answered_by"
#: The field that limits an answer's length. It is in a fingerprint only if it cut the answer off.
LIMIT: Final = "max_tokens"
#: The field of the system prompt, and its value in a policy whose labels had many different system prompts.
SYSTEM: Final = "system"
ANY_SYSTEM: Final = "any of several"
#: The fewest labels for the fit that a combination of field values needs to be listed.
LEAST_LABELS: Final = 20
#: The request fields that older fingerprints hold, at the top level; None where a request did not set one.
OLDER_FIELDS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
#: Fields that come from the conversation or the answer, rather than from the settings of a run.
_OF_QUESTIONS: Final = frozenset({"system", "prefill", "media", "earlier_turns", "message_fields", LIMIT})
_ABSENT: Final = object()


class Difference(NamedTuple):
    """One field in which a request differs from the labelled ones; None means that the field is not set."""

    field: str
    live: Any
    fitted: Any

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.live)}; the policy was fitted with {_shown(self.fitted)}"


def _shown(value: Any) -> str:
    return "no value" if value is None else value if isinstance(value, str) else json.dumps(value)


def same(one: Any, other: Any) -> bool:
    """Return whether two values mean the same: 1 equals 1.0, and a boolean equals no number."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_complete(fingerprint: Mapping[str, Any]) -> bool:
    """Return whether the fingerprint holds all request fields, as a certificate requires."""
    return FIELDS in fingerprint


def differences(
    fitted: Mapping[str, Any], live: Mapping[str, Any], *, ignored: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Return how a request with the fingerprint ``live`` differs from the labelled ones; () if it matches.

    ``ignored`` names keys and fields that are not compared. The length limit is compared by ``cut_differs``.
    """
    if not fitted:
        return ()
    if not is_complete(fitted):
        fields = live.get(FIELDS, {})
        older = {**{name: fields.get(name) for name in OLDER_FIELDS}, **live}
        return tuple(
            Difference(key, older.get(key), value)
            for key, value in fitted.items()
            if key not in ignored and older.get(key, _ABSENT) != value
        )
    # A policy that is written by hand need not name the upstream and the model.
    unnamed = {"upstream", "model"} - fitted.keys()
    found = _unlike(_own(fitted), _own(live), {*ignored, *unnamed})
    ignored = {*ignored, LIMIT}
    fields = live.get(FIELDS, {})
    varied = {name for each in _combinations(fitted) for name in each} - ignored
    pinned = _unlike(fitted[FIELDS], {k: v for k, v in fields.items() if k not in varied}, ignored)
    return (*found, *pinned, *_nearest(list(_combinations(fitted)), fields, varied))


def cut_differs(fitted: Mapping[str, Any], limit: Any) -> Difference | None:
    """Return the difference in the length limit of an answer that ``limit`` cut off; None if labels had the same."""
    if not is_complete(fitted):
        return None
    known = [fitted[FIELDS].get(LIMIT), *(each.get(LIMIT) for each in _combinations(fitted))]
    if any(value is not None and same(value, limit) for value in known):
        return None
    return Difference(
        LIMIT, limit, next((value for value in known if value is not None), "no answer cut off")
    )


def answered_by_other(fitted: Mapping[str, Any], model: str | None) -> bool:
    """Return whether a response names another model than those that gave the labelled answers."""
    known: Collection[str] = fitted.get(ANSWERED_BY) or ()
    return bool(known) and model not in known


def described(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint as a flat table: one line for each setting, field, and combination with its labels."""
    lines = _own(fingerprint) | dict(fingerprint.get(FIELDS, {}))
    if fingerprint.get(ANSWERED_BY):
        lines["answered by"] = ", ".join(fingerprint[ANSWERED_BY])
    for number, each in enumerate(fingerprint.get(COMBINATIONS, ()), start=1):
        values = ", ".join(f"{name} {_shown(value)}" for name, value in each["values"].items())
        counts = ", ".join(f"{count} {split}" for split, count in each.get("labels", {}).items())
        lines[f"requests {number}"] = f"{values} ({counts})" if counts else values
    return lines


def without_answer(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint without what depends on the question and its answer: the settings of a run."""
    fields = {name: value for name, value in fingerprint.get(FIELDS, {}).items() if name not in _OF_QUESTIONS}
    return {**_own(fingerprint), **({FIELDS: fields} if is_complete(fingerprint) else {})}


def settings(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a fingerprint in which the labels of one policy must agree."""
    return _own(fingerprint)


def _own(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    special = (FIELDS, COMBINATIONS, ANSWERED_BY)
    return {key: value for key, value in fingerprint.items() if key not in special}


def _combinations(fitted: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (each["values"] for each in fitted.get(COMBINATIONS, ()))


def _unlike(
    fitted: Mapping[str, Any], live: Mapping[str, Any], ignored: Collection[str]
) -> Iterable[Difference]:
    for name in [*fitted, *(name for name in live if name not in fitted)]:
        ours, theirs = fitted.get(name), live.get(name)
        if name not in ignored and not same(ours, theirs):
            yield Difference(name, theirs, ours)


def _nearest(
    listed: Sequence[Mapping[str, Any]], live: Mapping[str, Any], varied: Collection[str]
) -> Iterable[Difference]:
    """Return the differences from the listed combination that is closest to the request's values."""
    candidates: list[list[Difference]] = [
        [
            Difference(name, live.get(name), each.get(name))
            for name in sorted(varied)
            if not same(live.get(name), each.get(name))
        ]
        for each in listed
    ]
    return min(candidates, key=len, default=[])


class Learnt(NamedTuple):
    """The fields of a policy's fingerprint, and which kinds of requests (k,) the policy keeps."""

    fields: dict[str, Any]
    combinations: list[dict[str, Any]]
    kept: frozenset[int]


def learn(kinds: Sequence[Mapping[str, Any]], labels: Mapping[str, Sequence[int]]) -> Learnt | None:
    """Pin what was constant among the labels, and list the combinations of what varied.

    ``kinds`` (k,) are the fields of each kind of request, and ``labels["fit"]`` (k,) counts their labels in the
    split for fitting; other splits are counted too. Correctness is not looked at. With few labels, where no kind has
    ``LEAST_LABELS``, the kind of more than half of them is kept alone. Returns None if there is no such kind.
    """
    counts = labels["fit"]
    kept = [number for number in range(len(kinds)) if len(kinds) == 1 or counts[number] >= LEAST_LABELS]
    if not kept:
        most = max(range(len(kinds)), key=counts.__getitem__)
        if 2 * counts[most] <= sum(counts):
            return None
        kept = [most]
    first = kinds[kept[0]]
    names = sorted({name for number in kept for name in kinds[number]})
    varied = [
        name for name in names if not all(same(kinds[number].get(name), first.get(name)) for number in kept)
    ]
    combinations = [
        {
            "values": {name: kinds[number].get(name) for name in varied},
            "labels": {split: int(theirs[number]) for split, theirs in labels.items()},
        }
        for number in kept
    ]
    fields = {name: first[name] for name in names if name not in varied and name in first}
    return Learnt(fields, combinations if varied else [], frozenset(kept))
