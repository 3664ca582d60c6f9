"""Where errors become a line on stderr and an exit status, once, for every way into the program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError, HttpError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable


def status_of(work: Callable[[], object]) -> int:
    """Do it: 0 on success, 1 on a failed run, 2 on bad usage or a bad configuration, 130 where one was interrupted."""
    try:
        work()
    except ConfigError as exc:
        return _complain(exc, 2)
    except (RunError, HttpError) as exc:
        return _complain(exc, 1)
    except KeyboardInterrupt:
        return 130
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0
    return 0


def _complain(exc: Exception, status: int) -> int:
    line = " ".join(str(exc).split())
    print(f"idk: {line}", file=sys.stderr)
    return status
