"""Policies of routes, from files or from the store, and the store's alarms and keys that apply to them."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from gating import Policy
from gating.types import GatingError
from proxy.config import store_url
from proxy.exceptions import ConfigError
from proxy.records import strict_json
from proxy.storage import make_store, sealer_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from proxy.config import Config
    from proxy.config import Route as RouteConfig
    from proxy.storage import RiskState, Store, StoredKey, StoredPolicy
    from proxy.storage.access import Access
    from proxy.storage.types import Cause

#: ``support`` or ``support@3``; a text with a slash, or one that ends in .json, names a file.
_STORED = re.compile(r"(?P<name>(?!\.{1,2}(?:@|$))[A-Za-z0-9_.\-]{1,64})(?:@(?P<version>[1-9][0-9]{0,8}))?")

#: The largest policy file: an isotonic calibrator of a million levels is smaller.
_MAX_POLICY_BYTES = 100_000_000


class PolicyName(NamedTuple):
    """The name of a policy in the store; without a version it means the version in force."""

    name: str
    version: int | None

    @classmethod
    def parse(cls, text: str) -> PolicyName | None:
        """Parse ``text``; return None where it names a file."""
        found = _STORED.fullmatch(text)
        if found is None or text.endswith(".json"):
            return None
        version = found["version"]
        return cls(found["name"], None if version is None else int(version))


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy ready for use; responses show ``label``, and ``version`` identifies the policy uniquely."""

    policy: Policy
    label: str
    version: str


class Alarm(NamedTuple):
    """The finding that speaks against a version's certificate: labels (see ``cause``), or drift of confidences.

    Only labels of the audit sample change the gate; ``threshold`` is then the tightened threshold, if there is one.
    """

    version: str
    cause: Cause | None = None
    threshold: float | None = None
    drifted: bool = False

    @classmethod
    def of(cls, state: RiskState) -> Alarm:
        """Read the alarm from a stored risk state."""
        return cls(
            state.policy, state.cause, state.threshold if state.cause == "audit" else None, state.drifted
        )

    def revokes(self, route: RouteConfig) -> Cause | Literal["drift"] | None:
        """Return why the route's certificate is revoked; None where it holds."""
        if self.cause is not None:
            return self.cause
        return "drift" if self.drifted and route.on_drift != "warn" else None

    def tightens(self, route: RouteConfig) -> float | None:
        """Return the tightened threshold of the route; None where the policy's threshold applies."""
        return self.threshold if self.cause == "audit" and route.on_alarm == "tighten" else None

    def closes(self, route: RouteConfig) -> bool:
        """Return whether the route withholds every answer until another version is in force."""
        by_labels = self.cause == "audit" and route.on_alarm == "abstain"
        return by_labels or (self.drifted and route.on_drift == "abstain")


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """The store's last known content: policies by their text in the configuration, alarms by route, and keys.

    ``reached`` is False where the store has not been read yet, so that revocations are unknown.
    """

    policies: Mapping[str, StoredPolicy] = field(default_factory=dict)
    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    keys: tuple[StoredKey, ...] = ()
    reached: bool = True
    store: str = field(default="", compare=False)

    def alarm(self, route: str, version: str | None) -> Alarm | None:
        """Return the alarm on a route, if it concerns this version."""
        alarm = self.alarms.get(route)
        return alarm if alarm is not None and alarm.version == version else None

    def revoked(self, route: RouteConfig, version: str | None) -> bool:
        """Return whether the certificate of this version is revoked on the route, or may be."""
        alarm = self.alarm(route.name, version)
        return not self.reached or (alarm is not None and alarm.revokes(route) is not None)

    def closed(self, route: RouteConfig, version: str | None) -> bool:
        """Return whether the route withholds every answer under this version."""
        alarm = self.alarm(route.name, version)
        return alarm is not None and alarm.closes(route)


def stored_names(config: Config) -> set[str]:
    """Return the values of ``routes[].policy`` that name a policy in the store."""
    texts = {route.policy for route in config.routes if route.policy is not None and route.mode != "off"}
    return {text for text in texts if PolicyName.parse(text) is not None}


async def take_snapshot(store: Store, texts: Iterable[str]) -> StoreSnapshot:
    """Read the named policies, the alarms and the keys from an open store; raises StoreError."""
    found = {}
    for text in sorted(texts):
        named = PolicyName.parse(text)
        stored = None if named is None else await store.policy(named.name, named.version)
        if stored is not None:
            found[text] = stored
    alarms = {state.route: Alarm.of(state) for state in await store.risks() if state.alarm or state.drifted}
    return StoreSnapshot(found, alarms, tuple(await store.keys()), store=store.name)


def read_snapshot(
    config: Config, folder: Path, environ: Mapping[str, str], *, access: Access = "serve"
) -> StoreSnapshot:
    """Open the store, take a snapshot and close it, before an event loop runs; raises StoreError.

    Where no route names a policy in the store, the store is not opened.
    """
    texts = stored_names(config)
    if not texts:
        return StoreSnapshot()

    async def read() -> StoreSnapshot:
        store = store_of(config, folder, environ, access)
        try:
            await store.open()
            return await take_snapshot(store, texts)
        finally:
            await store.aclose()

    return asyncio.run(read())


def store_of(config: Config, folder: Path, environ: Mapping[str, str], access: Access = "serve") -> Store:
    """Create the configured store without opening it; raises ConfigError."""
    server = config.server
    return make_store(store_url(server, environ), folder, sealer_of(server.audit_key_env, environ), access)


def policy_of(route: RouteConfig, folder: Path, snapshot: StoreSnapshot) -> LoadedPolicy:
    """Return the policy of a route; raises ConfigError, which names the route and the fix."""
    place, text = f"routes.{route.name}.policy", route.policy or ""
    named = PolicyName.parse(text)
    if named is None:
        path = folder / text
        saved = read_policy(path, place)
        digest = hashlib.sha256(msgspec.json.encode(saved)).hexdigest()[:8]
        policy = _loaded(saved, f"{place}: {path}")
        return LoadedPolicy(policy, policy.name, f"{policy.name}#{digest}")
    stored = snapshot.policies.get(text)
    if stored is None:
        where = snapshot.store or "the store"
        raise ConfigError(
            f"{place}: there is no policy `{text}` in {where}; `idk policy push FILE --name {named.name} "
            "--store URL` puts one there (a file's name ends in .json)"
        )
    return LoadedPolicy(_loaded(stored.policy, f"{place}: {stored.label}"), stored.label, stored.label)


def load_policy(path: Path, place: str) -> Policy:
    """Read a policy's file; raises ConfigError, which names ``place`` and the file."""
    return _loaded(read_policy(path, place), f"{place}: {path}")


def read_policy(path: Path, place: str) -> dict[str, Any]:
    """Read a policy's file as JSON values; raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_POLICY_BYTES + 1)
        if len(content) > _MAX_POLICY_BYTES:
            raise ValueError(f"it is larger than {_MAX_POLICY_BYTES} bytes")
        saved = strict_json.decode(content.decode())
    except FileNotFoundError as exc:
        raise ConfigError(f"{place}: {path}: no such file; `idk tune` writes one") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigError(f"{place}: {path}: not a policy: {exc}") from exc
    if not isinstance(saved, dict):
        raise ConfigError(f"{place}: {path}: not a policy: a JSON object is expected; `idk tune` writes one")
    return saved


def _loaded(saved: Mapping[str, Any], place: str) -> Policy:
    try:
        return Policy.load(saved)
    except GatingError as exc:
        raise ConfigError(f"{place}: {exc}") from exc
