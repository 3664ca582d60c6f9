"""What has no gate is passed on with its bytes unchanged, both ways, and is no way around a gate."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.config import parse
from proxy.exceptions import Forbidden
from proxy.gateway.passthrough import form_model
from proxy.gateway.paths import UngatedPaths
from tests.fakes import held, raw

OBSERVE = {"name": "r", "scorers": ["mean_logprob"]}
ENFORCE = {
    "name": "strict",
    "models": ["strict"],
    "mode": "enforce",
    "scorers": ["mean_logprob"],
    "score_threshold": -1.0,
}
VECTORS = b'{ "data" : [1.50] }'


async def test_json_is_passed_by_its_model_and_its_bytes_kept(serving, upstream):
    upstream.serve(
        "/v1/embeddings",
        raw(VECTORS, 201, headers={"openai-version": "1", "set-cookie": "a=b", "server": "s", "x-more": "1"}),
    )
    body = b'{"model" : "e", "input": "\\u00e9", "n": 1.50}'
    async with serving({**OBSERVE, "name": "other", "models": ["x"]}, OBSERVE) as proxy:
        reply = await proxy.ask(
            "/v1/embeddings?a=%20b", body, headers={"content-type": "application/json; charset=utf-8"}
        )
    assert (reply.status, reply.body) == (201, VECTORS)
    assert reply.headers["x-idk-route"] == "r"
    assert reply.headers["openai-version"] == "1"
    assert reply.headers["content-security-policy"] == "sandbox"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert not {"set-cookie", "server", "x-more"} & set(reply.headers)
    call = upstream.calls("/v1/embeddings")[-1]
    assert (call.body, call.path) == (body, "/v1/embeddings?a=%20b")
    assert reply.headers["x-request-id"].startswith("idk-")


@pytest.mark.parametrize("path", ["/embeddings", "/v1/embeddings"])
async def test_with_and_without_v1(serving, upstream, path):
    upstream.serve("/v1/embeddings", raw(VECTORS))
    async with serving(OBSERVE) as proxy:
        assert (await proxy.ask(path, {"model": "e"})).body == VECTORS


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/v2/embeddings", "*", "//"])
async def test_a_path_that_is_no_apis_is_not_found(serving, path):
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask(path, {"model": "e"})
    assert (reply.status, reply.json["error"]["message"]) == (404, "no such path")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "ODD"])
async def test_a_method_that_could_bring_back_what_an_upstream_was_sent_is_not_passed_on(
    serving, upstream, method
):
    """TRACE answers with the request, and the upstream's key is in it."""
    upstream.serve("/v1/traced", raw(b"{}"))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask("/v1/traced", method=method)
    assert reply.status == 405
    assert "TRACE" not in reply.headers["allow"]
    assert upstream.calls("/v1/traced") == []


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "OPTIONS"])
async def test_what_has_no_body_goes_to_the_first_route_that_is_open(serving, upstream, method):
    upstream.serve("/v1/files/1", raw(b"" if method == "HEAD" else b"{}"))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask("/v1/files/1", method=method)
    assert (reply.status, reply.headers["x-idk-route"]) == (200, "r")


async def test_what_concerns_one_connection_or_the_proxy_stays_here(serving, upstream):
    upstream.serve("/v1/files", raw(b"{}"))
    mine = {
        "authorization": "Bearer mine", "x-api-key": "mine", "x-idk-route": "r", "cookie": "mine", "te": "trailers",
        "connection": "close", "accept-encoding": "br", "proxy-authorization": "mine", "x-http-method-override": "mine",
        "openai-organization": "mine", "openai-beta": "1", "accept": "x/y",
    }  # fmt: skip
    async with serving(OBSERVE, upstream={"api_key_env": "K"}, environ={"K": "the-upstreams"}) as proxy:
        await proxy.ask("/v1/files", method="GET", headers=mine)
    sent = upstream.calls("/v1/files")[-1].headers
    assert "mine" not in str(sent)
    assert (sent["openai-beta"], sent["accept"], sent["authorization"]) == (
        "1",
        "x/y",
        "Bearer the-upstreams",
    )
    assert not {"te", "cookie", "x-idk-route"} & set(sent)


