"""Logging: console lines for people or JSON lines for collectors, without texts of requests and without keys."""

from __future__ import annotations

import time
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Literal

from pythonjsonlogger.json import JsonFormatter
from uvicorn.logging import DefaultFormatter

from proxy.exceptions import escaped, without_credentials

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

LogStyle = Literal["console", "json"]


class Console(DefaultFormatter):
    """Format console lines with their time, without credentials, and with control characters written out.

    Otherwise a client or an upstream could forge whole lines of the log. A traceback is indented for the same reason.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.default_time_format = "%Y-%m-%dT%H:%M:%S"
        self.default_msec_format = "%s.%03dZ"
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        line = copy(record)
        line.__dict__.pop("color_message", None)  # uvicorn's coloured copy of its message
        line.msg, line.args = escaped(record.getMessage()), None
        line.exc_text = None  # the other formatter's text may be cached here
        return without_credentials(super().format(line))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name in logging.Formatter
        return "\n".join(f"    {escaped(line)}" for line in super().formatException(ei).splitlines())

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the name in logging.Formatter
        return "\n".join(f"    {escaped(line)}" for line in stack_info.splitlines())


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
    "console": {"()": Console, "fmt": "%(asctime)s %(levelprefix)s %(message)s", "use_colors": None},
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
