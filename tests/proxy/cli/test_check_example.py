"""`idk check --example` shows what of a request is context, or says in one line what is wrong."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run

CONFIG = """
upstreams: {u: {base_url: http://127.0.0.1:9/v1}}
routes:
  - {name: docs, models: [docs], upstream: u, model: big, rag: {context: '(?s)<c>(.*?)</c>', rescue: true}}
  - {name: plain, models: [plain], upstream: u}
"""


def check(folder, capsys, request, *options):
    (folder / "idk.yaml").write_text(CONFIG)
    (folder / "request.json").write_text(request if isinstance(request, str) else json.dumps(request))
    arguments = ["check", "--config", str(folder / "idk.yaml"), "--example", str(folder / "request.json")]
    return run([*arguments, *options]), capsys.readouterr()


def asking(model, text, **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def test_the_passages_and_both_questions_are_shown(tmp_path, capsys):
    status, said = check(tmp_path, capsys, asking("docs", "<c>Paris is old.</c> How old?"))
    assert status == 0
    assert "taken by the route docs" in said.out
    assert "passage 1: 'Paris is old.'" in said.out
    assert 'without passages: {"model":"big","messages":[{"role":"user","content":"How old?"}]}' in said.out
    status, said = check(tmp_path, capsys, asking("docs", "Hm", idk={"context": ["A"]}), "--json")
    told = json.loads(said.out)
    assert (told["context"], told["with"]["messages"][0]["content"]) == (["A"], "A\n\nHm")
    assert told["without"]["messages"][0]["content"] == "Hm"


def test_a_request_without_context_is_as_any_other(tmp_path, capsys):
    status, said = check(tmp_path, capsys, asking("plain", "<c>A</c> How old?"))
    assert status == 0
    assert "it contains no passages" in said.out
    assert "no question is left" in check(tmp_path, capsys, asking("docs", "<c>A</c>"))[1].out


@pytest.mark.parametrize(("request_", "options", "message"), [
    ("{", (), "request.json: the body is not JSON"),
    (asking("none", "?"), (), "no route takes it"),
    (asking("plain", "?", idk={"context": ["A"]}), (), "the route plain reads no passages; set its rag.context"),
    (asking("docs", "?"), ("--surface", "fax"), "--surface: 'fax' is not a wire format"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path, capsys, request_, options, message):
    status, said = check(tmp_path, capsys, request_, *options)
    assert status == 2
    assert message in said.err
    assert said.err.count("\n") == 1


def test_an_example_that_is_not_there(tmp_path, capsys):
    (tmp_path / "idk.yaml").write_text(CONFIG)
    arguments = ["check", "--config", str(tmp_path / "idk.yaml"), "--example", str(tmp_path / "none.json")]
    assert run(arguments) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err


def test_a_pattern_that_is_none_is_refused_at_load(tmp_path, capsys):
    (tmp_path / "idk.yaml").write_text(CONFIG.replace("(.*?)", "(.*?"))
    assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 2
    assert "routes.docs.rag.context: " in capsys.readouterr().err
