"""What leaves the request's path: decisions and the audit sample, on their way into the store."""

from proxy.recording.link import StoreLink
from proxy.recording.recorder import Recorder

__all__ = ["Recorder", "StoreLink"]
