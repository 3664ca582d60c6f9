"""Recording of decisions and audit items: a bounded queue between the request's path and the store."""

from proxy.control.recording.recorder import Recorder

__all__ = ["Recorder"]
