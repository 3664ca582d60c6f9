"""The commands ``idk policy``: push, list, show and roll back the policies of a store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.output import print_json, print_line
from proxy.cli.store_options import AsJson, ConfigFile, StoreUrl, Who, user_name, with_store
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from proxy.control.policies import PolicyName
    from proxy.storage import PolicyChange, Store, StoredPolicy

app = typer.Typer(help="Push, list, show and roll back the policies of a store.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The policy's name in the store.")]
_IDK_YAML = Path("idk.yaml")


@app.command()
def push(
    file: Annotated[Path, typer.Argument(help="The policy, as `idk tune` writes it.")],
    name: Annotated[str, typer.Option(help="Name in the store; the policy becomes its next version.")],
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Put a policy in force on every replica, within a second."""
    from proxy.control.policies import load_policy, read_policy

    load_policy(file, "policy push")  # rejects a policy that no proxy could use
    saved = read_policy(file, "policy push")
    named = _parsed(name)
    if named.version is not None:
        raise ConfigError(
            f"policy push: --name {name}: the store assigns the version; remove @{named.version}"
        )
    stored = with_store(store, config, lambda s: s.push_policy(named.name, saved, user_name(who), time()))
    _print_result(stored, as_json=as_json)


@app.command()
def rollback(
    name: Named,
    store: StoreUrl = None,
    config: ConfigFile = _IDK_YAML,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Put an older version in force: the previous one, or the one given as NAME@VERSION."""
    named = _parsed(name)
    stored = with_store(
        store, config, lambda s: s.roll_back(named.name, named.version, user_name(who), time())
    )
    _print_result(stored, as_json=as_json)


@app.command("list")
def list_policies(store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False) -> None:
    """List every version of every policy; * marks the version in force."""
    found = with_store(store, config, lambda s: s.policies(), "read")
    if as_json:
        print_json([_values(each) for each in found])
        return
    if not found:
        print_line("the store has no policies; add one with `idk policy push FILE --name NAME`")
    for each in found:
        mark = "*" if each.in_force else " "
        print_line(f"{mark} {each.label:24} {_when(each.at)}  {each.who:16} {_summary(each.policy)}")


@app.command()
def show(
    name: Named, store: StoreUrl = None, config: ConfigFile = _IDK_YAML, as_json: AsJson = False
) -> None:
    """Show one version, by default the one in force, and the history of its name; --json prints the policy's file."""
    named = _parsed(name)

    async def read(s: Store) -> tuple[StoredPolicy | None, list[PolicyChange]]:
        return await s.policy(named.name, named.version), await s.history(named.name)

    stored, history = with_store(store, config, read, "read")
    if stored is None:
        raise ConfigError(
            f"policy show: the store has no policy `{name}`; `idk policy list` lists those it has"
        )
    if as_json:
        print_json(stored.policy)
        return
    print_line(
        f"{stored.label}: {'in force' if stored.in_force else 'not in force'}, {_summary(stored.policy)}"
    )
    for change in history:
        print_line(f"  {_when(change.at)}  {change.action:9} {change.name}@{change.version}  {change.who}")


def _parsed(name: str) -> PolicyName:
    from proxy.control.policies import PolicyName

    named = PolicyName.parse(name)
    if named is None:
        raise ConfigError(
            f"policy: {name!r} is not a policy's name; use letters, digits, `_`, `-` and `.`, not ending in .json, "
            "optionally followed by @VERSION"
        )
    return named


def _print_result(stored: StoredPolicy, *, as_json: bool) -> None:
    if as_json:
        print_json(_values(stored))
    else:
        print_line(f"{stored.label} is in force")


def _values(stored: StoredPolicy) -> dict[str, Any]:
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


def _summary(policy: dict[str, Any]) -> str:
    threshold, certificate = policy.get("threshold"), policy.get("certificate")
    at = "no single threshold" if threshold is None else f"threshold {threshold:.3g}"
    if not certificate:
        return f"{at}, not certified"
    return f"{at}, certified at risk {certificate['target_risk']:g}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