async def test_an_upload_finds_its_route_by_the_forms_model_wherever_it_is_cut(serving, upstream):
    upstream.serve("/v1/audio/speech", raw(b"{}"))
    form = (
        b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="model"\r\nContent-Type: text/plain\r\n\r\nwhisper\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + bytes(range(256))
        + b"\r\n--b--\r\n"
    )
    header = {"content-type": "multipart/form-data; boundary=b"}
    async with serving(
        {**OBSERVE, "name": "a", "models": ["x"]}, {**OBSERVE, "models": ["whisper"]}
    ) as proxy:
        for size in (1, 7, 50, len(form)):
            pieces = [form[start : start + size] for start in range(0, len(form), size)]
            reply = await proxy.ask("/v1/audio/speech", headers=header, pieces=pieces)
            assert (reply.status, reply.headers["x-idk-route"]) == (200, "r")
            assert upstream.calls("/v1/audio/speech")[-1].body == form


async def test_a_form_without_a_model_or_another_type_goes_to_the_first_route(serving, upstream):
    upstream.serve("/v1/uploads", raw(b"{}"))
    async with serving({**OBSERVE, "name": "first"}, OBSERVE) as proxy:
        for kind in ("multipart/form-data; boundary=b", "application/octet-stream", ""):
            reply = await proxy.ask("/v1/uploads", b"--b--\r\n", headers={"content-type": kind})
            assert reply.headers["x-idk-route"] == "first"
            assert upstream.calls("/v1/uploads")[-1].body == b"--b--\r\n"
        reply = await proxy.ask("/v1/uploads", b"x", headers={"x-idk-route": "r"})
        assert reply.headers["x-idk-route"] == "r"


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"model": 3}', b"[]", b"[" * 100_000, b'{"model": "\xff"}']
)
async def test_json_that_is_none(serving, body):
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask("/v1/embeddings", body, headers={"content-type": "application/json"})
    assert reply.status == 400


@pytest.mark.parametrize("path", [
    "/v1/messages/batches", "/v1/responses/1", "/v1/threads/1/runs", "/v1/Chat/Completions/x", "/v1/infer",
    "/v1/x/m:streamGenerateContent", "/v1/m:rawPredict", "/v1/model/m/invoke", "/v1/engines/e/completions",
    "/v1/complete", "/v1/infill", "/v1/realtime/client_secrets", "/v1/responses;x", "/v1/conversations/c/items",
    "/v1/x/input_tokens", "/v1/files", "/v1/batches", "/v1/new",
])  # fmt: skip
async def test_paths_outside_the_table_are_refused_where_a_route_enforces(serving, path):
    async with serving(ENFORCE, OBSERVE) as proxy:
        for model in ("strict", "any"):
            reply = await proxy.ask(path, {"model": model})
            assert (reply.status, reply.json["error"]["code"]) == (403, "ungated_path")
            assert "upstreams.u." in reply.json["error"]["message"]


async def test_settings_open_paths(serving, upstream):
    for path in ("/v1/infill", "/v1/conversations/c/items", "/v1/batches", "/v1/files/f/content"):
        upstream.serve(path, raw(b"{}"))
    settings = {"batches": "allow", "pass": ["/infill", "/conversations/*/items"]}
    async with serving(ENFORCE, upstream=settings) as proxy:
        for path, status in {
            "/v1/infill": 200, "/v1/INFILL;x": 200, "/v1/conversations/c/items": 200, "/v1/conversations/c": 403,
            "/v1/batches": 200, "/v1/infill/x": 403,
        }.items():  # fmt: skip
            assert (await proxy.ask(path, {"model": "strict"})).status == status
        assert (await proxy.ask("/v1/files/f/content", method="GET")).status == 200
        assert (await proxy.ask("/v1/files/f/content", method="DELETE")).status == 405


