"""Last uses of keys: noted in memory, and written to the store when it accepts them."""

from __future__ import annotations

import asyncio
import os
from time import time

import pytest

from proxy.app import AppSettings, application
from proxy.clients import keys
from proxy.clients.last_used import Uses
from proxy.config import parse
from proxy.exceptions import StoreError
from proxy.metrics import Metrics
from proxy.storage import Sealer, make_store
from proxy.storage.link import StoreLink
from tests.fakes import answer, says
from tests.proxy.asgi_client import ask
from tests.proxy.control.recording.failing import Failing

CONFIG = """
server: {{store: "sqlite:///idk.db", stored_keys: true}}
upstreams: {{u: {{base_url: "{url}", max_retries: 0}}}}
routes: [{{name: r, models: ["*"], upstream: u, mode: off}}]
"""


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
async def store(tmp_path):
    made = make_store("sqlite:///idk.db", tmp_path, Sealer())
    await made.open()
    yield made
    await made.aclose()


@pytest.fixture
def clock():
    return Clock()


async def test_the_store_is_told_of_the_last_use_and_of_nothing_twice(store, clock):
    failing = Failing(store)
    uses = Uses(StoreLink(failing, Metrics(), clock), clock)
    await uses.flush()
    assert failing.asked == 0
    for clock.now in (101.0, 102.5):
        uses.note("app")
    uses.note("b")
    await uses.flush()
    assert await store.key_uses() == {"app": 102.5, "b": 102.5}
    told = failing.asked
    await uses.flush()
    assert failing.asked == told


async def test_what_could_not_be_told_is_told_later(store, clock):
    failing = Failing(store)
    uses = Uses(StoreLink(failing, Metrics(), clock), clock)
    uses.note("app")
    uses.note("b")
    failing.down = True
    with pytest.raises(StoreError):
        await uses.flush()
    failing.down = False
    clock.now = 110.0
    uses.note("app")
    await uses.flush()
    assert await store.key_uses() == {"app": 110.0, "b": 100.0}


async def served(app, secret, upstream):
    """Ask for a completion with a key, and return the status."""
    prompt = upstream.script(answer(says("x")))
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    reply = await ask(app, "/v1/chat/completions", body, headers={"authorization": f"Bearer {secret}"})
    return reply.status


def made_of(folder, upstream):
    config = parse(CONFIG.format(url=upstream.base_url), "idk.yaml")
    return application(AppSettings(config, folder), os.environ)


async def test_a_proxy_that_ends_has_told_of_every_use(store, tmp_path, upstream):
    one, other = [await keys.create(store, name, "ada", 1.0) for name in ("one", "other")]
    app = made_of(tmp_path, upstream)
    await app.reloader.start()
    assert await served(app, one.secret, upstream) == 200
    assert await served(app, "idk-nobodys", upstream) == 401
    # A container that replaces another one notes uses too.
    app.replace(app.container)
    before = time()
    assert await served(app, one.secret, upstream) == 200
    await app.reloader.stop()
    await app.aclose()
    first, second = await keys.listed(store)
    assert (first.key, second) == (one.key, (other.key, None))
    assert before <= first.used_at <= time()


async def test_a_running_proxy_tells_from_time_to_time(store, tmp_path, upstream):
    made = await keys.create(store, "app", "ada", 1.0)
    app = made_of(tmp_path, upstream)
    app.reloader.housekeeping_s = 0.01
    await app.reloader.start()
    assert await served(app, made.secret, upstream) == 200
    async with asyncio.timeout(10):
        while not await store.key_uses():  # each read lets the loop run the housekeeping
            pass
    assert set(await store.key_uses()) == {"app"}
    await app.reloader.stop()
    await app.aclose()
