"""Writing of output files: nothing is destroyed, written lines survive a kill, and new files are private."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy import records
from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE_WITH = {"model": "m"}


def record(name: str) -> records.Record:
    return records.Record(id=name, answer="Paris", label="correct", made_with=MADE_WITH)


def appended(path: Path, *names: str) -> None:
    with records.Appender(path, MADE_WITH) as sink:
        for name in names:
            sink.append(record(name))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    records.write(path, "old\n")

    def breaks() -> Iterator[bytes]:
        yield b"new"
        raise ConfigError("stopped")

    with pytest.raises(ConfigError, match="stopped"):
        records.write_lines(path, breaks())
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        records.write(tmp_path / "absent" / "policy.json", "new")


def test_new_files_are_private_and_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        records.write(tmp_path / "new.html", "x")
        records.write(tmp_path / "policy.json", "x", private=False)
        appended(tmp_path / "records.jsonl", "a")
        assert (mode(tmp_path / "new.html"), mode(tmp_path / "records.jsonl")) == (0o600, 0o600)
        assert mode(tmp_path / "policy.json") == 0o644
        for name in ("new.html", "records.jsonl"):
            (tmp_path / name).chmod(0o664)
        records.write(tmp_path / "new.html", "y")
        appended(tmp_path / "records.jsonl", "b")
        assert (mode(tmp_path / "new.html"), mode(tmp_path / "records.jsonl")) == (0o664, 0o664)
    finally:
        os.umask(before)


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    records.write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new\n"


def test_a_guessed_temporary_name_is_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".out.{os.getpid()}").symlink_to(victim)
    records.write(tmp_path / "out", "new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "out").read_text() == "new\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no such devices")
def test_devices_are_written_through() -> None:
    records.write(Path("/dev/null"), "x")
    appended(Path("/dev/null"), "a")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(ConfigError, match="/dev/full: cannot be written: No space left"):
        records.write(Path("/dev/full"), "x")
    with (
        records.Appender(Path("/dev/full"), MADE_WITH) as sink,
        pytest.raises(RunError, match="No space left"),
    ):
        sink.append(record("a"))


def test_fifos_are_written_through(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[str] = []

    def read() -> None:
        got.append(fifo.read_text())

    for write in (lambda: records.write(fifo, "whole"), lambda: appended(fifo, "a")):
        reader = threading.Thread(target=read)
        reader.start()
        write()
        reader.join(10)
    assert got[0] == "whole\n"
    assert json.loads(got[1])["id"] == "a"
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("half", [b"", b'{"answ', b'{"answer":"Par', b'{"answer":"' + b"x" * 200_000])
def test_appending_continues_after_the_last_whole_line(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "records.jsonl"
    appended(path, "a")
    with path.open("ab") as file:
        file.write(half)
    appended(path, "b")
    assert [found.id for found, _ in records.lines(path, records.Record)] == ["a", "b"]


def test_a_last_record_without_a_line_break_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(records.encoded(record("a")))
    with records.Appender(path, MADE_WITH) as sink:
        assert sink.done == {"a"}
        sink.append(record("b"))
    assert [found.id for found, _ in records.lines(path, records.Record)] == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        b"important",
        b"x" * 200_000,
        b"important\nnotes",
        b"a,b\n1,2\n",
        b'[{"id": "1"},',
        b'{"id": "b"',
        records.encoded(records.Record(id="x", answer="", label="correct")) + b"\n",
        b'{"id": "x", "made_with": {"model": "m"}}\nnotes',
    ],
)
def test_a_foreign_file_is_refused_and_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        records.Appender(path, MADE_WITH)
    assert path.read_bytes() == content


def test_an_appended_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with records.Appender(path, MADE_WITH) as sink:
        sink.append(record("a"))
        assert path.read_bytes().endswith(b"\n")
        with pytest.raises(ConfigError, match="another command is writing it"):
            records.Appender(path, MADE_WITH)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        records.Appender(tmp_path / "absent" / "records.jsonl", MADE_WITH)


def test_outputs_that_destroy_something_are_refused(tmp_path: Path) -> None:
    kept, link, hard = tmp_path / "kept", tmp_path / "link", tmp_path / "hard"
    kept.write_text("labels")
    link.symlink_to(kept)
    hard.hardlink_to(kept)
    for path in (kept, link, hard, tmp_path / "x" / ".." / "kept"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=r"^--out: .* is also given as --records"):
            records.check_outputs({"--out": path}, {"--records": kept})
    with pytest.raises(ConfigError, match=r"^--report: .* is also given as --out"):
        records.check_outputs({"--out": tmp_path / "new", "--report": tmp_path / "new"}, {})
    for path in (Path(), Path(), tmp_path):
        with pytest.raises(ConfigError, match="is a folder; give the name of a file"):
            records.check_outputs({"--out": path}, {})
    with pytest.raises(ConfigError, match="does not exist; create it first"):
        records.check_outputs({"--out": tmp_path / "absent" / "file"}, {})
    records.check_outputs(
        {"--out": Path("/dev/null"), "--report": Path("/dev/null")}, {"--records": kept, "--examples": None}
    )
