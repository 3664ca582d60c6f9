"""``idk score``: what a policy says of each answer of a file."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gating import Gate


def score(
    records: Annotated[Path, typer.Option("--records", help="Answers; a label is not needed.")],
    policy: Annotated[Path, typer.Option("--policy", help="The policy, as `idk tune` writes it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the records with their verdicts.")],
) -> None:
    """Add score, confidence, decision and reason to each record."""
    from gating import Gate
    from gating.types import GatingError
    from proxy import records as files
    from proxy.control.policies import load_policy

    try:
        gate = Gate(load_policy(policy, "--policy"))
    except GatingError as exc:
        raise ConfigError(f"{policy}: {exc}") from exc
    files.write_lines(out, _scored(records, gate))


def _scored(records: Path, gate: Gate) -> Iterator[bytes]:
    """Each record's own fields, and what the gate says, as lines."""
    import msgspec

    from proxy import records as files

    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for answer, line in files.lines(records, files.Answer):
        said = gate.decide(answer.evidence())
        verdict = {
            "score": said.score,
            "confidence": said.confidence,
            "decision": said.decision,
            "reason": said.reason,
        }
        yield msgspec.json.encode(fields.decode(line) | verdict)
