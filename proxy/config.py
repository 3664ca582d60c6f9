"""`idk.yaml` as frozen, typed values; whatever is wrong in it is one line that names file, key and mend."""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from gating import SCORERS
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_BOOL = "tag:yaml.org,2002:bool"

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, Meta(ge=0.0)]
Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the store forgets: by age everything, by number what is neither labelled nor in the audit sample."""

    days: Annotated[float, Meta(gt=0.0, le=36_500.0)] = 90.0
    decisions: Annotated[int, Meta(ge=1)] = 1_000_000


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the proxy listens, and what holds for every request."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    open: bool = False
    #: Whether clients' keys are in the store (`idk key create`): nothing is open until there is one.
    stored_keys: bool = False
    store: str = "sqlite:///idk.db"
    admin_key_env: str = "IDK_ADMIN_KEY"
    log_text: bool = False
    #: How the proxy's own log looks: lines for a person, or JSON for a collector.
    log: Literal["console", "json"] = "console"
    #: The variable with the key that kept texts are sealed with; where it is not set they are readable.
    audit_key_env: str = "IDK_AUDIT_KEY"
    retention: Retention = Retention()
    max_body_bytes: Annotated[int, Meta(ge=1_024)] = 20_000_000
    #: Of a gated request's JSON, keys included; see ``proxy.shape``.
    max_body_strings: Annotated[int, Meta(ge=1_024)] = 32_000
    #: Of a request's line and headers, names and values.
    max_head_bytes: Annotated[int, Meta(ge=1_024)] = 65_536
    max_headers: Annotated[int, Meta(ge=8)] = 128
    #: How long a request's head may take to come, and then its body, which wins a second with every 1,000 bytes;
    #: and how long a client may read nothing of its answer.
    receive_timeout_s: Seconds = 60.0
    #: Of one upstream's answer; a held stream costs at most a small multiple of it.
    max_answer_bytes: Annotated[int, Meta(ge=1_024)] = 50_000_000
    #: Requests under way at once in one process; over it the proxy answers 503 with retry-after.
    max_in_flight: Annotated[int, Meta(ge=1)] = 4_096
    #: Whether each gated request has a span (OTEL_EXPORTER_OTLP_ENDPOINT says where it goes).
    opentelemetry: bool = False
    #: Origins whose pages may ask (CORS), or "*"; by default none.
    cors_origins: tuple[str, ...] = ()
    drain_s: Seconds = 30.0
    #: How long a server that is told to end listens on, not ready any more, so that a balancer turns away first.
    drain_lead_s: Annotated[float, Meta(ge=0.0, le=3_600.0)] = 0.0
    keepalive_s: Seconds = 5.0


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client's key, known by its hash alone."""

    name: Name
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    routes: tuple[Name, ...] | None = None
    #: In the last 60 seconds, over all replicas that share the store.
    requests_per_minute: Annotated[int, Meta(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1)] | None = None


class Breaker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an upstream that fails again and again is left alone."""

    #: In a row: no connection, no answer in time, or the upstream's own failure (5xx). 0 never opens it.
    failures: Annotated[int, Meta(ge=0)] = 50
    #: How long it is left alone before one request tries it again.
    open_s: Seconds = 5.0


class Upstream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model server: called directly where it speaks OpenAI's format, else through LiteLLM.

    Or several of them as one (``of``): asked in the order of a list, or drawn by the weights of a mapping, the
    next where one fails.
    """

    of: tuple[Name, ...] | dict[Name, Weight] | None = None
    base_url: str | None = None
    litellm: str | None = None
    api_key_env: str | None = None
    auth: Literal["key", "forward"] = "key"
    #: The wire formats that it speaks itself; the others are translated to chat completions. By default what a
    #: server of OpenAI's format has (chat, completions, responses), through LiteLLM chat alone.
    formats: tuple[Literal["chat", "completions", "responses", "messages"], ...] | None = None
    logprobs: Literal["auto", "native", "none"] = "auto"
    timeout_s: Seconds = 60.0
    connect_timeout_s: Seconds = 5.0
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    max_connections: Annotated[int, Meta(ge=1)] = 1_000
    transport: Literal["lean", "aiohttp"] = "lean"
    breaker: Breaker = Breaker()


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that one request may cost beyond its own answer."""

    #: Further samples of one request.
    samples: Annotated[int, Meta(ge=0, le=64)] = 8
    #: Tokens of one request's further calls, prompts included; null for no bound.
    tokens: Annotated[int, Meta(ge=1)] | None = None
    #: How long a verdict may wait for other calls once the answer is there.
    timeout_s: Seconds = 30.0
    #: Further calls that a route has under way at one time.
    concurrency: Annotated[int, Meta(ge=1)] = 32


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How further samples are drawn; what the client asks for holds for its answer alone."""

    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.8
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    #: none: all of them with the answer; band: all after it, where they can change the verdict; sequential: a few
    #: at a time, until the others cannot.
    wait: Literal["none", "band", "sequential"] = "none"
    #: The chance, at most, that all the samples would have decided otherwise than those that were drawn.
    level: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0


