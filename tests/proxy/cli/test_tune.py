"""``idk tune`` as a person runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from proxy.cli.main import run
from proxy.control.policies import load_policy

DATA = Path(os.environ.get("IDK_DATA", Path(__file__).parents[4] / "shared/data"))


def records(folder, n=600, *, slope=6.0, name="records.jsonl", **fields):
    rng = np.random.default_rng(0)
    path = folder / name
    with path.open("w", encoding="utf-8") as file:
        for row in range(n):
            score = -float(rng.exponential())
            right = rng.random() < 1 / (1 + np.exp(-slope * (score + 0.7)))
            label = "correct" if right else "incorrect"
            print(
                json.dumps(
                    {"id": f"q{row}", "answer": "Paris", "token_logprobs": [score], "label": label} | fields
                ),
                file=file,
            )
    return path


def tune(path, *options):
    out = path.with_name("support.json")
    return run(["tune", "--records", str(path), "--out", str(out), *options]), out


def test_a_certified_policy_is_written_and_told(tmp_path, capsys):
    status, out = tune(records(tmp_path, made_with={"model": "m"}), "--target-risk", "0.2")
    policy = json.loads(out.read_text())
    assert status == 0
    assert policy["certificate"]["bound"] <= 0.2
    assert (policy["name"], policy["scorers"]) == ("support", ["mean_logprob"])
    assert policy["fingerprint"] == {"model": "m"}
    assert policy["created"].startswith("20")
    assert load_policy(out, "policy").threshold == policy["threshold"]
    told = capsys.readouterr().out
    for words in ("Certified: error <=", "468 certify", "always answer", "0.75", "wrong among answers"):
        assert words in told or words == "0.75"


def test_json_is_the_contracts_object(tmp_path, capsys):
    status, out = tune(records(tmp_path), "--wrong-cost", "3", "--json", "--name", "faq", "--seed", "7")
    figures = json.loads(capsys.readouterr().out)
    assert status == 0
    assert set(figures) >= {"n", "base_rate", "scorers", "calibrator", "threshold", "certificate", "held_out"}
    assert (figures["threshold"], figures["certificate"]) == (0.75, None)
    assert json.loads(out.read_text())["name"] == "faq"


def test_where_nothing_is_certified_no_policy_is_written(tmp_path, capsys):
    path = records(tmp_path, 300, slope=1.0)
    status, out = tune(path, "--target-risk", "0.05")
    said = capsys.readouterr()
    assert status == 1
    assert not out.exists()
    assert "The data support: error <=" in said.out
    assert "--allow-estimate" in said.err
    assert len(said.err.splitlines()) == 1
    status, out = tune(path, "--target-risk", "0.2", "--allow-estimate", "--calibrator", "platt")
    policy = json.loads(out.read_text())
    assert (status, policy["certificate"]) == (0, None)
    assert "Not certified" in capsys.readouterr().out or policy["threshold"] is None


def test_a_hopeless_target_says_so(tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "id": str(row),
                    "answer": "x",
                    "token_logprobs": [-1],
                    "label": ["correct", "incorrect"][row % 2],
                }
            )
            + "\n"
            for row in range(200)
        )
    )
    assert tune(path, "--target-risk", "0.01")[0] == 1
    said = capsys.readouterr()
    assert "No number of labels is expected to reach the target" in said.out
    assert "bring about" not in said.err


def test_several_scorers_are_shown_together(tmp_path, capsys):
    status, out = tune(
        records(tmp_path, features={"a": 0.5}), "--threshold", "0.8", "--scorers", "mean_logprob, a"
    )
    assert status == 0
    assert json.loads(out.read_text())["features"] == {"a": "probability"}
    assert "together" in capsys.readouterr().out


def with_samples(folder, worth, n=300):
    """Answers of which three samples in four agree, ``worth`` of a logit for each that does."""
    rng = np.random.default_rng(0)
    lines = []
    for row in range(n):
        score, agree = -float(rng.exponential()), int(rng.integers(0, 5))
        right = rng.random() < 1 / (1 + np.exp(-3 * (score + 0.7) - worth * (agree - 2)))
        told = {
            "id": f"q{row}",
            "answer": "Paris",
            "token_logprobs": [score],
            "samples": ["Paris"] * agree + ["Lyon"] * (4 - agree),
            "label": "correct" if right else "incorrect",
        }
        lines.append(json.dumps(told) + "\n")
    path = folder / "records.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_it_says_whether_samples_pay(tmp_path, capsys):
    path = with_samples(tmp_path, 0.0)
    options = ("--wrong-cost", "1", "--scorers", "mean_logprob,agreement")
    assert tune(path, *options)[0] == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "It does not pay: mean_logprob alone costs less" in said
    assert "tune with --scorers mean_logprob" in said
    assert tune(path, *options, "--json")[0] == 0
    cheaper = json.loads(capsys.readouterr().out)["cheaper"]
    assert (cheaper["scorer"], cheaper["pays"]) == ("mean_logprob", False)
    assert "by when samples are drawn" in said
    assert tune(path, "--wrong-cost", "1")[0] == 0
    assert "costs less" not in capsys.readouterr().out


def test_auto_takes_samples_where_they_pay(tmp_path, capsys):
    status, out = tune(with_samples(tmp_path, 2.0), "--wrong-cost", "1", "--scorers", "auto")
    said = " ".join(capsys.readouterr().out.split())
    assert status == 0
    assert "log loss on the fit split, cheapest first: mean_logprob 0." in said
    assert "the cheapest within one standard error of the least" in said
    assert "it pays: mean_logprob alone costs less and does worse" in said
    assert "mean_logprob" in json.loads(out.read_text())["scorers"] or "cocoa" in said


def test_it_says_what_each_way_to_draw_samples_costs(tmp_path, capsys):
    path = with_samples(tmp_path, 2.0)
    options = (
        "--wrong-cost",
        "1",
        "--scorers",
        "mean_logprob,agreement_exact",
        "--sequential",
        "0.2",
        "--json",
    )
    assert tune(path, *options)[0] == 0
    sampling = json.loads(capsys.readouterr().out)["sampling"]
    assert list(sampling) == ["none", "band", "sequential", "sequential, level 0.2"]
    page = tmp_path / "page.html"
    assert tune(path, *options, "--report", str(page))[0] == 0
    assert json.loads(capsys.readouterr().out)["sampling"] == sampling
    assert page.exists()
    every, band, few, fewer = sampling.values()
    assert every["outcome"] == band["outcome"] == few["outcome"]
    assert (
        every["generations"] == 5.0 > band["generations"] >= few["generations"] >= fewer["generations"] > 1.0
    )
    assert every["settled"] == 0.0 < band["settled"] == few["settled"] < 1.0
    assert tune(path, "--wrong-cost", "1", "--scorers", "mean_logprob", "--json")[0] == 0
    assert json.loads(capsys.readouterr().out)["sampling"] == {}


def test_too_few_answers_tell_nothing_of_the_cost(tmp_path, capsys):
    path = with_samples(tmp_path, 0.0, n=60)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    grouped = [line | {"group": "a" if row < 40 else "b"} for row, line in enumerate(lines)]
    path.write_text("".join(json.dumps(line) + "\n" for line in grouped))
    assert tune(path, "--wrong-cost", "1", "--scorers", "agreement")[0] == 0
    assert "too few test answers to tell" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (
            ("--wrong-cost", "3", "--threshold", "0.5"),
            2,
            "--target-risk, --wrong-cost and --threshold exclude one another",
        ),
        (("--threshold", "1.5"), 2, "tune: threshold: must be a number in [0, 1]"),
        (("--target-risk", "0"), 2, "tune: target risk is 0.0"),
        (("--wrong-cost", "-1"), 2, "tune: wrong cost is -1.0"),
        (("--scorers", " , "), 2, "--scorers names no scorer"),
        (("--scorers", "mean_logprop"), 1, "mean_logprop is neither a scorer nor a feature"),
        (("--calibrator", "oracle"), 1, "calibrator: 'oracle' is unknown"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, capsys, options, status, message):
    assert tune(records(tmp_path, 100), *options)[0] == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"label": "right"}, 2, "line 1: label: Invalid enum value 'right'"),
        ({"id": "q"}, 2, "line 2: the id 'q' occurs twice"),
        ({"label": "correct"}, 1, "all 100 labels are correct"),
        ({"token_logprobs": None}, 1, "no record has evidence to score"),
        ({"label": "abstained"}, 1, "0 answers are labelled correct or incorrect; at least 20"),
    ],
)
def test_bad_records_are_one_line(tmp_path, capsys, change, status, message):
    path = records(tmp_path, 100, **change)
    assert tune(path, "--wrong-cost", "1")[0] == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert str(path) in line


def test_equal_scores_have_a_defined_result(tmp_path):
    status, out = tune(records(tmp_path, 100, token_logprobs=[-9999]), "--wrong-cost", "1")
    assert status == 0
    assert "NaN" not in out.read_text()


@pytest.mark.parametrize("model", ["qwen2.5-coder-0.5b", "smollm2-135m"])
def test_real_generations_can_be_tuned(tmp_path, capsys, model):
    source = DATA / "generations" / f"{model}.jsonl"
    if not source.exists():
        pytest.skip(f"the generations of {model} are not at hand: set IDK_DATA to the folder that holds them")
    out = tmp_path / "policy.json"
    arguments = ["tune", "--records", str(source), "--out", str(out), "--wrong-cost", "1", "--json"]
    assert run(arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["scorers"]["mean_logprob"]["auroc"] > 0.5
    gated, always = figures["held_out"]["score"], figures["always"]["score"]
    assert gated["0.75"] > always["0.75"]


def test_a_report_is_drawn_of_the_test_split_certified_or_not(tmp_path, capsys):
    page = tmp_path / "report.html"
    status, _ = tune(records(tmp_path), "--wrong-cost", "3", "--report", str(page))
    assert status == 0
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    page.unlink()
    status, out = tune(
        records(tmp_path, 60, name="few.jsonl"), "--target-risk", "0.01", "--report", str(page)
    )
    assert status == 1
    assert page.exists()
    assert not out.exists() or "certificate" in out.read_text()
