"""What every client's script asks for; it runs in the client's own environment, without the project."""

from __future__ import annotations

import json
import sys

BASE_URL = sys.argv[1] if len(sys.argv) > 1 else ""
MODEL = "gated"
#: Prompt by case. The upstream is sure of the first answer and unsure of the second.
PROMPTS = {"answer": "the sure question", "abstain": "the unsure question"}
#: The same where the client asks for JSON.
JSON_PROMPTS = {"answer": "the sure question in JSON", "abstain": "the unsure question in JSON"}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


def show(**cases: object) -> None:
    """Print the last line of a script: the results of each case as JSON."""
    print(json.dumps(cases))