class Fallback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What judges an answer that the route's own gate could not measure: a raw score, without a confidence."""

    scorers: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1)]
    score_threshold: float


class Embeddings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turns texts into vectors: a model behind an upstream's ``/embeddings``, or one of the proxy's own."""

    upstream: Name | None = None
    model: Annotated[str, Meta(min_length=1)] | None = None
    #: In place of both: a model that works in the proxy itself (the extra ``embeddings``).
    local: Name | None = None


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One worked example: a question, perhaps with passages, and its answer, which may be "I don't know."."""

    question: Annotated[str, Meta(min_length=1)]
    answer: Annotated[str, Meta(min_length=1)]
    context: tuple[str, ...] = ()


class Rag(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a request's context stands, and whether to ask again without it; see ``proxy.context``."""

    context: Annotated[str, Meta(min_length=1)] | None = None
    rescue: bool = False
    #: How passages that a request brings in its own ``idk`` field are put before its question.
    template: str | None = None
    #: Whether the question that is asked again says that passages may be irrelevant.
    instruct: bool = False
    #: Worked examples before every question: a file, one JSON object a line, or the examples themselves.
    examples: str | tuple[Example, ...] = ()


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests it takes, which upstream answers them, and how the answers are gated."""

    name: Name
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    upstream: Name
    model: str | None = None
    #: Sampling parameters set on every request to the upstream, over the client's own.
    params: dict[str, float | int] = msgspec.field(default_factory=dict)
    mode: Literal["enforce", "observe", "off"] = "observe"
    policy: str | None = None
    threshold: Probability | None = None
    scorers: tuple[str, ...] = ()
    score_threshold: float | None = None
    samples: Annotated[int, Meta(ge=0, le=64)] = 0
    sampling: Sampling = Sampling()
    #: Judges what is unmeasured, as where the upstream gives no logprobs; null: on_unmeasured decides.
    fallback: Fallback | None = None
    #: The route whose model says which samples mean the same, for agreement_judge.
    judge: Name | None = None
    #: For agreement_embedding.
    embeddings: Embeddings | None = None
    #: The model is told to answer only if it is surer than this, and what a mistake then costs; null: it is not.
    confidence_prompt: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    on_low: Literal["abstain", "escalate"] = "abstain"
    escalate_to: Name | None = None
    on_unmeasured: Literal["abstain", "answer"] = "abstain"
    #: The most that a whole request may take, retries, samples and remedies included; a client that says (by
    #: x-stainless-timeout) that it waits less is told in time.
    deadline_s: Seconds | None = None
    #: An answer that its length limit cut off: scored as it stands, or unmeasured.
    on_length: Literal["score", "unmeasured"] = "score"
    #: Whether a tool call is gated by the tokens of its arguments; else it passes, being no answer.
    gate_tools: bool = False
    abstain_text: Annotated[str, Meta(min_length=1)] = "I don't know."
    allow_override: bool = False
    #: The share of requests whose answers are kept for labelling, drawn at random whatever the gate says.
    audit: Probability = 0.0
    #: What happens, beyond the revoked certificate, when labels say that the risk is over its target.
    on_alarm: Literal["warn", "tighten", "abstain"] = "warn"
    budget: Budget = Budget()
    rag: Rag = Rag()


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    server: Server = Server()
    keys: tuple[Key, ...] = ()
    upstreams: dict[Name, Upstream]
    routes: Annotated[tuple[Route, ...], Meta(min_length=1)]


class _Loader(yaml.SafeLoader):
    """PyYAML, stricter: a key may stand once, and only true and false are booleans.

    PyYAML keeps the last of two equal keys and says nothing, and reads ``mode: off`` as YAML 1.1's false.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute, replaced whole
        first: [rule for rule in rules if rule[0] != _BOOL]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= sign <= "\udfff" for sign in node.value):
            raise _refused("holds half of a character; no text can be written with it", node)
        return super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a key must be plain text", key_node)
            if key_node.value == "<<":
                raise _refused("merging (<<) is not read here; write the keys out", key_node)
            if key_node.value in seen:
                raise _refused(f"the key `{key_node.value}` stands here twice; keep one", key_node)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _refused(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.add_implicit_resolver(_BOOL, re.compile("true|false|True|False|TRUE|FALSE"), list("tTfF"))


def load(path: Path) -> Config:
    """Read and check one file; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file; `idk init` writes a commented one") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
    return parse(text, str(path))


def parse(text: str, where: str) -> Config:
    """Check the text of a configuration; ``where`` names it in errors."""
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader that also refuses doubles
    except yaml.YAMLError as exc:
        raise ConfigError(f"{where}: {_yaml_problem(exc)}") from exc
    except ValueError as exc:  # of a date or a number that YAML's grammar takes and Python does not
        raise ConfigError(f"{where}: a value cannot be read: {exc}; put it in quotes") from exc
    except RecursionError as exc:
        raise ConfigError(
            f"{where}: nested too deeply; a configuration is at most a few levels deep"
        ) from exc
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {_schema_problem(exc, tree)}") from exc
    return checked(config, where)


def checked(config: Config, where: str) -> Config:
    """The same, if nothing is wrong that types cannot say; else raises ConfigError."""
    for problem in _problems(config):
        raise ConfigError(f"{where}: {problem}")
    return config


def with_server(config: Config, given: Mapping[str, Any], where: str) -> Config:
    """The same with these values in its ``server`` section, checked anew; raises ConfigError."""
    server = msgspec.structs.replace(config.server, **given)
    return checked(msgspec.structs.replace(config, server=server), where)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Begin every ConfigError of the body with ``where``, the file whose values are being used."""
    try:
        yield
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc


def for_upstream(base_url: str) -> Config:
    """The configuration of ``idk serve --upstream URL``: one route for every model, observing."""
    return parse(
        yaml.safe_dump(
            {
                # Nobody who names no file expects to find one afterwards.
                "server": {"store": "memory://"},
                "upstreams": {"upstream": {"base_url": base_url, "auth": "forward"}},
                "routes": [
                    {"name": "default", "models": ["*"], "upstream": "upstream", "scorers": ["mean_logprob"]}
                ],
            }
        ),
        "--upstream",
    )


def _yaml_problem(exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    problem = getattr(exc, "problem", None) or str(exc).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark else f"not YAML: {problem}"


_PATH = re.compile(r" - at `(?:key` in `)?\$?(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`", re.DOTALL)


def _schema_problem(exc: msgspec.ValidationError, tree: Any) -> str:
    """Msgspec's message, turned into ``key: what is wrong`` with the nearest known key."""
    message = str(exc)
    found = _PATH.search(message)
    place = found.group(1).lstrip(".") if found else ""
    message = _PATH.sub("", message)
    unknown = _UNKNOWN.match(message)
    if unknown:
        key = unknown.group(1)
        near = difflib.get_close_matches(key, _known_keys(place), n=1, cutoff=0.5)
        known = _known_keys(place)
        mend = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(known))}"
        return f"{_join(_named(place, tree), key)}: unknown key; {mend}"
    return f"{_named(place, tree) or 'the file'}: {message[0].lower()}{message[1:]}"


