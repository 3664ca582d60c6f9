"""The configuration file: what is read, what is rejected, and the line that names each problem."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy import config
from proxy.exceptions import ConfigError

UPSTREAM = "upstreams: {u: {base_url: http://h/v1}}\n"
ROUTE = "name: r, models: ['*'], upstream: u"
EXAMPLE = files("proxy.cli").joinpath("idk.yaml").read_text()


def parse(text):
    return config.parse(text, "f.yaml")


def route(more="", *, upstream=UPSTREAM, before=""):
    return f"{before}{upstream}routes: [{{{ROUTE}{', ' if more else ''}{more}}}]\n"


def problem(text):
    with pytest.raises(ConfigError) as raised:
        parse(text)
    message = str(raised.value)
    assert message.startswith("f.yaml: ")
    assert "\n" not in message
    return message.removeprefix("f.yaml: ")


def test_the_least_configuration_has_the_contracts_defaults():
    found = parse(route())
    assert (found.server.host, found.server.port, found.server.max_body_bytes) == (
        "127.0.0.1",
        8080,
        20_000_000,
    )
    assert (found.server.drain_s, found.server.store, found.server.log_text) == (
        30,
        "sqlite:///idk.db",
        False,
    )
    assert (found.routes[0].mode, found.routes[0].on_unmeasured) == ("observe", "abstain")
    assert (found.routes[0].abstain_text, found.routes[0].allow_override) == ("I don't know.", False)
    assert (found.upstreams["u"].timeout_s, found.upstreams["u"].max_retries) == (60, 2)
    assert found.keys == ()


@pytest.mark.parametrize(
    "mode",
    ["off", "observe"],
)
def test_a_mode_is_read_as_text(mode):
    assert parse(route(f"mode: {mode}")).routes[0].mode == mode


@pytest.mark.parametrize(
    "text",
    ["on", "off", "yes", "no", "Off", "NO"],
)
def test_only_true_and_false_are_booleans(text):
    assert parse(route(f"abstain_text: {text}")).routes[0].abstain_text == text
    assert problem(route(f"allow_override: {text}")).startswith(
        "routes[0].allow_override: must be true or false, not text"
    )


@pytest.mark.parametrize(
    "text",
    ["true", "True", "TRUE"],
)
def test_true_in_its_three_spellings(text):
    assert parse(route(f"allow_override: {text}")).routes[0].allow_override is True


# The example


def test_the_example_is_sound():
    found = config.parse(EXAMPLE, "idk.yaml")
    assert found.routes[0].mode == "observe"


@pytest.mark.parametrize(
    ("shown", "hidden"),
    [
        (["keys:", "  - {name: app"], []),
        (["    # api_key_env: OPENAI_API_KEY"], ["auth: forward"]),
        (["  # claude:", "  #   litellm:", "  #   api_key_env: ANTHROPIC"], []),
        (["    # model: gpt-4o-mini"], []),
        (["    # params:"], []),
        (["    # policy: policy.json", "    # threshold: 0.8"], ["scorers: [mean_logprob]"]),
        (["    # score_threshold: -0.4"], []),
    ],
)
def test_the_examples_commented_lines_are_sound_too(shown, hidden):
    changed = 0
    lines = []
    for line in EXAMPLE.splitlines():
        commented = line.startswith((*shown, *[f"# {prefix}" for prefix in shown]))
        changed += commented
        if not line.strip().startswith(tuple(hidden)):
            lines.append(re.sub(r"^(\s*)# ", r"\1", line, count=1) if commented else line)
    assert changed == len(shown)
    text = "\n".join(lines).replace("<64 hex digits>", "0" * 64)
    assert config.parse(text, "idk.yaml") != config.parse(EXAMPLE, "idk.yaml")


# The text itself


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1: "),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        (
            "server: {port: 1}\nserver: {port: 2}\n",
            "line 2: duplicate key: `server` is given twice; keep one",
        ),
        (route("model: a, model: b"), "line 2: duplicate key: `model` is given twice; keep one"),
        ("a: \0", "not YAML: unacceptable character"),
        ("a: 1\n---\nb: 2\n", "line 2: "),
        ("a: !!python/object:os.system x", "line 1: could not determine a constructor"),
        ("[a]: 1", "line 1: a key must be plain text"),
        ("{{a: 1}: 1}", "line 1: a key must be plain text"),
        ("x: &a {b: 1}\ny: {<<: *a}", "line 2: merge keys (<<) are not supported; write the keys out"),
        ("a: 2024-99-99", "a value cannot be read: month must be in 1..12"),
        ("a: 0b_", "a value cannot be read: "),
        ("[" * 3_000, "nested too deeply"),
        ("", "the file: must be a mapping, not null"),
        ("[]", "the file: must be a mapping, not an empty list"),
        ("text", "the file: must be a mapping, not text"),
        ("1: 2", "the file: the key 1 is not text; known are keys, routes, server, upstreams"),
    ],
)
def test_what_is_no_configuration(text, said):
    assert problem(text).startswith(said)


@given(st.text(max_size=40) | st.text(alphabet="{}[]:,-#&*!|>'\"%@`\n a1", max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        said = f"f.yaml: {parse(text)}"
    except ConfigError as exc:
        said = str(exc)
    assert said.startswith("f.yaml: ")


# Keys and types


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (route(before="servr: {}\n"), "servr: unknown key; did you mean `server`?"),
        (route(before="server: {prt: 1}\n"), "server.prt: unknown key; did you mean `port`?"),
        (
            route(before=f"keys: [{{name: k, sha265: '{'0' * 64}'}}]\n"),
            "keys[0].sha265: unknown key; did you mean `sha256`?",
        ),
        (
            route(upstream="upstreams: {u: {base_url: http://h}, w: {base_ulr: x}}\n"),
            "upstreams.w.base_ulr: unknown key; did you mean `base_url`?",
        ),
        (route("treshold: 1"), "routes[0].treshold: unknown key; did you mean `threshold`?"),
        (route("budget: {sampels: 1}"), "routes[0].budget.sampels: unknown key; did you mean `samples`?"),
        (route("rag: {rescu: true}"), "routes[0].rag.rescu: unknown key; did you mean `rescue`?"),
        (
            route("rag: {zzz: true}"),
            "routes[0].rag.zzz: unknown key; known are context, examples, instruct, rescue, template",
        ),
    ],
)
def test_an_unknown_key_gives_the_nearest_at_every_level(text, said):
    assert problem(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (UPSTREAM, "the file: the required key `routes` is missing"),
        (route(upstream=""), "the file: the required key `upstreams` is missing"),
        (UPSTREAM + "routes: []\n", "routes: must be a list of at least one entry, not an empty list"),
        (route("mode: hard"), "routes[0].mode: 'hard' is not a mode; use enforce, observe or off"),
        (route("threshold: 1.5"), "routes[0].threshold: must be a number from 0 to 1, or null, not 1.5"),
        (route("threshold: .nan"), "routes[0].threshold: must be a number from 0 to 1, or null, not nan"),
        (
            route(before="server: {port: 70000}\n"),
            "server.port: must be a whole number from 0 to 65,535, not 70000",
        ),
        (
            route(before="server: {drain_s: 0}\n"),
            "server.drain_s: must be a number above 0 and of at most 86,400, not 0",
        ),
        (
            route(upstream="upstreams: {u: {base_url: http://h, timeout_s: x}}\n"),
            "upstreams.u.timeout_s: must be a number above 0",
        ),
        (route(upstream="upstreams: {u: 3}\n"), "upstreams.u: must be a mapping, not 3"),
        (
            route(upstream="upstreams: {a b: {base_url: http://h}}\n"),
            "upstreams: 'a b' is not a name; use 1 to 64 of the letters",
        ),
        (route(upstream="upstreams: [u]\n"), "upstreams: must be a mapping, not a list"),
        (route("params: {temperature: hot}"), "routes[0].params.temperature: must be a number"),
        (route("params: {temperature: .nan}"), "routes[0].params.temperature: is not a finite number"),
        (route("abstain_text: ''"), "routes[0].abstain_text: must be text of at least one character"),
        (
            route(before="keys: [{name: k, sha256: short}]\n"),
            "keys[0].sha256: 'short' is not a SHA-256 hash; use 64 hexadecimal digits",
        ),
        (
            "upstreams: {u: {base_url: http://h}}\nroutes: [{name: 'a b', models: [m], upstream: u}]",
            "routes[0].name: 'a b' is not a name; use 1 to 64",
        ),
    ],
)
def test_a_wrong_value_is_named(text, said):
    assert problem(text).startswith(said)


# What types cannot say

HASH = "0" * 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            route(before="server: {host: 0.0.0.0}\n"),
            (
                "server.host: 0.0.0.0 is reachable from other machines and there are no "
                "keys; add `keys:` (or `stored_keys: true`, and `idk key create`), or "
                "`open: true` if everyone may use it"
            ),
        ),
        (route(before="server: {host: my.host}\n"), "server.host: my.host is reachable"),
        (
            route(upstream="upstreams: {u: {}}\n"),
            "upstreams.u: has no address; set base_url (or base_url_env), or litellm",
        ),
        (route(upstream="upstreams: {u: {litellm: x, auth: forward}}\n"), "upstreams.u.auth: LiteLLM takes"),
        (
            route(upstream="upstreams: {u: {of: [x]}, w: {base_url: http://h}}\n"),
            "upstreams.u.of: `x` is not a single upstream; known are w",
        ),
        (
            route(upstream="upstreams: {u: {of: [u]}, w: {base_url: http://h}}\n"),
            "upstreams.u.of: `u` is not a single upstream",
        ),
        (route(upstream="upstreams: {u: {of: []}}\n"), "upstreams.u.of: names no upstream"),
        (
            route(upstream="upstreams: {u: {of: [w, w]}, w: {base_url: http://h}}\n"),
            "upstreams.u.of: names an upstream twice",
        ),
        (
            route(upstream="upstreams: {u: {of: {w: 0}}, w: {base_url: http://h}}\n"),
            "upstreams.u.of: every weight is 0",
        ),
        (route(upstream="upstreams: {u: {of: {w: -1}}, w: {base_url: http://h}}\n"), "upstreams.u.of"),
        (
            route(upstream="upstreams: {u: {of: [w], timeout_s: 3}, w: {base_url: http://h}}\n"),
            "upstreams.u: of: combines other upstreams",
        ),
        (
            route(upstream="upstreams: {u: {base_url: http://h, transport: aiohttp}}\n"),
            "upstreams.u.transport: the setting was removed, the proxy has one HTTP client; delete the line",
        ),
        (
            route(upstream="upstreams: {u: {base_url: http://h, breaker: {failure: 3}}}\n"),
            "upstreams.u.breaker.failure: unknown key; did you mean `failures`?",
        ),
        (
            route(upstream="upstreams: {u: {base_url: http://h, auth: forward, api_key_env: K}}\n"),
            "upstreams.u: auth: forward",
        ),
        (
            f"{UPSTREAM}routes: [{{{ROUTE}}}, {{{ROUTE}}}]",
            "routes: the name `r` is used twice; names are unique",
        ),
        (
            route(before=f"keys: [{{name: k, sha256: '{HASH}'}}, {{name: k, sha256: '{HASH}'}}]\n"),
            "keys: the name `k` is used twice",
        ),
        (
            route(before=f"keys: [{{name: k, sha256: '{HASH}', routes: [rr]}}]\n"),
            "keys.k.routes: `rr` is not a route; did you mean `r`?",
        ),
        (
            f"{UPSTREAM}routes: [{{name: r, models: [m], upstream: w}}]",
            "routes[0].upstream: `w` is not among upstreams; known are u",
        ),
        (
            route("scorers: [mean_logprb]"),
            "routes[0].scorers: `mean_logprb` is not a scorer; did you mean `mean_logprob`?",
        ),
        (route("mode: enforce"), "routes[0]: enforce needs a policy or a score_threshold"),
        (
            route("mode: enforce, scorers: [mean_logprob]"),
            "routes[0]: enforce needs a policy or a score_threshold",
        ),
        (
            route("policy: p, scorers: [mean_logprob]"),
            "routes[0]: a policy has its own scorers and threshold",
        ),
        (route("policy: p, score_threshold: -1"), "routes[0]: a policy has its own scorers and threshold"),
        (route("threshold: 0.5"), "routes[0].threshold: applies to the confidence, which needs a policy"),
        (
            route("scorers: [mean_logprob, min_logprob]"),
            "routes[0].scorers: only a policy can combine several scorers",
        ),
        (route("score_threshold: -1"), "routes[0].score_threshold: needs a scorer; name one"),
        (
            route("scorers: [mean_logprob], score_threshold: .nan"),
            "routes[0].score_threshold: is not a finite number",
        ),
        (route("on_low: escalate"), "routes[0].escalate_to: is missing"),
        (route("escalate_to: r"), "routes[0].escalate_to: is used with on_low: escalate only"),
        (route("on_low: escalate, escalate_to: r"), "routes[0].escalate_to: is a cycle: r -> r"),
        (route("on_low: escalate, escalate_to: s"), "routes[0].escalate_to: `s` is not a route"),
        (route("judge: r"), "routes[0].judge: `r` is not another route"),
        (route("embeddings: {upstream: v, model: m}"), "routes[0].embeddings.upstream: `v` is not among"),
        (route("embeddings: {upstream: u}"), "routes[0].embeddings: set upstream and model, or local"),
        (route("embeddings: {model: m, local: minilm}"), "routes[0].embeddings: set upstream and model, or"),
        (route("embeddings: {}"), "routes[0].embeddings: set upstream and model, or local alone"),
        (route("rag: {instruct: true}"), "routes[0].rag.instruct: applies to a rescue only"),
    ],
)
def test_what_fits_its_type_and_still_makes_no_sense(text, said):
    assert problem(text).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        route(before="server: {host: localhost}\n"),
        route(before="server: {host: '::1'}\n"),
        route(before="server: {host: 127.9.9.9}\n"),
        route(before="server: {host: 0.0.0.0, open: true}\n"),
        route(before=f"server: {{host: 0.0.0.0}}\nkeys: [{{name: k, sha256: '{HASH}', routes: [r]}}]\n"),
        route("mode: enforce, policy: p, threshold: 0.5"),
        route("mode: enforce, scorers: [min_logprob], score_threshold: -1"),
        route("params: {temperature: 0, top_p: 0.5}"),
        route(upstream="upstreams: {u: {litellm: anthropic, api_key_env: K}}\n"),
    ],
)
def test_what_is_sound(text):
    parse(text)


# Files


def test_a_file_is_read(tmp_path):
    path = tmp_path / "idk.yaml"
    path.write_text(route("abstain_text: 'Je ne sais pas — é'"), encoding="utf-8")
    assert config.load(path).routes[0].abstain_text == "Je ne sais pas — é"


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file; `idk init` writes"):
        config.load(tmp_path / "none.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: the directory has no \.yaml file"):
        config.load(tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="binary: cannot be read"):
        config.load(tmp_path / "binary")


def test_an_upstream_alone_is_a_configuration():
    found = config.for_upstream("https://api.example.com/v1")
    assert found.upstreams["upstream"].auth == "forward"
    assert (found.routes[0].models, found.routes[0].mode) == (("*",), "observe")


def test_yaml_itself_would_have_read_off_as_false():
    assert yaml.safe_load("mode: off") == {"mode": False}


THREE = """
upstreams: {u: {base_url: http://h/v1}}
routes:
  - {name: a, models: [a], upstream: u, on_low: escalate, escalate_to: b}
  - {name: b, models: [b], upstream: u, on_low: escalate, escalate_to: c}
  - {name: c, models: [c], upstream: u, LAST}
"""


@pytest.mark.parametrize(("last", "said"), [
    ("on_low: escalate, escalate_to: a", "routes[0].escalate_to: is a cycle: a -> b -> c -> a"),
    ("on_low: escalate, escalate_to: b", "routes[1].escalate_to: is a cycle: b -> c -> b"),
    ("mode: off", "routes[1].escalate_to: `c` is off"),
    ("judge: a", "routes[0].judge: is a cycle: a -> b -> c -> a"),
])  # fmt: skip
def test_a_chain_of_routes_must_end_at_a_gate(last, said):
    assert problem(THREE.replace("LAST", last)).startswith(said)
    parse(THREE.replace(", LAST", ""))


@pytest.mark.parametrize("name", [".", "..", '"a\\n"', '"a\\e"', "é", "a/b", "''"])
def test_a_name_holds_nothing_that_a_path_or_a_terminal_reads(name):
    text = f"{UPSTREAM}routes: [{{name: {name}, models: [m], upstream: u}}]"
    assert "is not a name; use 1 to 64" in problem(text)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_a_score_threshold_is_a_number(value):
    text = route(f"scorers: [mean_logprob], score_threshold: {value}")
    assert problem(text) == "routes[0].score_threshold: is not a finite number"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (route("mode: enforced"), "'enforced' is not a mode; use enforce, observe or off"),
        (route("on_drift: ignore"), "'ignore' is not one of its values; use abstain, revoke or warn"),
        (
            route(upstream="upstreams: {u: {base_url: http://h, formats: [caht]}}\n"),
            "upstreams.u.formats[0]: 'caht' is not a wire format; use chat, completions, messages or responses",
        ),
        (
            route("samples: " + "9" * 401),
            "routes[0].samples: must be a whole number from 0 to 64, not a number of",
        ),
        (route("samples: true"), "routes[0].samples: must be a whole number from 0 to 64, not true"),
    ],
)
def test_a_wrong_value_is_answered_with_the_allowed_ones(text, said):
    assert said in problem(text)