async def test_another_upstream_with_the_same_address_or_a_pool_is_no_way_round(serving, upstream):
    upstreams = {
        "same": {"base_url": upstream.base_url.upper().replace("HTTP", "http").replace("/V1", "/v1")},
        "pool": {"of": ["same"]},
        "other": {"base_url": "http://127.0.0.1:9/v1", "max_retries": 0},
    }
    off = [{"name": name, "models": [name], "upstream": name, "mode": "off"} for name in upstreams]
    async with serving(ENFORCE, *off, upstreams=upstreams) as proxy:
        assert (await proxy.ask("/v1/infill", {"model": "same"})).status == 403
        assert (await proxy.ask("/v1/infill", {"model": "pool"})).status == 403
        assert (await proxy.ask("/v1/infill", {"model": "other"})).status == 502


@pytest.mark.parametrize(("kind", "status"), [
    ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("application/problem+json", 415), ("", 415),
    ("application/json; charset=utf-8", 200),
])  # fmt: skip
async def test_a_body_whose_model_cannot_be_read_is_refused(serving, upstream, kind, status):
    upstream.serve("/v1/embeddings", raw(VECTORS))
    headers = {"content-type": kind, "content-length": "19"}
    async with serving(ENFORCE) as proxy:
        got = await proxy.ask("/v1/embeddings", b'{"model": "strict"}', headers=headers)
    assert got.status == status


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 405), ("OPTIONS", 405), ("DELETE", 405), ("PUT", 405)]
)
async def test_only_the_methods_of_the_table_pass(serving, method, status):
    async with serving(ENFORCE) as proxy:
        assert (await proxy.ask("/v1/embeddings", method=method)).status == status


@pytest.mark.parametrize("body", [
    b'{"model": "e", "Model": "strict"}', b'{"MODEL": "strict"}', b'{"model": "strict", "model": "e"}',
    b'{"model": "e", "\\u006dodel": "strict"}',
])  # fmt: skip
async def test_one_model_is_named_once(serving, upstream, body):
    async with serving(OBSERVE) as proxy:
        got = await proxy.ask("/v1/embeddings", body, headers={"content-type": "application/json"})
    assert (got.status, got.json["error"]["param"]) == (400, "model")


async def test_a_form_with_a_second_model_is_refused(serving, upstream):
    upstream.serve("/v1/audio/speech", raw(b"{}"))
    field = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n'
    header = {"content-type": "multipart/form-data; boundary=b"}
    late = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"x" * 70_000 + b"\r\n"
    async with serving(OBSERVE) as proxy:
        for form in (field % b"a" + field % b"b", field % b"a" + late + field % b"b", late + field % b"b"):
            for size in (60_001, len(form)):
                pieces = [form[start : start + size] for start in range(0, len(form), size)]
                got = await proxy.ask("/v1/audio/speech", headers=header, pieces=pieces)
                assert got.status == 400


@pytest.mark.parametrize(
    "path", ["/v1/..;/x", "/v1/%252e%252e/x", "/v1/files/..", "/v1/files/.%2e;a/x", "/v1/a/.. /x"]
)
async def test_dot_segments_are_refused_however_they_are_written(serving, upstream, path):
    async with serving(OBSERVE) as proxy:
        got = await proxy.ask(path, {"model": "e"})
    assert got.status == 400


async def test_a_route_that_is_named_must_take_the_model(serving, upstream):
    upstream.serve("/v1/embeddings", raw(VECTORS))
    vectors = {**OBSERVE, "name": "vectors", "models": ["e*"]}
    async with serving(vectors, ENFORCE) as proxy:
        named = {"x-idk-route": "vectors"}
        assert (await proxy.ask("/v1/embeddings", {"model": "e1"}, headers=named)).status == 200
        assert (await proxy.ask("/v1/embeddings", {"model": "strict"}, headers=named)).status == 404


async def test_other_paths_of_such_a_route_are_open(serving, upstream):
    upstream.serve("/v1/embeddings", raw(VECTORS))
    async with serving(ENFORCE) as proxy:
        assert (await proxy.ask("/v1/embeddings", {"model": "strict"})).body == VECTORS