def _named(place: str, tree: Any) -> str:
    """``place`` with the name of the upstream, which msgspec leaves out (``upstreams[...]``)."""
    section, dots, rest = place.partition("[...]")
    if section != "upstreams" or not dots:
        return place
    for name, upstream in tree["upstreams"].items():
        try:
            msgspec.convert(upstream, Upstream)
        except msgspec.ValidationError:
            return f"upstreams.{name}{rest}"
    return place


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


#: The sections by the shape of their place in the file; a key that none of them knows is refused.
_SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    (r"server", Server),
    (r"server\.retention", Retention),
    (r"keys\[.*\]", Key),
    (r"upstreams\[.*\]\.breaker", Breaker),
    (r"upstreams\[.*\]", Upstream),
    (r"routes\[.*\]\.budget", Budget),
    (r"routes\[.*\]\.rag\.examples\[.*\]", Example),
    (r"routes\[.*\]\.sampling", Sampling),
    (r"routes\[.*\]\.embeddings", Embeddings),
    (r"routes\[.*\]\.fallback", Fallback),
    (r"routes\[.*\]\.rag", Rag),
    (r"routes\[.*\]", Route),
    (r"", Config),
)


def _known_keys(place: str) -> tuple[str, ...]:
    section: type[Struct] = next(section for shape, section in _SECTIONS if re.fullmatch(shape, place))
    return section.__struct_fields__


