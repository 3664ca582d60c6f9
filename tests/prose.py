"""List prose that does not make sense by itself: ``python -m tests.prose [PATH ...]``.

Checked are docstrings, comments and texts of Python files, and Markdown outside code blocks. A docstring must not
open with a reference to something outside it; a function's docstring opens with a verb; and some words are replaced
by plainer ones (see ``WORDS``). The exit status is 1 where something is found.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parent.parent
#: What is checked where no path is given.
PLACES: Final = (
    "calibrators",
    "gating",
    "proxy",
    "tests",
    "docs",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)
#: Files that quote the words: this list itself and its test.
EXEMPT: Final = ("tests/prose.py", "tests/test_prose.py")

#: Openings that refer to something outside the docstring.
DANGLING: Final = re.compile(
    r"(The same|The one|The ones|The other|The others|The whole|Those|These|That|This|They|It|Its|Their|Them|Of|"
    r"In words|"
    r"As the|As a|As it|As they|So many|So much|Such|All that|All of|Both|None|Nothing|Nobody|Whoever|Who|Likewise|"
    r"Also|And|But|For the|For a|From the|By the|Beside|Meanwhile)\b"
)
#: Words that open a noun phrase or a clause: a function's docstring opens with a verb in their place.
NO_VERB: Final = re.compile(
    r"(The|A|An|What|Whether|Which|How|Where|When|Why|At|On|In|To|With|Without|If|One|Every|Each|Some|Any|No|Minus|"
    r"Until|After|Before|Plain|Several|Seconds|Bytes)\b"
)
#: Words and phrases of which the style guide has a plainer form, with that form.
WORDS: Final = {
    r"mend(s|ed|ing)?": "fix",
    r"whoever": "the client, the user",
    r"nobody": "no client, no user; or the passive",
    r"(goes|go|went|going|gone) out\b(?! of)": "is sent",
    r"(as (it|they) stands?|what stands)": "name the thing",
    r"of (its|their|our|his) own": "own, separate, dedicated",
    r"in earnest": "in production",
    r"under way": "in flight, in progress",
    r"is deaf|deaf to": "stops accepting",
    r"doors?": "endpoint, router",
    r"keeper": "reloader",
    r"meanwhile": "in the meantime, since",
    r"turns? to (another|one another)": "calls",
    r"hark|whither|hence|thereof|whereof|thereby|thus": "a plainer word",
}
_WORDS: Final = tuple(
    (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), plain) for pattern, plain in WORDS.items()
)
_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_CODE: Final = re.compile(r"``[^`]*``|`[^`]*`|https?://\S+|\]\([^)]*\)")


class Finding(NamedTuple):
    """One place to rewrite."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{self.line}: {self.what}"


def findings(paths: Sequence[Path]) -> list[Finding]:
    """Return every finding in these files and folders, in the order of the files."""
    found: list[Finding] = []
    for path in _files(paths):
        text = path.read_text(encoding="utf-8")
        found.extend(_python(path, text) if path.suffix == ".py" else _markdown(path, text))
    return found


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            name = file.resolve().relative_to(ROOT).as_posix() if file.resolve().is_relative_to(ROOT) else ""
            if file.suffix in (".py", ".md") and name not in EXEMPT and "__pycache__" not in file.parts:
                yield file


def _python(path: Path, text: str) -> Iterator[Finding]:
    tree = ast.parse(text)
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstring(path, node, docstrings)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from _message(path, node.lineno, node.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from _words(path, token.start[0], token.string)


def _docstring(
    path: Path, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, seen: set[int]
) -> Iterator[Finding]:
    text = ast.get_docstring(node)
    if text is None:
        return
    first = node.body[0]
    assert isinstance(first, ast.Expr)
    seen.add(id(first.value))
    opening = text.split("\n")[0]
    line = first.lineno
    if DANGLING.match(opening):
        yield Finding(path, line, f"the docstring opens with a dangling reference: {opening[:60]!r}")
    elif _is_function(node) and NO_VERB.match(opening):
        yield Finding(path, line, f"the function's docstring does not open with a verb: {opening[:60]!r}")
    for offset, each in enumerate(text.split("\n")):
        yield from _words(path, line + offset, each)


def _message(path: Path, line: int, text: str) -> Iterator[Finding]:
    """Check a string of several words on one line: a message, not a name or a template."""
    if text.count(" ") >= 2 and "\n" not in text.strip():
        yield from _words(path, line, text)


def _is_function(node: ast.AST) -> bool:
    """Return whether a docstring must open with a verb: tests tell a fact, and properties and fixtures name a thing."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("test_"):
        return False
    decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
    return not re.search(r"property|fixture|given|\.command|\.callback", decorators)


def _markdown(path: Path, text: str) -> Iterator[Finding]:
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield from _words(path, number, line)


def _words(path: Path, line: int, text: str) -> Iterator[Finding]:
    plain = _CODE.sub("", text)
    for pattern, better in _WORDS:
        for found in pattern.finditer(plain):
            yield Finding(path, line, f"{found.group()!r}: write {better}")


def main(arguments: Sequence[str]) -> int:
    """Print the findings of the given paths; return 1 where there are any."""
    found = findings([Path(each) for each in arguments] or [ROOT / place for place in PLACES])
    for each in found:
        print(each)
    print(f"{len(found)} findings", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
