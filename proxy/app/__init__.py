"""The construction of the application: makes an ASGI application from a checked configuration."""

from proxy.app.application import App, Services
from proxy.app.container import Container, build
from proxy.app.factory import AppSettings, application, application_of_worker
from proxy.app.pipelines import TOP_LOGPROBS
from proxy.app.validation import check_writable, concerns, notes, validate

__all__ = [
    "TOP_LOGPROBS",
    "App",
    "AppSettings",
    "Container",
    "Services",
    "application",
    "application_of_worker",
    "build",
    "check_writable",
    "concerns",
    "notes",
    "validate",
]