async def test_an_unknown_model_and_an_unreachable_upstream(serving):
    async with serving({**OBSERVE, "models": ["x"]}, upstream={"base_url": "http://127.0.0.1:9/v1"}) as proxy:
        assert (await proxy.ask("/v1/embeddings", {"model": "e"})).status == 404
        reply = await proxy.ask("/v1/embeddings", {"model": "x"})
        assert (reply.status, reply.json["error"]["type"]) == (502, "upstream_error")
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="connect") == 1


async def test_a_key_without_a_route_finds_none(serving):
    import hashlib

    key = {"name": "k", "sha256": hashlib.sha256(b"s").hexdigest(), "routes": []}
    async with serving(OBSERVE, keys=[key]) as proxy:
        reply = await proxy.ask("/v1/files", method="GET", headers={"x-idk-key": "s"})
        assert (reply.status, reply.json["error"]["message"]) == (404, "no route is open to this key")
        assert (await proxy.ask("/v1/files", method="GET")).status == 401


async def test_an_answer_that_is_cut_is_seen_to_be(serving, upstream):
    upstream.serve("/v1/files/2", raw(b"half", missing=4))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask("/v1/files/2", method="GET")
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="cut") == 1
    assert (reply.status, reply.body, reply.ended) == (200, b"half", False)


async def test_what_an_upstream_says_of_itself_stays_here(serving, upstream):
    """Else other origins' pages, which this proxy has not let in, would be let in by the upstream."""
    headers = {
        "access-control-allow-origin": "*", "access-control-allow-credentials": "true", "alt-svc": 'h3=":443"',
        "strict-transport-security": "max-age=1", "location": "http://10.0.0.1/", "refresh": "0",
        "clear-site-data": "*", "link": "</x>", "service-worker-allowed": "/", "x-new": "1",
    }  # fmt: skip
    upstream.serve("/v1/files/3", raw(b"{}", 201, headers=headers))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask("/v1/files/3", method="GET")
    assert not set(headers) & set(reply.headers)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_neither_followed_nor_passed_on(serving, upstream, status):
    upstream.serve("/v1/files/4", raw(b"go", status, headers={"location": "http://127.0.0.1:9/x"}))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask("/v1/files/4", method="GET")
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="garbage") == 1
    assert (reply.status, "location" in reply.headers) == (502, False)


async def test_what_has_not_changed_is_passed_on(serving, upstream):
    upstream.serve("/v1/files/5", raw(b"", 304, headers={"etag": "e"}))
    async with serving(OBSERVE) as proxy:
        reply = await proxy.ask("/v1/files/5", method="GET", headers={"if-none-match": "e"})
    assert (reply.status, reply.headers["etag"]) == (304, "e")


async def test_an_error_of_the_upstreams_comes_without_its_secrets(serving, upstream):
    own = b'{ "error" : "\xff no such file" }'
    upstream.serve("/v1/files/6", raw(own, 404))
    told = f'{{"error": "bad key the-upstreams at {upstream.base_url}"}}'.encode()
    upstream.serve("/v1/files/7", raw(told, 401))
    upstream.serve("/v1/files/8", raw(b"half", 500, missing=4))
    async with serving(OBSERVE, upstream={"api_key_env": "K"}, environ={"K": "the-upstreams"}) as proxy:
        plain = await proxy.ask("/v1/files/6", method="GET")
        assert (plain.status, plain.body) == (404, own)
        secret = await proxy.ask("/v1/files/7", method="GET")
        assert secret.status == 401
        assert secret.json["error"] == "bad key [redacted] at http://[redacted]/v1"
        cut = await proxy.ask("/v1/files/8", method="GET")
        assert (cut.status, cut.json["error"]["type"]) == (502, "upstream_error")
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="cut") == 1


async def test_a_client_that_leaves_cancels_the_upstream(serving, upstream):
    upstream.serve("/v1/images/slow", held())
    leaves = asyncio.Event()
    async with serving(OBSERVE) as proxy:
        asking = asyncio.create_task(proxy.ask("/v1/images/slow", {"model": "m"}, leaves=leaves))
        call = await asyncio.to_thread(upstream.call, "/v1/images/slow")
        leaves.set()
        await asking
    assert await asyncio.to_thread(call.was_left)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
