"""What leaves the request's path: decisions, the audit sample and keys' last uses, on their way into the store."""

from proxy.recording.link import StoreLink
from proxy.recording.recorder import Recorder
from proxy.recording.uses import Uses

__all__ = ["Recorder", "StoreLink", "Uses"]
