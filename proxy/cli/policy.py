"""``idk policy``: the policies in a store, their versions, and which of them is in force."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.stores import AsJson, ConfigFile, StoreUrl, Who, printed, who_is, with_store
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from proxy.control.policies import PolicyName
    from proxy.storage import PolicyChange, Store, StoredPolicy

app = typer.Typer(help="Policies in a store: push, list, show, rollback.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The policy's name in the store.")]
_IDK_YAML = Path("idk.yaml")


@app.command()
def push(
    file: Annotated[Path, typer.Argument(help="What `idk tune` wrote.")],
    name: Annotated[str, typer.Option(help="Under which name; its next version is made.")],
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Put a policy in force: on every replica, within a second."""
    from proxy.control.policies import load_policy, read_policy

    load_policy(file, "policy push")  # what no proxy could use is no policy
    saved = read_policy(file, "policy push")
    named = _parsed(name)
    if named.version is not None:
        raise ConfigError(
            f"policy push: --name {name}: the store counts the versions; leave @{named.version} out"
        )
    stored = with_store(store, config, lambda s: s.push_policy(named.name, saved, who_is(who), time()))
    _said(stored, as_json=as_json)


@app.command()
def rollback(
    name: Named,
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Put an older version in force: the one before, or the one that is named."""
    named = _parsed(name)
    stored = with_store(store, config, lambda s: s.roll_back(named.name, named.version, who_is(who), time()))
    _said(stored, as_json=as_json)


@app.command("list")
def list_policies(store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False) -> None:
    """Every version of every policy; * is in force."""
    found = with_store(store, config, lambda s: s.policies())
    if as_json:
        printed([_described(each) for each in found])
        return
    if not found:
        print("there are no policies; `idk policy push FILE --name NAME` puts one there")
    for each in found:
        mark = "*" if each.in_force else " "
        print(f"{mark} {each.label:24} {_when(each.at)}  {each.who:16} {_in_words(each.policy)}")


@app.command()
def show(
    name: Named, store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False
) -> None:
    """One version (by default the one in force) and the history of its name; --json prints the policy too."""
    named = _parsed(name)

    async def read(s: Store) -> tuple[StoredPolicy | None, list[PolicyChange]]:
        return await s.policy(named.name, named.version), await s.history(named.name)

    stored, history = with_store(store, config, read)
    if stored is None:
        raise ConfigError(
            f"policy show: there is no policy `{name}` in the store; `idk policy list` names them"
        )
    if as_json:
        printed({**_described(stored), "content": stored.policy, "history": history})
        return
    print(f"{stored.label}: {'in force' if stored.in_force else 'not in force'}, {_in_words(stored.policy)}")
    for change in history:
        print(f"  {_when(change.at)}  {change.action:9} {change.name}@{change.version}  {change.who}")


def _parsed(name: str) -> PolicyName:
    from proxy.control.policies import PolicyName

    named = PolicyName.parse(name)
    if named is None:
        raise ConfigError(
            f"policy: {name!r} is no policy's name: letters, digits, `_`, `-` and `.`, not ending in .json, "
            "and perhaps @VERSION"
        )
    return named


def _said(stored: StoredPolicy, *, as_json: bool) -> None:
    if as_json:
        printed(_described(stored))
    else:
        print(f"{stored.label} is in force")


def _described(stored: StoredPolicy) -> dict[str, Any]:
    return {
        "policy": stored.label,
        "name": stored.name,
        "version": stored.version,
        "in_force": stored.in_force,
        "who": stored.who,
        "at": datetime.fromtimestamp(stored.at, UTC).isoformat(timespec="seconds"),
        "threshold": stored.policy.get("threshold"),
        "certificate": stored.policy.get("certificate"),
    }


def _in_words(policy: dict[str, Any]) -> str:
    threshold, certificate = policy.get("threshold"), policy.get("certificate")
    at = "no threshold of its own" if threshold is None else f"threshold {threshold:.3g}"
    if not certificate:
        return f"{at}, not certified"
    return f"{at}, certified at risk {certificate['target_risk']:g}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
