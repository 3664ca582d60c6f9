"""Changes that the page makes to policies: another threshold, or an older version in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gating import Policy
from gating.types import GatingError
from proxy.admin.route_figures import name_of, why_fixed
from proxy.admin.schema import Done
from proxy.exceptions import BadRequest, HttpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.admin.schema import Apply, RollBack
    from proxy.requests.route import Route
    from proxy.storage import Store, StoredPolicy


def with_threshold(saved: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """Return the policy with another threshold and without its certificate; raises BadRequest.

    A certificate holds for one threshold alone, not even for stricter ones.
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
    """Give conditions at the ``old`` threshold the ``new`` one, and keep stricter conditions at least as strict.

    A condition whose answers are all withheld (threshold None) stays so.
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
    """Push a version with the new threshold, if the version on the page is still in force; raises HttpError."""
    stored = await _version_on_page(store, route, asked.version, needs_threshold=True)
    if stored.policy.get("threshold") == asked.threshold:
        raise BadRequest("this threshold is in force already", param="threshold")
    policy = with_threshold(stored.policy, asked.threshold)
    return _done(await store.push_policy(stored.name, policy, asked.who, now))


async def roll_back(store: Store, route: Route, asked: RollBack, now: float) -> Done:
    """Put an older version, with its certificate, in force again; raises HttpError."""
    stored = await _version_on_page(store, route, asked.in_force, needs_threshold=False)
    if asked.version == stored.version:
        raise BadRequest("this version is in force already", param="version")
    return _done(await store.roll_back(stored.name, asked.version, asked.who, now))


async def _version_on_page(
    store: Store, route: Route, version: int, *, needs_threshold: bool
) -> StoredPolicy:
    name, reason = name_of(route), why_fixed(route)
    if name is None or (needs_threshold and reason is not None):
        raise _conflict(reason or "the route's policy is not in the store")
    stored = await store.policy(name)
    if stored is None or stored.version != version:
        raise _conflict("another version is in force since; reload the page, then apply the change again")
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
