"""The routes of a configuration, for commands that ask upstreams themselves: evaluate, label and doctor."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.app import Container
    from proxy.offline.evaluation import Asker
    from proxy.requests.route import Route


#: The variable that OpenAI's own clients read.
OPENAI_KEY: Final = "OPENAI_API_KEY"


def build_from(config: Path) -> Container:
    """Build the application of a configuration and its policies; raise ConfigError, which names the file."""
    from proxy.app import build
    from proxy.config import error_prefix, folder_of, load
    from proxy.control.policies import read_snapshot

    loaded, folder = load(config), folder_of(config)
    with error_prefix(str(config)):
        snapshot = read_snapshot(loaded, folder, os.environ, access="read")
        return build(loaded, folder=folder, environ=os.environ, snapshot=snapshot)


def route_named(container: Container, name: str, option: str, config: Path) -> Route:
    """Return the route that a command's option names; raise ConfigError where there is no such route."""
    routes = container.routes.routes
    found = next((route for route in routes if route.name == name), None)
    if found is None:
        names = ", ".join(route.name for route in routes)
        raise ConfigError(f"{option}: {config} has no route {name}; it has {names}")
    return found


def asker_of(
    container: Container,
    route: Route,
    config: Path,
    *,
    model: str | None,
    api_key_env: str | None,
    top_logprobs: int,
) -> Asker:
    """Return what asks the upstream of a route; raise ConfigError where the model or the API key is not known."""
    from proxy.offline.evaluation import Asker
    from proxy.server.bodies import Bodies

    return Asker(
        route=route,
        model=model or model_of(route, config),
        top_logprobs=top_logprobs,
        bodies=Bodies(server=container.config.server),
        credentials=credentials_of(container, route, api_key_env),
        gatherers=container.pipelines[route.name].gatherers,
    )


def model_of(route: Route, config: Path, given: str | None = None) -> str:
    """Return the model to ask for: the route's rewrite, a plain name that it takes, or the one given.

    Raises ConfigError where the route takes only patterns and none is given.
    """
    plain = [name for name in route.config.models if not set(name) & set("*?[")]
    names = [*filter(None, [route.config.model]), *plain, *filter(None, [given])]
    if not names:
        raise ConfigError(
            f"--model is required: the route {route.name} of {config} takes {', '.join(route.config.models)} and "
            "names no single model"
        )
    return names[0]


def credentials_of(container: Container, route: Route, api_key_env: str | None) -> bytes | None:
    """Return the Authorization header for an upstream that takes the client's own key; None for any other upstream.

    The key is in the environment variable ``api_key_env``, by default OPENAI_API_KEY where the upstream is OpenAI's API
    or on this machine: other hosts must not get that key unasked. Raises ConfigError where there is no key.
    """
    if not route.upstream.forwards_credentials:
        return None
    names = [api_key_env] if api_key_env else [OPENAI_KEY] if _may_get_openai_key(container, route) else []
    key = next(filter(None, (os.environ.get(name, "").strip() for name in names)), None)
    if key is None:
        missing = f"{names[0]} is not set; " if names else ""
        raise ConfigError(
            f"--api-key-env: the upstream of {route.name} takes the client's own key (auth: forward): {missing}"
            "name an environment variable that holds a key"
        )
    return b"Bearer " + key.encode()


def _may_get_openai_key(container: Container, route: Route) -> bool:
    upstreams = container.config.upstreams
    named = upstreams[route.config.upstream]
    names = list(named.of) if named.of else [route.config.upstream]
    hosts = [urlsplit(container.access[name].base_url or "").hostname or "" for name in names]
    return all(host == "api.openai.com" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