async def test_a_client_that_leaves_within_its_body_is_forgotten(serving, kind):
    sent = []
    waiting = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/embeddings", "raw_path": b"/v1/embeddings", "query_string": b"",
        "headers": [(b"content-type", kind.encode())], "root_path": "",
    }  # fmt: skip
    async with serving(OBSERVE) as proxy:
        await proxy.app(scope, receive, send)
    assert sent == []


@pytest.mark.parametrize(("path", "sent"), [
    ("/v1/files", "/v1/files"), ("/files?a=1", "/v1/files?a=1"), ("/v1/files/%2Fx", "/v1/files/%2Fx"),
    ("/v1/files?a=1", "/v1/files?a=1"),
])  # fmt: skip
async def test_the_upstream_receives_the_path_that_was_sent(serving, upstream, path, sent):
    upstream.serve(sent.partition("?")[0], raw(b"{}"))
    async with serving(OBSERVE) as proxy:
        await proxy.ask(path, method="GET")
    assert upstream.calls(sent.partition("?")[0])[-1].path == sent


def part(disposition, value, end=b"\r\n--b--\r\n"):
    return b"--b\r\n" + disposition + b"\r\n\r\n" + value + end


@pytest.mark.parametrize(("head", "model"), [
    (part(b'content-disposition: form-data; name="model"', b"m"), "m"),
    (part(b"CONTENT-Disposition:form-data;name=model", b"m"), "m"),
    (part(b'content-type: text/plain\r\ncontent-disposition: form-data; name="model"', b"m"), "m"),
    (part(b'content-disposition: form-data; name="model"', b"m", end=b""), None),
    (part(b'content-disposition: form-data; name="model"', b"m" * 300), None),
    (part(b'content-disposition: form-data; name="file"; filename="model"', b"m"), None),
    (part(b'content-disposition: form-data; name="x"', b'name="model"\r\n\r\nm\r\n'), None),
    (part(b'x-content-disposition: form-data; name="model"', b"m"), None),
    (b"", None), (b"--b", None), (b"--b--", None), (b"\r\n\r\n", None),
])  # fmt: skip
def test_only_a_whole_field_of_the_form_is_its_model(head, model):
    assert form_model(head, b"b") == model


async def test_a_compressed_body_is_not_read(serving, upstream):
    async with serving({"name": "r"}) as proxy:
        for path in ("/v1/embeddings", "/v1/chat/completions"):
            got = await proxy.ask(path, {"model": "m"}, headers={"content-encoding": "gzip"})
            assert got.status == 415
            assert got.json["error"]["code"] == "content_encoding"


async def test_a_name_without_an_end_is_no_models(serving, upstream):
    async with serving({"name": "r"}) as proxy:
        assert (await proxy.chat("?", model="m" * 1_025)).status == 404


@pytest.mark.parametrize("enforced", ["known", "hidden"])
def test_an_address_from_the_environment_may_be_any_server(enforced):
    """What only the environment knows is not known to be another server than the enforced one."""
    upstreams = {"known": {"base_url": "http://a.example/v1"}, "hidden": {"base_url_env": "ADDRESS"}}
    loaded = parse(
        json.dumps({"upstreams": upstreams, "routes": [{**ENFORCE, "upstream": enforced}]}), "idk.yaml"
    )
    paths = UngatedPaths(loaded)
    for name in upstreams:
        assert paths.target(name, "POST", "/v1/embeddings") == "/embeddings"
        with pytest.raises(Forbidden):
            paths.target(name, "POST", "/v1/infill")
    observed = parse(
        json.dumps({"upstreams": upstreams, "routes": [{**OBSERVE, "models": ["m"], "upstream": "known"}]}),
        "idk.yaml",
    )
    assert UngatedPaths(observed).target("hidden", "POST", "/v1/infill") in (None, "/infill")
