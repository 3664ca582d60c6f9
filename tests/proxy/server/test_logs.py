"""The proxy's own log: lines or JSON, and no credential in either."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re

import pytest

from proxy.exceptions import escaped
from proxy.server.logs import FORMATTERS, log_config

SECRET = "sk-abcdefghijklmn"


@pytest.fixture
def said():
    """A logger under the configuration's formatter, and what it wrote."""

    def make(style):
        stream = io.StringIO()
        config = log_config(style)
        config["handlers"]["stderr"]["stream"] = stream
        config["loggers"] = {"idk-test": config["loggers"]["idk"]}
        del config["root"]
        logging.config.dictConfig(config)
        return logging.getLogger("idk-test"), stream

    yield make
    logging.getLogger("idk-test").handlers.clear()


def test_json_is_one_object_a_line(said):
    logger, stream = said("json")
    logger.warning("%s: stream ended", "support", extra={"color_message": "\x1b[1m"})
    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert read.pop("time").endswith("Z")
    assert read == {"level": "WARNING", "logger": "idk-test", "message": "support: stream ended"}


def test_a_traceback_stays_in_its_object(said):
    logger, stream = said("json")
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: [redacted]" in json.loads(line)["exc_info"]


@pytest.mark.parametrize("style", FORMATTERS)
def test_no_credential_is_logged(said, style):
    logger, stream = said(style)
    logger.info("upstream says: invalid key %s, Bearer %s", SECRET, SECRET)
    assert SECRET not in stream.getvalue()
    assert "[redacted]" in stream.getvalue()


def test_a_line_for_a_person(said):
    logger, stream = said("console")
    logger.info("listening")
    when, *words = stream.getvalue().split()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", when)
    assert words == ["INFO:", "listening"]


@pytest.mark.parametrize(
    "text", ["a\r\n2026 INFO: forged", "a\x1b[2Jb", "a\x0bb", "a\u2028b", "a\x9b31m", "a\u202eb"]
)
def test_a_message_is_one_console_line(said, text):
    logger, stream = said("console")
    logger.warning("path %s", text, extra={"color_message": "path %s"})
    (line,) = stream.getvalue().splitlines()
    assert escaped(text) in line
    assert line.isprintable()


def test_a_traceback_cannot_forge_a_console_line(said):
    logger, stream = said("console")
    try:
        raise ValueError("x\nINFO: forged\x1b[2J")
    except ValueError:
        logger.exception("failed")
    first, *others = stream.getvalue().splitlines()
    assert first.endswith("failed")
    assert others
    assert all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize("style", FORMATTERS)
def test_our_own_words_and_uvicorns_are_heard_and_libraries_failures_too(style):
    config = log_config(style)
    assert {name: logger["level"] for name, logger in config["loggers"].items()} == {
        "uvicorn": "INFO",
        "idk": "INFO",
    }
    assert config["root"]["level"] == "WARNING"
