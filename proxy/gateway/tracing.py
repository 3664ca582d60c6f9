"""OpenTelemetry: a span for each gated request, in the words of the GenAI semantic conventions.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/: name ``{operation} {model}``, kind client. What is
the gate's own stands under ``idk.``. No text of a request or an answer is in it. Where spans go is said by the
standard variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME`` …).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from proxy.exceptions import ConfigError, HttpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxy.requests.exchange import Exchange, Outcome
    from proxy.server.asgi import Headers

#: ``gen_ai.operation.name`` by surface.
_OPERATIONS: Final[Mapping[str, str]] = {
    "chat": "chat",
    "completions": "text_completion",
    "responses": "chat",
    "messages": "chat",
}
#: ``gen_ai.provider.name`` by LiteLLM's name of a provider, where the convention has another one.
_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "watsonx": "ibm.watsonx.ai",
}


class Tracing:
    """Makes spans with a tracer of ``provider``; by default the SDK's, exporting by OTLP over HTTP."""

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import propagate, trace
            from opentelemetry.trace import SpanKind, StatusCode
        except ImportError as exc:
            raise ConfigError(
                "server.opentelemetry: opentelemetry is not installed; pip install 'idk-proxy[otel]'"
            ) from exc
        self._propagate = propagate
        self._trace = trace
        self._kind = SpanKind.CLIENT
        self._failed = StatusCode.ERROR
        self._provider = _exporting() if provider is None else provider
        self._tracer = self._provider.get_tracer("idk-proxy")

    @contextmanager
    def span(self, exchange: Exchange, headers: Headers) -> Iterator[Callable[[Outcome], None]]:
        """Run the body in the span of one request, a child of the client's; yields what the outcome is given to."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        operation = _OPERATIONS[exchange.surface.name]
        with self._tracer.start_as_current_span(
            f"{operation} {exchange.request.model}",
            context=self._propagate.extract(carrier),
            kind=self._kind,
            attributes=dict(_asked(exchange, operation)),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield lambda outcome: span.set_attributes(dict(_answered(outcome)))
            except HttpError as exc:
                span.set_attribute("error.type", str(exc.http_status))
                span.set_status(self._failed)
                raise

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the current span's trace context as headers for the upstream."""
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier)
        return [(name.encode(), value.encode()) for name, value in carrier.items()]

    def close(self) -> None:
        """Export the remaining spans."""
        self._provider.shutdown()


def _exporting() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "idk"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _asked(exchange: Exchange, operation: str) -> Iterator[tuple[str, Any]]:
    request, route = exchange.request, exchange.route
    yield "gen_ai.operation.name", operation
    yield "gen_ai.provider.name", _PROVIDERS.get(route.provider, route.provider)
    yield "gen_ai.request.model", request.model
    yield "idk.route", route.name
    if request.n > 1:
        yield "gen_ai.request.choice.count", request.n
    if request.max_tokens is not None:
        yield "gen_ai.request.max_tokens", request.max_tokens
    if request.seed is not None:
        yield "gen_ai.request.seed", request.seed
    if request.json_answer:
        yield "gen_ai.output.type", "json"
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        if name in request.sampling:
            yield f"gen_ai.request.{name}", float(request.sampling[name])


def _answered(outcome: Outcome) -> Iterator[tuple[str, Any]]:
    completion, report = outcome.completion, outcome.verdict.report
    if completion.id is not None:
        yield "gen_ai.response.id", completion.id
    if completion.model is not None:
        yield "gen_ai.response.model", completion.model
    reasons = [choice.finish_reason for choice in completion.choices if choice.finish_reason]
    if reasons:
        yield "gen_ai.response.finish_reasons", reasons
    if completion.prompt_tokens is not None:
        yield "gen_ai.usage.input_tokens", completion.prompt_tokens
    if completion.completion_tokens is not None:
        yield "gen_ai.usage.output_tokens", completion.completion_tokens
    yield "idk.mode", report.mode
    yield "idk.certified", report.certified
    if report.policy is not None:
        yield "idk.policy", report.policy
    for name in ("decision", "reason", "source"):
        yield f"idk.{name}", [getattr(choice, name) for choice in report.choices]
    for name in ("confidence", "threshold", "score"):
        values = [getattr(choice, name) for choice in report.choices]
        if None not in values:
            yield f"idk.{name}", values
