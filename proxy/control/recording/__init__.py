"""What leaves the request's path: decisions, the audit sample and keys' last uses, on their way into the store."""

from proxy.clients.last_used import Uses
from proxy.control.recording.recorder import Recorder
from proxy.storage.link import StoreLink

__all__ = ["Recorder", "StoreLink", "Uses"]
