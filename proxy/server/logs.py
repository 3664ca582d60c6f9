"""Logging: console lines for people or JSON lines for collectors, without texts of requests and without keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal

from pythonjsonlogger.json import JsonFormatter
from uvicorn.logging import DefaultFormatter

from proxy.exceptions import without_credentials

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

LogStyle = Literal["console", "json"]


class Console(DefaultFormatter):
    """Format uvicorn's coloured console lines without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))


class Json(JsonFormatter):
    """Format one JSON object a line: ``time``, ``level``, ``logger``, ``message``, and ``exc_info`` if there is one."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=names)
        self.default_time_format = "%Y-%m-%dT%H:%M:%S"
        self.default_msec_format = "%s.%03dZ"
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        # Uvicorn adds a coloured copy of its message.
        record.__dict__.pop("color_message", None)
        return without_credentials(super().format(record))


FORMATTERS: Final[Mapping[LogStyle, dict[str, Any]]] = {
    "console": {"()": Console, "fmt": "%(levelprefix)s %(message)s", "use_colors": None},
    "json": {"()": Json},
}


def log_config(style: LogStyle) -> dict[str, Any]:
    """Return a ``logging.config.dictConfig`` that writes everything to standard error through one formatter."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": FORMATTERS[style]},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}
        },
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "idk": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
        # Libraries log warnings and errors only.
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }
