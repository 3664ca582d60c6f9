"""What holds for every test: the least coverage of each package, where coverage was asked for."""

from __future__ import annotations

import io
import signal
from pathlib import Path

import coverage
import hypothesis
import pytest

# What a test takes says how busy the machine is; speed belongs in the benchmarks.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
#: Line and branch coverage in percent. Where a certificate or a release is decided, nothing goes untested.
LEAST = {"calibrators": 100.0, "gating": 100.0, "proxy": 90.0}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of the whole suite whose coverage is too low."""
    if not session.config.pluginmanager.hasplugin("_cov") or not session.config.option.cov_source:
        return
    whole = not session.config.option.keyword and session.config.args in ([str(ROOT / "tests")], ["tests"])
    if not whole or session.exitstatus != pytest.ExitCode.OK:
        return
    measured = coverage.Coverage(data_file=str(ROOT / ".coverage"))
    measured.load()
    for package, least in LEAST.items():
        share = measured.report(include=f"{package}/*", file=io.StringIO(), ignore_errors=True)
        if share < least:
            session.config.stash[_LOW].append(f"{package}: {share:.2f} % covered, {least:g} % are needed")
    if session.config.stash[_LOW]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    """Make room for what is too low, and let what the tests start hear of Ctrl-C."""
    config.stash[_LOW] = []
    # A shell's job in the background ignores it, and so would its children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what is too low, before the closing line."""
    for line in config.stash[_LOW]:
        terminalreporter.write_line(f"coverage: {line}", red=True)


_LOW = pytest.StashKey[list[str]]()
