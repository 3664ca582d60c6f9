"""Authentication: keys by their hashes, in the headers that SDKs use."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.authentication import Keys
from proxy.config import Key
from proxy.exceptions import Unauthorized
from proxy.storage import StoredKey


def key(name, secret, routes=None):
    return Key(name=name, sha256=hashlib.sha256(secret).hexdigest(), routes=routes)


KEYS = Keys([key("app", b"s3cret", ("a",)), key("all", b"other")])


@pytest.mark.parametrize("headers", [
    [(b"authorization", b"Bearer s3cret")], [(b"authorization", b"bearer   s3cret ")], [(b"x-api-key", b"s3cret")],
    [(b"x-idk-key", b"s3cret")], [(b"x-idk-key", b"s3cret"), (b"authorization", b"Bearer the-upstreams")],
    [(b"authorization", b"Bearer s3cret"), (b"x-api-key", b"other")],
    [(b"accept", b"*/*"), (b"authorization", b"Basic xyz"), (b"x-api-key", b"s3cret")],
])  # fmt: skip
def test_a_key_is_found(headers):
    caller = KEYS.caller(headers)
    assert caller.name == "app"
    assert caller.may_use("a")
    assert not caller.may_use("b")


def test_a_key_without_routes_may_use_all():
    assert KEYS.caller([(b"x-api-key", b"other")]).may_use("anything")


@pytest.mark.parametrize(("headers", "said"), [
    ([], "no API key"), ([(b"authorization", b"Basic s3cret")], "no API key"), ([(b"cookie", b"s3cret")], "no API key"),
    ([(b"authorization", b"Bearer wrong")], "not known"), ([(b"x-api-key", b"")], "not known"),
    ([(b"x-idk-key", b"wrong"), (b"authorization", b"Bearer s3cret")], "not known"),
])  # fmt: skip
def test_no_key_or_a_wrong_one_is_refused(headers, said):
    with pytest.raises(Unauthorized, match=said) as raised:
        KEYS.caller(headers)
    assert raised.value.http_status == 401
    assert raised.value.code == "invalid_api_key"
    assert "wrong" not in raised.value.message


@given(st.binary(max_size=40))
def test_only_the_very_key_opens(token):
    try:
        assert KEYS.caller([(b"x-api-key", token)]).name == {b"s3cret": "app", b"other": "all"}[token]
    except Unauthorized:
        assert token not in (b"s3cret", b"other")


def test_without_keys_everyone_may_ask():
    keys = Keys([])
    assert not keys.required
    assert KEYS.required
    assert keys.caller([(b"authorization", b"Bearer whatever")]).may_use("r")


def test_nothing_of_a_key_is_kept():
    assert b"s3cret" not in repr(vars(KEYS)).encode()


@pytest.mark.parametrize(("keys", "headers", "credentials"), [
    (KEYS, [(b"authorization", b"Bearer s3cret")], None),
    (KEYS, [(b"x-idk-key", b"s3cret"), (b"authorization", b"Bearer theirs")], b"Bearer theirs"),
    (KEYS, [(b"x-idk-key", b"s3cret")], None), (Keys([]), [(b"authorization", b"Bearer theirs")], b"Bearer theirs"),
    (Keys([]), [], None),
])  # fmt: skip
def test_a_key_of_ours_is_never_an_upstreams_credential(keys, headers, credentials):
    assert keys.credentials(headers) == credentials


def test_the_use_of_a_stored_key_is_noted():
    noted = []
    stored = [
        StoredKey(
            name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), who="ada", at=1.0, revoked_at=at
        )
        for name, at in (("one", None), ("two", None), ("gone", 2.0))
    ]
    keys = Keys([key("app", b"s3cret")], stored, note=noted.append)
    for secret in (b"s3cret", b"one", b"one"):
        keys.caller([(b"x-api-key", secret)])
    for secret in (b"gone", b"wrong"):
        with pytest.raises(Unauthorized):
            keys.caller([(b"x-api-key", secret)])
    assert noted == ["one", "one"]
