"""``idk label`` in a pseudo-terminal, and the records that it exports."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from proxy.offline.labelling.judge import PROMPT
from tests.admin_store import ROUTE, config, fill
from tests.e2e.proxies import IDK, idk, one_line, route, with_store, write_config
from tests.fakes import DEADLINE_S, answer, says

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes import FakeUpstream

STORE = ("--store", "sqlite:///idk.db")


class Terminal:
    """The command behind a pseudo-terminal."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [IDK, "label", *arguments],
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def until(self, words: str, times: int = 1) -> None:
        """Read until the words have come so often."""
        end = time.monotonic() + DEADLINE_S
        while len(re.findall(words, self.text)) < times:
            assert time.monotonic() < end, self.text
            if select.select([self._master], [], [], 0.5)[0]:
                try:
                    self.text += os.read(self._master, 65_536).decode()
                except OSError:  # it has ended
                    assert len(re.findall(words, self.text)) >= times, self.text

    def press(self, key: str) -> None:
        os.write(self._master, key.encode())

    def ends(self) -> int:
        return self._process.wait(DEADLINE_S)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def labels(folder: Path) -> list[tuple[str, str]]:
    found = with_store(folder, "sqlite:///idk.db", lambda store: store.labelled(ROUTE, "audit"))
    return sorted((each.label.id, each.label.label) for each in found)


def test_one_key_an_answer_undo_and_going_on(tmp_path):
    fill(tmp_path, decisions=10, drawn=4, labelled=0)
    with Terminal(*STORE, "--route", ROUTE, "--who", "ada", cwd=tmp_path) as terminal:
        terminal.until("Answer of")
        terminal.press("x")  # not a key of the session
        terminal.press("c")
        terminal.until("→ correct")
        terminal.until("Answer of", 2)
        terminal.press("u")
        terminal.until("→ back")
        terminal.until("Answer of", 3)
        terminal.press("i")
        terminal.until("→ incorrect")
        terminal.until("Answer of", 4)
        terminal.press("s")
        terminal.until("→ skipped")
        terminal.until("Answer of", 5)
        terminal.press("q")
        terminal.until("1 labelled")
        assert terminal.ends() == 0
    assert [label for _, label in labels(tmp_path)] == ["incorrect"]
    with Terminal(*STORE, "--route", ROUTE, cwd=tmp_path) as terminal:
        for place in range(3):
            terminal.until("Answer of", place + 1)
            terminal.press("a")
            terminal.until("→ abstained", place + 1)
        terminal.until("No answer is left")
        assert terminal.ends() == 0
    assert [label for _, label in labels(tmp_path)].count("abstained") == 3


def test_ctrl_c_ends_it_and_the_terminal_is_as_before(tmp_path):
    fill(tmp_path, decisions=10, drawn=4, labelled=0)
    with Terminal(*STORE, "--route", ROUTE, cwd=tmp_path) as terminal:
        terminal.until("Answer of")
        terminal._process.send_signal(2)
        assert terminal.ends() == 130


def test_a_judge_proposes_and_the_agreement_is_shown(upstream: FakeUpstream, tmp_path):
    fill(tmp_path, decisions=10, drawn=3, labelled=0)
    made = config(upstream.base_url)
    made["routes"].append(route("judge"))
    write_config(tmp_path, made)

    async def asked(store: Any) -> list[Any]:
        return [item for item, _ in await store.audit(ROUTE)]

    for item in with_store(tmp_path, "sqlite:///idk.db", asked):
        prompt = PROMPT.format(question=item.answer.question, answer=item.answer.answer)
        upstream.script(answer(says("CORRECT")), prompt=prompt)
    with Terminal("--route", ROUTE, "--judge", "judge", cwd=tmp_path) as terminal:
        for place, key in enumerate("cic"):
            terminal.until("The judge proposes: correct", place + 1)
            terminal.press(key)
        terminal.until("agree on 2 of 3")
        assert terminal.ends() == 0


def test_without_a_terminal_it_says_so(tmp_path):
    fill(tmp_path, decisions=4, drawn=2, labelled=0)
    one_line(idk("label", *STORE, "--route", ROUTE, cwd=tmp_path), "needs a terminal")


def test_what_is_exported_tunes_a_policy(tmp_path):
    fill(tmp_path, decisions=500, drawn=400, labelled=390)
    done = idk("label", "export", *STORE, "--route", ROUTE, "--out", "r.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "r.jsonl: 390 records" in done.stdout
    line = json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])
    assert (line["propensity"], line["made_with"]) == (0.02, {"model": ROUTE})
    tuned = idk(
        "tune", "--records", "r.jsonl", "--target-risk", "0.3", "--out", "p.json", "--json", cwd=tmp_path
    )
    assert tuned.returncode == 0, tuned.stderr
    assert sum(json.loads(tuned.stdout)["n"].values()) == 390


@pytest.mark.parametrize("arguments", [("--route", "nobody"), ()])
def test_nothing_to_export(tmp_path, arguments):
    fill(tmp_path, decisions=4, drawn=2, labelled=0)
    done = idk("label", "export", *STORE, *arguments, "--out", "r.jsonl", cwd=tmp_path)
    assert done.returncode == (1 if arguments else 2)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "r.jsonl").exists()
