"""The prose of code, messages and documentation, and that the check sees what it is for."""

from __future__ import annotations

import pytest

from tests.prose import PLACES, ROOT, findings, main


def test_no_prose_needs_rewriting():
    found = findings([ROOT / place for place in PLACES])
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.py", '"""The same without escapes."""\n', "dangling reference"),
        ("a.py", 'class A:\n    """Those that wait."""\n', "dangling reference"),
        ("a.py", 'def f():\n    """The threshold in force."""\n', "does not open with a verb"),
        ("a.py", "x = 1  # whoever asks\n", "whoever"),
        ("a.py", 'raise ValueError("nobody knows this key")\n', "nobody"),
        ("a.md", "A typo is mended by hand.\n", "mended"),
    ],
)
def test_a_riddle_is_found(tmp_path, name, text, what):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert [what in str(found) for found in findings([path])] == [True]
    assert main([str(path)]) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", '"""Streams of events."""\n\n\ndef f():\n    """Return the threshold."""\n'),
        ("a.py", 'class A:\n    @property\n    def f(self):\n        """The threshold in force."""\n'),
        ("a.md", "```\nnobody mends code\n```\n\nThe word `nobody` is code here.\n"),
    ],
)
def test_plain_prose_passes(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert findings([path]) == []
    assert main([str(path)]) == 0
