"""The command ``idk report``."""

from __future__ import annotations

import json

import msgspec
import pytest

from gating import SCORERS
from gating.combine import Single
from proxy import records as files
from proxy.cli.main import run
from tests.proxy.offline.report.made import CERTIFICATE, policy, record, records


def report(folder, rows, *options, page=True, **changes):
    source, saved, out = folder / "records.jsonl", folder / "policy.json", folder / "report.html"
    files.write_lines(source, map(msgspec.json.encode, rows))
    saved.write_text(json.dumps(policy(**changes).to_dict()))
    to = ("--out", str(out)) if page else ()
    return run(["report", "--records", str(source), "--policy", str(saved), *to, *options]), out


def test_a_page_is_written_and_told_in_a_few_lines(tmp_path, capsys):
    status, out = report(tmp_path, records())
    told = capsys.readouterr().out
    assert status == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "support on 400 answers" in told
    assert "without the gate: wrong" in told
    assert len(told.splitlines()) < 10


def test_json_gives_the_pages_figures(tmp_path, capsys):
    status, out = report(tmp_path, records(), "--json")
    figures = json.loads(capsys.readouterr().out)
    assert (status, out.exists()) == (0, True)
    assert figures["records"] == {"name": "records.jsonl", "split": "given"}
    gated = figures["gated"]
    assert gated["right"] + gated["wrong"] + gated["abstained"] == figures["n"] == 400
    assert figures["policy"]["threshold"] == 0.5


def test_json_alone_writes_no_page(tmp_path, capsys):
    status, out = report(tmp_path, [], "--json", page=False)
    figures = json.loads(capsys.readouterr().out)
    assert (status, out.exists()) == (0, False)
    assert figures["quality"]["auroc"] is figures["gated"]["risk"] is None


def test_neither_is_bad_usage(tmp_path, capsys):
    assert report(tmp_path, [], page=False)[0] == 2
    assert "give --out for the page" in capsys.readouterr().err


def test_warnings_are_told(tmp_path, capsys):
    rows = [record(row, -0.1, "incorrect") for row in range(50)]
    assert report(tmp_path, rows, certificate=CERTIFICATE, fingerprint={"model": "m"})[0] == 0
    told = capsys.readouterr().out
    assert "contradict the certificate" in told
    assert "50 records without the policy's fingerprint" in told
    assert report(tmp_path, rows, threshold=None, name="[bold]x[/]")[0] == 0
    told = capsys.readouterr().out
    assert "the policy has no threshold" in told
    assert "[bold]x[/]" in told


def stronger(folder):
    """Write the records and the policy of a stronger route, and return them as options."""
    source, saved = folder / "strong.jsonl", folder / "strong.json"
    rows = [record(row, -0.1, "correct") for row in range(50)]
    files.write_lines(source, map(msgspec.json.encode, rows))
    saved.write_text(json.dumps(policy(name="strong").to_dict()))
    return ["--escalate-records", str(source), "--escalate-policy", str(saved)]


def test_a_cascade_is_told_and_in_the_figures(tmp_path, capsys):
    rows = [record(row, -0.1 if row < 20 else -3.0, "incorrect") for row in range(50)]
    options = stronger(tmp_path)
    assert report(tmp_path, rows, *options)[0] == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "of 50 requests support answers 20; of the 30 requests that are escalated strong answers 30, 0 of"
        in said
    )
    assert report(tmp_path, rows, *options, "--json", "--wait", "sequential", "--sequential", "0.1")[0] == 0
    found = json.loads(capsys.readouterr().out)["cascade"]
    assert [stage["reached"] for stage in found["stages"]] == [50, 30]
    assert found["ways"]["cascade"]["outcome"]["risk"] == 0.4
    assert found["ways"]["cascade"]["generations"] == 1.6


def test_what_samples_cost_is_told(tmp_path, capsys):
    rows = [record(row, -0.1, "correct", samples=["Paris"] * 4) for row in range(5)]
    by_votes = {"combination": Single(SCORERS["agreement_exact"])}
    assert report(tmp_path, rows, "--sequential", "0.2", **by_votes)[0] == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "by when samples are drawn" in said
    assert "sequential, level" in said


@pytest.mark.parametrize(("wanted", "message"), [
    (lambda both: both[:2], "--escalate-records and --escalate-policy must be given together"),
    (lambda both: both[2:], "--escalate-records and --escalate-policy must be given together"),
    (lambda both: [*both, "--wait", "never"], "--wait: 'never' is not one of its values; use none, band, sequential"),
])  # fmt: skip
def test_half_a_cascade_is_bad_usage(tmp_path, capsys, wanted, message):
    assert report(tmp_path, [record(0, -0.1, "correct")], *wanted(stronger(tmp_path)))[0] == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said


def test_two_files_without_a_question_in_common_are_one_line(tmp_path, capsys):
    assert report(tmp_path, [record("x", -0.1, "correct")], *stronger(tmp_path))[0] == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "the files have no id in common" in said


@pytest.mark.parametrize(
    ("line", "message"), [("{}", "line 1: Object missing required field"), ("{", "line 1: not JSON")]
)
def test_bad_records_are_one_line(tmp_path, capsys, line, message):
    _, out = report(tmp_path, [])
    out.unlink()
    (tmp_path / "records.jsonl").write_text(line)
    capsys.readouterr()
    arguments = ["--records", str(tmp_path / "records.jsonl"), "--policy", str(tmp_path / "policy.json")]
    assert run(["report", *arguments, "--out", str(out)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said
    assert not out.exists()
