"""What commands print: texts of others cannot steer the terminal, and every line goes through one function."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import proxy.cli
from proxy.cli.output import cell, escaped, exit_status, print_json, print_line
from proxy.exceptions import RunError

HOSTILE = "a\tb\r\n\x1b[2J\x07\x9b31m\u202e\u2028\x7f"


def test_control_characters_are_written_out():
    assert escaped(HOSTILE) == r"a\tb\r\n\x1b[2J\x07\x9b31m\u202e\u2028\x7f"
    assert escaped("é 漢字 🙂 'quoted'") == "é 漢字 🙂 'quoted'"
    assert escaped("a\nb\tc\x1b", keep="\n\t") == "a\nb\tc\\x1b"
    assert escaped("half \udc80") == r"half \udc80"


def test_a_line_stays_one_line(capsys):
    print_line(HOSTILE)
    assert capsys.readouterr().out == escaped(HOSTILE) + "\n"


def test_an_error_stays_one_line(capsys):
    def fail():
        raise RunError(f"upstream says {HOSTILE}")

    assert exit_status(fail) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "\x1b" not in error


def test_a_cell_of_a_table_is_text_without_markup():
    assert cell("[red]\x1b").plain == "[red]\\x1b"


@pytest.mark.parametrize(
    "path", sorted(Path(proxy.cli.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_commands_print_through_the_escaping_functions(path):
    """Only constants and JSON may be printed directly."""
    if path.name == "output.py":
        return
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    unsafe = [
        node.lineno
        for node in calls
        if not all(
            isinstance(each, ast.Constant) or re.search("json|version", ast.unparse(each).lower())
            for each in node.args
        )
    ]
    assert not unsafe, f"{path.name}: use print_line in lines {unsafe}"


def test_json_holds_no_control_character_and_still_means_the_same(capsys):
    print_json({"name": HOSTILE + "\U000e0001 é"})
    said = capsys.readouterr().out
    assert said.removesuffix("\n").isprintable()
    assert json.loads(said) == {"name": HOSTILE + "\U000e0001 é"}
