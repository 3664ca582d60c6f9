"""`idk check --example` shows what of a request is context, or says in one line what is wrong."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run
from tests.proxy.policies import POLICY

CONFIG = """
upstreams: {u: {base_url: http://127.0.0.1:9/v1}}
routes:
  - {name: docs, models: [docs], upstream: u, model: big, rag: {context: '(?s)<c>(.*?)</c>', rescue: true}}
  - {name: plain, models: [plain], upstream: u}
"""
WITH_POLICY = """
upstreams: {u: {base_url: http://127.0.0.1:9/v1}}
routes:
  - {name: r, models: ['*'], upstream: u, mode: enforce, policy: p.json}
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


def test_what_differs_from_the_labels_is_said_with_the_fix(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(f"{__name__}.CONFIG", WITH_POLICY)
    (tmp_path / "p.json").write_text(json.dumps(POLICY.to_dict()))
    status, said = check(tmp_path, capsys, asking("m", "Why?", temperature=0))
    assert status == 0
    assert "temperature: 0; the policy was fitted with no value" in said.out
    assert "set `match: pin`" in said.out
    status, said = check(tmp_path, capsys, asking("m", "Why?", tools=[{"type": "function"}]), "--json")
    told = json.loads(said.out)
    assert told["judged"] is False
    assert told["detail"].startswith("tools: ")
    status, said = check(tmp_path, capsys, asking("m", "Why?"), "--json")
    assert (json.loads(said.out)["judged"], json.loads(said.out)["detail"]) == (True, None)


def test_a_policy_of_the_older_kind_is_to_be_tuned_again(tmp_path, capsys):
    (tmp_path / "idk.yaml").write_text(WITH_POLICY)
    for fingerprint, older in (
        ({"model": "m", "temperature": 0}, True),
        ({"model": "m", "fields": {}}, False),
    ):
        (tmp_path / "p.json").write_text(json.dumps({**POLICY.to_dict(), "fingerprint": fingerprint}))
        assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 0
        assert ("tune again" in capsys.readouterr().out) is older


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
