"""The command ``idk score``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gating import Gate


def score(
    records: Annotated[
        Path, typer.Option("--records", help="Answers, as `idk evaluate` writes them; a label is not needed.")
    ],
    policy: Annotated[Path, typer.Option("--policy", help="The policy, as `idk tune` writes it.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Where to write the records with score, confidence, decision and reason."
        ),
    ],
) -> None:
    """Add a policy's score, confidence, decision and reason to each record."""
    from gating import Gate
    from gating.types import GatingError
    from proxy import records as files
    from proxy.control.policies import load_policy

    files.check_outputs({"--out": out}, {"--records": records, "--policy": policy})
    try:
        gate = Gate(load_policy(policy, "--policy"))
    except GatingError as exc:
        raise ConfigError(f"{policy}: {exc}") from exc
    files.write_lines(out, _scored(records, gate))


def _scored(records: Path, gate: Gate) -> Iterator[bytes]:
    """Yield each record as a line, with the gate's verdict beside its own fields."""
    import msgspec

    from proxy import records as files

    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for answer, line in files.lines(records, files.Answer):
        decided = gate.decide(answer.evidence())
        verdict = {
            "score": decided.score,
            "confidence": decided.confidence,
            "decision": decided.decision,
            "reason": decided.reason,
        }
        yield msgspec.json.encode(fields.decode(line) | verdict)
