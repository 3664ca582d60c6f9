"""``idk demo``: the whole of it on an embedded model, in a few minutes and without a key."""

from __future__ import annotations

import signal
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from proxy.demo import Asked, Setting
    from proxy.demo.questions import Question

#: Requests that the embedded model answers at once: on two cores more only wait.
SLOTS = 4
#: What the extra ``demo`` installs.
_EXTRA = ("openai", "xllamacpp")
#: The samples that take the place of logprobs: more hardly say more.
_SAMPLES = 5
#: How many examples of each kind are shown.
_EXAMPLES = 4


class _Source(TypedDict):
    logprobs: bool
    samples: int


def demo(
    model: Annotated[str, typer.Option(help="The embedded model: 0.5b, 1.5b or smollm2.")] = "0.5b",
    questions: Annotated[int, typer.Option(min=80, max=1_400, help="How many, both halves together.")] = 300,
    seed: Annotated[int, typer.Option(help="Which questions are drawn.")] = 0,
    logprobs: Annotated[
        bool, typer.Option(help="Whether the model's logprobs are read; without them five samples are.")
    ] = True,
    samples: Annotated[
        int | None, typer.Option(min=0, max=64, help="Further samples of each answer. [default: 0, or 5]")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay up, so that an app can be pointed at it.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the proxy; 0 takes a free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Put a real model behind the proxy and show what gating changes."""
    from rich.console import Console

    from proxy.demo import Setting
    from proxy.demo.embedded.fetch import fetch
    from proxy.demo.embedded.models import MODELS
    from proxy.demo.embedded.server import EmbeddedServer

    if model not in MODELS:
        raise ConfigError(f"--model: {model} is unknown; choose one of {', '.join(MODELS)}")
    if missing := [name for name in _EXTRA if find_spec(name) is None]:
        raise RunError(f"demo: {' and '.join(missing)} not installed: pip install 'idk-proxy[demo]'")
    # Told to end, it ends as by Ctrl-C: the model, the proxy and the folder go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    source = _source(logprobs=logprobs, samples=samples)
    weights = fetch(MODELS[model])
    title = weights.name if weights.sha256 is None else MODELS[model].title
    console.print(f"\n[bold]idk demo[/]  {title} behind the proxy,")
    console.print(f"          {questions} questions of the project's own\n")
    with (
        tempfile.TemporaryDirectory(prefix="idk-demo-") as folder,
        EmbeddedServer(weights, slots=max(SLOTS, source["samples"])) as server,
    ):
        setting = Setting(Path(folder), server.base_url, server.model, **source)
        _run(console, setting, questions, seed, port, serve=serve, as_json=as_json)


def _source(*, logprobs: bool, samples: int | None) -> _Source:
    """The evidence that the gate reads; raises ConfigError where there is none."""
    drawn = (0 if logprobs else _SAMPLES) if samples is None else samples
    if not (logprobs or drawn):
        raise ConfigError("--samples: without logprobs there is no other evidence; draw at least one")
    return {"logprobs": logprobs, "samples": drawn}


def _run(
    console: Console,
    setting: Setting,
    n: int,
    seed: int,
    port: int,
    *,
    serve: bool,
    as_json: bool,
) -> None:
    import msgspec

    from proxy import demo
    from proxy.demo import asked, telling
    from proxy.offline.progress import Steps

    first, second = halves(n, seed)
    console.print(f"1. {len(first)} questions are asked and graded; a policy is fitted on them.")
    with Steps("first half", len(first)) as steps:
        tuned = demo.fit(setting, first, concurrency=SLOTS, seed=seed, told=lambda _: steps.step())
    console.print(f"   {telling.fitted(tuned)}")
    with demo.serving(setting, port) as base_url, asked.client_of(base_url) as client:
        console.print(
            f"\n2. {len(second)} questions about other facts go through the running proxy,\n"
            "   by the official openai client."
        )
        with Steps("second half", len(second)) as steps:
            answers = demo.ask_openly(client, second, concurrency=SLOTS, told=lambda _: steps.step())
        shown = examples(answers)
        gated = demo.ask_gated(client, [one.question for one in shown])
        pairs = list(zip(shown, gated, strict=True))
        if not as_json:
            _tell(console, answers, pairs)
        by_source = _by_source(console, setting, second, seed) if setting.samples and setting.logprobs else {}
        if as_json:
            figures = telling.figures(tuned, answers, pairs) | by_source
            print(msgspec.json.encode(figures).decode(), flush=True)
        if serve:
            _stay(console, base_url)


def _by_source(
    console: Console, setting: Setting, questions: Sequence[Question], seed: int
) -> dict[str, object]:
    """What logprobs, samples and both are worth on the same answers; shown, and as plain JSON values."""
    from proxy.demo import sources, telling
    from proxy.offline.progress import Steps

    console.print("4. The second half once more, with each kind of evidence alone and with both:\n")
    with Steps("sources", len(questions)) as steps:
        found = sources.compared(
            setting, questions, concurrency=SLOTS, seed=seed, told=lambda _: steps.step()
        )
    scores = sources.worth(found)
    telling.show_sources(console, found, scores)
    console.print(f"   {sources.verdict(scores)}\n")
    return {"sources": scores, "sources_verdict": sources.verdict(scores)}


def _tell(console: Console, answers: Sequence[Asked], pairs: Sequence[tuple[Asked, Asked]]) -> None:
    from proxy.demo import telling
    from proxy.demo.tally import separation

    console.print("\n   A few of them, with the gate at confidence 0.75:\n")
    telling.show_examples(console, pairs)
    console.print(f"3. All {len(answers)} of the second half, which nothing was fitted on:\n")
    telling.show_table(console, answers)
    console.print('   The score is the mean of 1 for right and 0 for "I don\'t know". The gate at t')
    console.print("   answers from confidence t on: that pays where a wrong answer costs t/(1-t).")
    found = separation(answers)
    if found is not None:
        (value, (low, high)) = found
        console.print(
            f"   Confidence tells right from wrong with AUROC {value:.2f} ({low:.2f}-{high:.2f}).\n"
        )


def halves(n: int, seed: int) -> tuple[list[Question], list[Question]]:
    """``n`` questions in two halves that share no fact."""
    from proxy.demo.questions import sample
    from proxy.demo.splitting import parted

    return parted(sample(n, seed), 0.5, seed)


def examples(answers: Sequence[Asked]) -> list[Asked]:
    """The first few that pass and the first few that do not, in the order in which they were asked."""
    threshold = 0.75
    passing = [one for one in answers if one.served(threshold)][:_EXAMPLES]
    withheld = [one for one in answers if not one.served(threshold)][:_EXAMPLES]
    return [one for one in answers if one in passing or one in withheld]


def _stay(console: Console, base_url: str) -> None:
    """Until Ctrl-C."""
    import threading

    from proxy.demo.questions import SYSTEM_PROMPT

    console.print(
        "The proxy stays up until Ctrl-C. In an app, with the system prompt that the policy was fitted on:\n"
    )
    for line in (
        f'client = OpenAI(base_url="{base_url}", api_key="unused")',
        f'system = {{"role": "system", "content": "{SYSTEM_PROMPT}"}}',
        'user = {"role": "user", "content": "What is 69 - 45?"}',
        'client.chat.completions.create(model="gated", messages=[system, user])',
    ):
        console.print(f"    {line}", markup=False, soft_wrap=True)
    threading.Event().wait()
