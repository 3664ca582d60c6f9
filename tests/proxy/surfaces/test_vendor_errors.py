"""Errors of upstreams in every form that servers write; hypothesis tries any other JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.surfaces.contract import VendorError
from proxy.surfaces.vendor_errors import as_status, error_in, read_error

SAID = "the model is overloaded"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "x"]), inner),
)


@pytest.mark.parametrize("body", [
    {"error": {"message": SAID}},
    {"error": SAID},
    {"error": {"error": {"message": SAID}}},
    {"error": {"message": SAID, "code": {"odd": 1}, "type": ["odd"], "param": 3.5}},
    {"detail": SAID},
    {"detail": {"message": SAID}},
    {"detail": {"error": {"message": SAID}}},
    {"detail": [{"msg": SAID}]},
    {"message": SAID},
    {"object": "error", "message": SAID},
    {"errors": [SAID]},
    {"errors": [{"message": SAID}]},
    {"error": None, "message": SAID},
    {"error": "Bad Request", "message": SAID, "statusCode": 400},
    {"error": {}, "detail": SAID},
    [{"error": {"message": SAID}}],
    [[{"message": SAID}]],
    SAID,
])  # fmt: skip
@pytest.mark.parametrize(
    "framed", ["{}", "data: {}\n\n", "event: error\ndata: {}\n\n", ": hi\n\ndata: {}\n\n", " {} "]
)
def test_the_message_is_found_in_every_form(body, framed):
    error = read_error(framed.replace("{}", json.dumps(body)).encode())
    assert error is not None
    assert error.message == SAID


@pytest.mark.parametrize(("body", "message"), [
    ({"error": {"message": {"reason": "x"}}}, '{"reason":"x"}'),
    ({"message": ["a", "b"]}, '["a","b"]'),
    ({"errors": ["a", {"message": "b"}]}, "a; b"),
])  # fmt: skip
def test_an_object_or_a_list_is_shown_as_text(body, message):
    assert error_in(body).message == message


def test_every_field_is_kept():
    error = error_in({"error": {"message": "m", "type": "t", "param": "p", "code": 42}})
    assert error == VendorError("m", "t", "p", "42")


def test_fastapis_place_is_the_parameter():
    error = error_in(
        {"detail": [{"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing"}]}
    )
    assert error == VendorError("messages.0: Field required", "missing", "messages.0", None)


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"{", b"null", b"[]", b"{}", b"3", b'{"error": null}',
    b'{"choices": []}', b"data: [DONE]\n\n", b"\xff", b'""', b"[" * 1000])  # fmt: skip
def test_what_holds_no_error_is_none(body):
    assert read_error(body) is None


@pytest.mark.parametrize(("code", "status"), [
    (429, 429), ("404", 404), (None, 502), ("rate_limit", 502), (200, 502), (10**30, 502), ("600", 502),
])  # fmt: skip
def test_a_code_that_is_a_status_is_the_status(code, status):
    error = as_status(VendorError("m", code=code), "failed")
    assert (error.http_status, error.message) == (status, "m")
    assert as_status(VendorError(), "failed").message == "failed"


@given(JSON)
def test_any_json_is_read(value):
    error = error_in(value)
    assert error is None or error.message is None or isinstance(error.message, str)
