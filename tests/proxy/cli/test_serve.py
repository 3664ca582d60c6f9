"""`idk serve` starts from a file or from an upstream alone, and says in one line why it does not."""

from __future__ import annotations

import socket

import pytest

from proxy.cli import serve_process
from proxy.cli.main import run
from proxy.cli.routes import build_from
from proxy.config import Server
from proxy.server.protocol import server_of

ROUTE = "upstreams: {u: {base_url: http://127.0.0.1:9/v1}}\nroutes: [{name: r, models: [m], upstream: u}]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(monkeypatch):
    """What would be served, and from where."""
    found = []
    monkeypatch.setattr(serve_process, "run", lambda loaded, folder, source: found.append((loaded, folder)))
    return found


def test_a_file_with_the_command_lines_host_and_port_over_it(folder, served):
    (folder / "my.yaml").write_text(ROUTE)
    assert run(["serve", "--config", "my.yaml", "--host", "127.0.0.2", "--port", "0"]) == 0
    ((loaded, place),) = served
    assert (loaded.server.host, loaded.server.port, loaded.routes[0].name) == ("127.0.0.2", 0, "r")
    assert place == folder


def test_idk_yaml_needs_not_be_named(folder, served):
    (folder / "idk.yaml").write_text(ROUTE)
    assert run(["serve"]) == 0
    assert served[0][0].server.port == 8080


def test_a_python_that_cannot_start_again_serves_itself(folder, served, monkeypatch):
    def execv(program, arguments):
        raise PermissionError(13, "Permission denied", program)

    monkeypatch.setattr("os.execv", execv)
    (folder / "idk.yaml").write_text(ROUTE)
    assert run(["serve", "--port", "0"]) == 0
    assert served[0][0].server.port == 0


def test_an_upstream_alone(folder, served):
    assert run(["serve", "--upstream", "https://api.example.com/v1"]) == 0
    assert served[0][0].upstreams["upstream"].base_url == "https://api.example.com/v1"


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "idk: serve: give either --config FILE or --upstream URL"),
    (["--config", "a.yaml", "--upstream", "http://h"], "idk: serve: give either --config FILE or --upstream URL"),
    (["--config", "none.yaml"], "idk: none.yaml: no such file"),
    (["--upstream", "http://127.0.0.1:9", "--host", "0.0.0.0"], "idk: --upstream: server.host: 0.0.0.0 is reachable"),
    (["--upstream", "nonsense"], "idk: --upstream: upstreams.upstream.base_url: "),
])  # fmt: skip
def test_what_cannot_be_served_is_one_line(folder, capsys, arguments, said):
    assert run(["serve", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith(said)
    assert message.count("\n") == 1


def test_a_public_host_of_a_file_names_the_file(folder, capsys):
    (folder / "idk.yaml").write_text(ROUTE)
    assert run(["serve", "--host", "0.0.0.0"]) == 2
    assert capsys.readouterr().err.startswith("idk: idk.yaml: server.host: ")


def test_a_port_that_is_taken(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "--upstream", "http://127.0.0.1:9", "--port", str(port)]) == 1
    assert (
        f"idk: serve: cannot listen on 127.0.0.1:{port} (Address already in use); give another"
        in capsys.readouterr().err
    )


def test_the_server_tells_nothing_of_itself_and_drains_as_long_as_configured():
    config = server_of(object(), Server(host="127.0.0.3", port=1, drain_s=7.4)).config
    assert (config.host, config.port, config.timeout_graceful_shutdown) == ("127.0.0.3", 1, 7)
    assert (config.server_header, config.date_header, config.proxy_headers, config.access_log) == (False,) * 4


def test_a_server_logs_its_routes_and_addresses(folder, monkeypatch, caplog):
    (folder / "idk.yaml").write_text(ROUTE.replace("models: [m]", "models: [m], scorers: [mean_logprob]"))
    monkeypatch.delenv("IDK_ADMIN_KEY", raising=False)
    parts = build_from(folder / "idk.yaml")
    with caplog.at_level("INFO", logger="idk"):
        serve_process._announce(parts, folder, "http://127.0.0.1:8080")
    assert caplog.messages == [
        "route r: m -> u, observe, no threshold",
        (
            "API: http://127.0.0.1:8080/v1   page: off, since IDK_ADMIN_KEY is not set   "
            "metrics: http://127.0.0.1:8080/metrics"
        ),
    ]
