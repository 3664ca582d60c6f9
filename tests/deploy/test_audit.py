"""Tests of the audit of the lock files, with pip-audit itself and a service of advisories on loopback."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy.audit import CLEAN, FOUND, NOT_AUDITED, main, read
from tests.deploy.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIP_AUDIT = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
LOCK = ROOT / "deploy" / "build.lock"


@contextmanager
def advisories(of: dict[str, Any]) -> Iterator[str]:
    """Start a service in OSV's format with advisories by package name, and yield its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = of.get(asked["package"]["name"])
            body = json.dumps({"vulns": [found]} if found else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log no request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audited(url: str) -> int:
    if not PIP_AUDIT.exists():
        pytest.fail("pip-audit is not installed: run make test-deploy")
    return main([str(PIP_AUDIT), "--lock", str(LOCK), "--service", "osv", "--osv-url", url])


def test_no_advisory_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with advisories({}) as url:
        assert audited(url) == CLEAN
    assert "0 advisories" in capsys.readouterr().out


def test_an_advisory_is_named_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]
    package = {"name": "pluggy", "ecosystem": "PyPI"}
    affected = [{"package": package, "ranges": ranges, "versions": []}]
    with advisories({"pluggy": {"id": "PYSEC-1", "summary": "a hole", "affected": affected}}) as url:
        assert audited(url) == FOUND
    said = capsys.readouterr().out
    assert "pluggy" in said
    assert "PYSEC-1 (fixed in 99.0)" in said


def test_an_unreachable_service_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert audited("http://127.0.0.1:9/v1/query") == NOT_AUDITED
    said = capsys.readouterr().out
    assert "NOT AUDITED" in said
    assert "did not pass" in said


def test_an_unknown_package_does_not_pass() -> None:
    known = {"name": "a", "version": "1", "vulns": []}
    unknown = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (1)"}
    assert read({"dependencies": [known]}).status == CLEAN
    assert read({"dependencies": [known, unknown]}) == (1, (), ("b",))
    assert read({"dependencies": [known, unknown]}).status == NOT_AUDITED
    assert read({"dependencies": []}).status == NOT_AUDITED


def test_every_lock_file_pins_by_hash(tmp_path: Path) -> None:
    locks = sorted((ROOT / "deploy").glob("*.lock"))
    assert [lock.name for lock in locks] == ["build.lock", "requirements-litellm.lock", "requirements.lock"]
    for lock in locks:
        pins = [line for line in lock.read_text().splitlines() if line and line[0] not in " #"]
        assert pins
        for pin in pins:
            assert "==" in pin, pin
            assert pin.endswith(" \\"), pin  # its hashes follow
