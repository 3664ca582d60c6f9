"""The construction of the application: makes an ASGI application from a checked configuration."""

from proxy.app.asgi import App, Lasting
from proxy.app.parts import Parts, build
from proxy.app.routes import TOP_LOGPROBS
from proxy.app.setting import Setting, application, application_of_worker
from proxy.app.validation import check_writable, concerns, notes, validate

__all__ = [
    "TOP_LOGPROBS",
    "App",
    "Lasting",
    "Parts",
    "Setting",
    "application",
    "application_of_worker",
    "build",
    "check_writable",
    "concerns",
    "notes",
    "validate",
]
