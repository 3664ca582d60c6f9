"""Look up the locked packages among the published advisories: ``python -m tests.deploy.audit PIP_AUDIT``.

The exit status is 0 if every package was looked up and none has an advisory, 1 if a package has an advisory, and 3 if
a package could not be looked up. pip-audit alone skips a package that its service does not know, and exits with 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parent.parent.parent
CLEAN, FOUND, NOT_AUDITED = 0, 1, 3
#: Services to ask in this order, until one knows every package. The second collects advisories from more sources.
SERVICES: Final = ("pypi", "osv")


class Looked(NamedTuple):
    """The result for one lock file: packages looked up, advisories found, packages not looked up."""

    audited: int
    found: tuple[str, ...]
    missed: tuple[str, ...]

    @property
    def status(self) -> int:
        """Return the exit status; a known advisory outweighs a package that could not be looked up."""
        if self.found:
            return FOUND
        return NOT_AUDITED if self.missed or not self.audited else CLEAN


def read(report: Any) -> Looked:
    """Read the JSON report of pip-audit."""
    found: list[str] = []
    missed: list[str] = []
    audited = 0
    for each in report["dependencies"]:
        if "skip_reason" in each:
            missed.append(each["name"])
            continue
        audited += 1
        for advisory in each["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            found.append(f"{each['name']} {each['version']}: {advisory['id']} (fixed in {fixed})")
    return Looked(audited, tuple(found), tuple(missed))


def look(program: Path, lock: Path, service: str, extra: Sequence[str]) -> Looked | str:
    """Look up one lock file at one service; return the reason as text if the service did not answer."""
    command = [program, "--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    run = subprocess.run(
        [*map(str, command), f"--vulnerability-service={service}", *extra, "-r", str(lock)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        return read(json.loads(run.stdout))
    except json.JSONDecodeError:
        said = run.stderr.strip().splitlines()
        return said[-1] if said else f"pip-audit ended with {run.returncode}"


def audit(program: Path, lock: Path, services: Sequence[str], extra: Sequence[str]) -> int:
    """Print the result for one lock file and return its exit status."""
    statuses: list[int] = []
    for service in services:
        looked = look(program, lock, service, extra)
        if isinstance(looked, str):
            print(f"{lock.name}: NOT AUDITED, {service} did not answer: {looked}")
            statuses.append(NOT_AUDITED)
            continue
        statuses.append(looked.status)
        for line in looked.found:
            print(f"{lock.name}: {line}")
        if looked.status == NOT_AUDITED:
            count = f"{len(looked.missed)} of {len(looked.missed) + looked.audited} packages"
            print(
                f"{lock.name}: NOT AUDITED, {service} does not know {count}: {', '.join(looked.missed[:3])}, …"
            )
        else:
            print(
                f"{lock.name}: {looked.audited} packages looked up at {service}, {len(looked.found)} advisories"
            )
            break
    if FOUND in statuses:
        return FOUND
    return statuses[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit all lock files and return the worst exit status: an advisory first, then a missing look-up."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.audit", description=__doc__)
    parser.add_argument("program", type=Path, help="pip-audit")
    parser.add_argument("--lock", type=Path, action="append", help="a lock file (default: deploy/*.lock)")
    parser.add_argument("--service", action="append", choices=SERVICES, help="default: all, in turn")
    parser.add_argument("--osv-url", help="another OSV service than api.osv.dev")
    options = parser.parse_args(arguments)
    extra = [] if options.osv_url is None else [f"--osv-url={options.osv_url}"]
    locks = options.lock or sorted((ROOT / "deploy").glob("*.lock"))
    statuses = [audit(options.program, lock, options.service or SERVICES, extra) for lock in locks]
    worst = FOUND if FOUND in statuses else max(statuses)
    if worst == NOT_AUDITED:
        print("no advisory was found, but not every package could be looked up: the audit did not pass")
    return worst


if __name__ == "__main__":
    sys.exit(main())