def _problems(config: Config) -> Iterator[str]:
    """What types cannot say: references, pairs of keys, what is dangerous."""
    yield from _server_problems(config)
    for name, upstream in config.upstreams.items():
        yield from _upstream_problems(f"upstreams.{name}", upstream, config.upstreams)
    yield from _duplicates("routes", [route.name for route in config.routes])
    yield from _duplicates("keys", [key.name for key in config.keys])
    names = {route.name for route in config.routes}
    for key in config.keys:
        for name in key.routes or ():
            if name not in names:
                yield f"keys.{key.name}.routes: `{name}` is no route; {_nearest(name, names)}"
    for place, route in enumerate(config.routes):
        yield from _route_problems(f"routes[{place}]", route, config)
        yield from _rag_problems(f"routes[{place}]", route.rag)
        if route.mode == "off" and route.audit:
            yield f"routes[{place}].audit: a route that is off judges nothing; use mode: observe"


def _server_problems(config: Config) -> Iterator[str]:
    server = config.server
    if not (config.keys or server.stored_keys or server.open or _is_loopback(server.host)):
        yield (
            f"server.host: {server.host} is reachable from other machines and there are no keys; "
            "add `keys:` (or `stored_keys: true`, and `idk key create`), or `open: true` if everyone may use it"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _upstream_problems(place: str, upstream: Upstream, known: Mapping[str, Upstream]) -> Iterator[str]:
    if upstream.of is not None:
        yield from _pool_problems(place, upstream, known)
        return
    if upstream.base_url is None and upstream.litellm is None:
        yield (
            f"{place}: give a base_url, or litellm: PROVIDER (a base_url beside it is the provider's), "
            "or of: [NAME, …]"
        )
    if upstream.litellm is not None and upstream.auth == "forward":
        yield f"{place}.auth: LiteLLM takes the key from api_key_env alone; leave auth: forward out"
    if upstream.auth == "forward" and upstream.api_key_env:
        yield f"{place}: auth: forward sends the client's own key; leave api_key_env out"


def _pool_problems(place: str, pool: Upstream, known: Mapping[str, Upstream]) -> Iterator[str]:
    if pool != Upstream(of=pool.of):
        yield f"{place}: of: makes one upstream of several, whose own keys stand with them; leave the others out"
    singles = {name for name, upstream in known.items() if upstream.of is None}
    for name in pool.of or ():
        if name not in singles:
            yield f"{place}.of: `{name}` is no upstream of its own; {_nearest(name, singles)}"
    if not pool.of:
        yield f"{place}.of: names no upstream; name at least one"
    elif isinstance(pool.of, dict):
        if not any(weight > 0 for weight in pool.of.values()):
            yield f"{place}.of: every weight is 0; give one of them more"
    elif len(set(pool.of)) < len(pool.of):
        yield f"{place}.of: names an upstream twice; each stands once"


def _route_problems(place: str, route: Route, config: Config) -> Iterator[str]:
    if route.upstream not in config.upstreams:
        mend = _nearest(route.upstream, config.upstreams)
        yield f"{place}.upstream: `{route.upstream}` is not among upstreams; {mend}"
    for name, value in route.params.items():
        if not math.isfinite(value):
            yield f"{place}.params.{name}: is not a finite number"
    yield from _gate_problems(place, route)
    yield from _gathering_problems(place, route, config)
    if route.fallback is not None:
        yield from _gate_problems(f"{place}.fallback", lower(route))


def _gate_problems(place: str, route: Route) -> Iterator[str]:
    """Of the policy, or the score and its threshold."""
    for name in route.scorers:
        if name not in SCORERS:
            yield f"{place}.scorers: `{name}` is no scorer; {_nearest(name, SCORERS)}"
    gated = route.policy is not None or route.score_threshold is not None
    if route.mode == "enforce" and not gated:
        yield (
            f"{place}: enforce needs a policy or a score_threshold: there is no default threshold on a raw "
            "score; use mode: observe until there is one"
        )
    if route.policy is not None and (route.scorers or route.score_threshold is not None):
        yield f"{place}: a policy brings its own scorers and threshold; leave scorers and score_threshold out"
    if route.policy is None and route.threshold is not None:
        yield f"{place}.threshold: is on the confidence, which needs a policy; without one set score_threshold"
    if route.policy is None and len(route.scorers) > 1:
        yield f"{place}.scorers: several scorers are combined by a policy; without one name a single scorer"
    if route.score_threshold is not None and not route.scorers:
        yield f"{place}.score_threshold: on which score? name one under scorers, as [mean_logprob]"
    if route.score_threshold is not None and math.isnan(route.score_threshold):
        yield f"{place}.score_threshold: is not a number"


def lower(route: Route) -> Route:
    """The route as its fallback judges; it has none itself."""
    given = route.fallback
    if given is None:
        return route
    return msgspec.structs.replace(
        route,
        policy=None,
        threshold=None,
        scorers=given.scorers,
        score_threshold=given.score_threshold,
        fallback=None,
    )


def _rag_problems(place: str, rag: Rag) -> Iterator[str]:
    if rag.instruct and not rag.rescue:
        yield f"{place}.rag.instruct: says how a rescue asks, and there is none; set rescue: true beside it"


def _gathering_problems(place: str, route: Route, config: Config) -> Iterator[str]:
    """Of the evidence that is asked for beside the answer."""
    if route.embeddings is not None:
        yield from _embeddings_problems(f"{place}.embeddings", route.embeddings, config.upstreams)
    others = {other.name: other for other in config.routes if other.name != route.name}
    if route.judge is not None and route.judge not in others:
        yield f"{place}.judge: `{route.judge}` is no other route; {_nearest(route.judge, others)}"
    if route.on_low == "escalate" and route.escalate_to is None:
        yield f"{place}.escalate_to: to which route? on_low: escalate needs its name"
    if route.escalate_to is not None:
        yield from _escalation_problems(place, route, {other.name: other for other in config.routes})
    yield from _circle(place, route, {other.name: other for other in config.routes})


def _embeddings_problems(place: str, given: Embeddings, upstreams: Mapping[str, Upstream]) -> Iterator[str]:
    if (given.upstream is None, given.model is None) != (given.local is not None,) * 2:
        yield f"{place}: say upstream and model, or local alone"
    elif given.upstream is not None and given.upstream not in upstreams:
        mend = _nearest(given.upstream, upstreams)
        yield f"{place}.upstream: `{given.upstream}` is not among upstreams; {mend}"


def _escalation_problems(place: str, route: Route, routes: Mapping[str, Route]) -> Iterator[str]:
    if route.on_low != "escalate":
        yield f"{place}.escalate_to: is used with on_low: escalate alone; set it, or leave escalate_to out"
    stronger = routes.get(route.escalate_to or "")
    if stronger is None:
        yield f"{place}.escalate_to: `{route.escalate_to}` is no route; {_nearest(route.escalate_to or '', routes)}"
    elif stronger.mode == "off":
        yield f"{place}.escalate_to: `{stronger.name}` is off, so nothing gates its answers; use enforce or observe"
    elif _around(stronger) != _around(route):
        yield (
            f"{place}.escalate_to: `{stronger.name}` puts other rag.examples or another confidence_prompt around a "
            "question, and a request goes on with those that it has; give both routes the same"
        )


def _around(route: Route) -> tuple[object, ...]:
    """What it puts around a question."""
    return route.rag.examples, route.confidence_prompt


def _circle(place: str, route: Route, routes: Mapping[str, Route]) -> Iterator[str]:
    """Routes that turn to one another (to escalate, or for a judge) must end somewhere."""
    paths = [[route.name]]
    while paths:
        path = paths.pop()
        last = routes[path[-1]]
        for key, name in (("escalate_to", last.escalate_to), ("judge", last.judge)):
            if name is not None and name == route.name:
                yield f"{place}.{key}: is a circle: {' -> '.join([*path, name])}; the last route must abstain"
                return
            if name is not None and name in routes and name not in path:
                paths.append([*path, name])


def _duplicates(place: str, names: list[str]) -> Iterator[str]:
    for name in names:
        if names.count(name) > 1:
            yield f"{place}: the name `{name}` stands twice; names are unique"
            return


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(known))}"
