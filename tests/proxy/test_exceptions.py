"""Failures as one tree: what a client gets of each, and what may be tried again."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import proxy
from proxy import exceptions
from proxy.exceptions import (
    BadRequest,
    ConfigError,
    HttpError,
    ProxyError,
    RunError,
    UpstreamError,
    UpstreamGarbage,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
    failure_summary,
)


def leaves(kind):
    """Return the tree below ``kind``, without private kinds of other modules."""
    children = [child for child in kind.__subclasses__() if child.__module__ == exceptions.__name__]
    return {kind, *(leaf for child in children for leaf in leaves(child))}


HTTP = sorted(leaves(HttpError), key=lambda kind: kind.__name__)


def test_every_failure_stands_in_the_tree_that_opens_the_module():
    drawn = set(re.findall(r"\w+", exceptions.__doc__))
    assert {kind.__name__ for kind in leaves(ProxyError)} <= drawn
    assert not {ConfigError, RunError} & leaves(HttpError)


@pytest.mark.parametrize("kind", HTTP, ids=lambda kind: kind.__name__)
def test_a_failure_has_its_status_unless_it_is_given_another(kind):
    error = kind("what happened")
    assert (error.http_status, error.error_type, error.message) == (kind.status, kind.type, "what happened")
    assert 400 <= kind.status < 600
    given = kind("x", status=418, type="teapot", param="p", code="c", retry_after_s=2.0)
    assert (given.http_status, given.error_type, given.param, given.code) == (418, "teapot", "p", "c")
    assert given.retry_after_s == 2.0


def test_an_upstreams_failures_have_kinds_of_their_own():
    kinds = [kind.kind for kind in HTTP if issubclass(kind, UpstreamError)]
    assert len(kinds) == len(set(kinds)) == 8


@pytest.mark.parametrize("status", range(400, 600))
def test_which_statuses_may_pass(status):
    assert UpstreamStatus("x", status=status).may_retry is (
        status in (408, 409, 429, 500, 502, 503, 504, 529)
    )


@pytest.mark.parametrize("kind", [kind for kind in HTTP if issubclass(kind, UpstreamError)])
def test_only_what_cannot_have_been_paid_for_is_tried_again(kind):
    # An UpstreamStatus without a status is 502, which passes.
    assert kind("x").may_retry is (kind in (UpstreamUnreachable, UpstreamStatus))


def test_an_error_reads_as_its_message():
    assert str(BadRequest("n: too many", param="n")) == "n: too many"


@pytest.mark.parametrize(
    "error",
    [UpstreamStatus("SECRET\nline", status=429), UpstreamGarbage("SECRET"), UpstreamTimeout("SECRET")],
)
def test_the_log_describes_an_upstreams_error_without_its_text(error):
    summary = failure_summary(error)
    assert "SECRET" not in summary
    assert str(error.http_status) in summary
    assert error.kind in summary


def test_our_own_errors_are_logged_with_their_text():
    assert failure_summary(BadRequest("our words")) == "our words"
    assert failure_summary(TimeoutError()) == "no answer in time"


@pytest.mark.parametrize("package", ["requests", "gateway"])
def test_no_error_of_a_call_is_logged_as_it_is(package):
    """An upstream's error may repeat the prompt: the log gets ``failure_summary`` in its place."""
    found = []
    for path in sorted((Path(proxy.__file__).parent / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger."):
                raw = [
                    each for each in node.args if isinstance(each, ast.Name) and each.id in ("exc", "error")
                ]
                found += [f"{path.name}:{node.lineno}"] if raw else []
    # Feedback logs the store's error, which holds no text of a request.
    assert [each for each in found if not each.startswith("feedback.py")] == []


def test_a_command_names_the_upstream_and_the_first_words_of_what_is_no_answer():
    error = UpstreamStatus("the upstream answered 502", status=502).beginning_with(
        b"<html>\n<b>Sign in</b>" + b"x" * 500
    )
    said = error.described("openai")
    assert said.startswith(
        "upstream openai: the upstream answered 502; its answer begins with '<html> <b>Sign in</b>"
    )
    assert len(said) < 200
    assert "sk-abcdefgh" not in UpstreamGarbage("x").beginning_with(b"key sk-abcdefgh").described("u")
    assert UpstreamTimeout("late").described("u") == "upstream u: late"
