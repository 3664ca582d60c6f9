"""A real process sends its spans by OTLP to a collector."""

from __future__ import annotations

import gzip
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.proxies import Proxy, asking, enforced, write_config
from tests.fakes import answer, says


def test_spans_reach_a_collector(upstream, tmp_path):
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    config = {
        "server": {"opentelemetry": True, "store": "memory://"},
        "upstreams": {"fake": {"base_url": upstream.base_url}},
        "routes": [enforced("r")],
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
        with Proxy("--config", write_config(tmp_path, config), cwd=tmp_path, env=environ) as proxy:
            got = proxy.post(asking("r", upstream.script(answer(says("Ly", "on", logprob=-3.0)))))
            assert got.json()["idk"]["choices"][0]["decision"] == "abstain"
        collector.shutdown()
        thread.join()
    (sent,) = [ExportTraceServiceRequest.FromString(body) for body in received]
    (span,) = sent.resource_spans[0].scope_spans[0].spans
    attributes = {each.key: each.value for each in span.attributes}
    assert span.name == "chat r"
    assert attributes["idk.decision"].array_value.values[0].string_value == "abstain"
