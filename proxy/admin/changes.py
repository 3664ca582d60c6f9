"""What the page changes: the threshold of a policy, and which of its versions is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gating import Policy
from gating.types import GatingError
from proxy.admin.figures import fixed, name_of
from proxy.admin.shapes import Done
from proxy.exceptions import BadRequest, HttpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.admin.shapes import Apply, RollBack
    from proxy.requests.route import Route
    from proxy.storage import Store, StoredPolicy


def moved(saved: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """The policy with another threshold.

    A certificate speaks of one threshold, and not even of the stricter ones: it goes with the old one. Raises
    BadRequest.
    """
    changed = dict(saved)
    if threshold != saved.get("threshold"):
        changed |= {"threshold": threshold, "certificate": None}
        if isinstance(saved.get("conditions"), dict):
            changed["conditions"] = _conditions_moved(saved["conditions"], saved.get("threshold"), threshold)
    try:
        Policy.load(changed)
    except GatingError as exc:
        raise BadRequest(str(exc), param="threshold") from exc
    return changed


def _conditions_moved(conditions: Mapping[str, Any], old: float | None, new: float) -> dict[str, Any]:
    """Conditions at the ``old`` threshold get the ``new`` one; stricter ones stay at least as strict.

    One that was withheld whole stays so.
    """

    def moved_to(threshold: float | None) -> float | None:
        if threshold is None:
            return None
        return new if threshold == old else max(threshold, new)

    groups = {
        name: {**group, "threshold": moved_to(group["threshold"]), "certificate": None}
        for name, group in conditions.get("groups", {}).items()
    }
    return {**conditions, "groups": groups}


async def apply(store: Store, route: Route, asked: Apply, now: float) -> Done:
    """Push a version with the threshold, if the one that was looked at is still in force; raises HttpError."""
    stored = await _looked_at(store, route, asked.version, needs_threshold=True)
    if stored.policy.get("threshold") == asked.threshold:
        raise BadRequest("that is the threshold in force already", param="threshold")
    policy = moved(stored.policy, asked.threshold)
    return _done(await store.push_policy(stored.name, policy, asked.who, now))


async def roll_back(store: Store, route: Route, asked: RollBack, now: float) -> Done:
    """Put an older version in force again, with the certificate that it has; raises HttpError."""
    stored = await _looked_at(store, route, asked.in_force, needs_threshold=False)
    if asked.version == stored.version:
        raise BadRequest("that is the version in force already", param="version")
    return _done(await store.roll_back(stored.name, asked.version, asked.who, now))


async def _looked_at(store: Store, route: Route, version: int, *, needs_threshold: bool) -> StoredPolicy:
    name, reason = name_of(route), fixed(route)
    if name is None or (needs_threshold and reason is not None):
        raise _conflict(reason or "the route's policy is not in the store")
    stored = await store.policy(name)
    if stored is None or stored.version != version:
        raise _conflict("another version is in force meanwhile; look again, then apply")
    return stored


def _conflict(message: str) -> HttpError:
    return HttpError(message, status=409, type="invalid_request_error", code="conflict")


def _done(stored: StoredPolicy) -> Done:
    certified = stored.policy.get("certificate") is not None
    return Done(
        policy=stored.label,
        threshold=stored.policy.get("threshold"),
        certified=certified,
        said=f"{stored.label} is in force" + ("" if certified else ", not certified at this threshold"),
    )
