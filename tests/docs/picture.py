"""Draw the front page's risk-coverage curve from graded answers of a real model: ``make picture``.

``python -m tests.docs.picture RECORDS OUT`` runs `idk tune` and takes the curve from its report, which covers
the test split only: answers that neither the fit nor the threshold used.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

IDK: Final = Path(sys.executable).with_name("idk")
#: Light colours with a background, since a README may be read on a dark page.
STYLE: Final = """
svg { background: #fbfaf7; font: 13px system-ui, sans-serif; }
.tick, .axis, .count, .note { fill: #6b6f76; } .rule { stroke: #dedbd2; }
.end { text-anchor: end; } .middle { text-anchor: middle; } .label { font-weight: 600; }
.halo { paint-order: stroke; stroke: #fbfaf7; stroke-width: 4px; }
.band { fill: #24539c24; } .curve { fill: none; stroke: #24539c; stroke-width: 2; stroke-linejoin: round; }
.target { stroke: #b5451b; stroke-width: 1.5; stroke-dasharray: 5 4; }
.threshold { stroke: #22252a; stroke-dasharray: 2 3; } .chosen { fill: #22252a; stroke: #fbfaf7; stroke-width: 2.5; }
"""


def main() -> None:
    """Tune a policy and extract the curve from its report."""
    records, out = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        command = [
            IDK,
            "tune",
            "--records",
            records,
            "--wrong-cost",
            "3",
            "--out",
            Path(folder) / "policy.json",
        ]
        subprocess.run([*map(str, command), "--report", str(report)], check=True)
        pictures = re.findall(r"<svg.*?</svg>", report.read_text(), re.DOTALL)
    (picture,) = [each for each in pictures if "wrong, of the answered" in each]
    picture = picture.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    out.write_text(re.sub(r"(<svg[^>]*>)", rf"\1<style>{STYLE}</style>", picture, count=1) + "\n")


if __name__ == "__main__":
    main()
