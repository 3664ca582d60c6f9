"""The command ``idk demo``."""

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

    from proxy.demo import DemoSetup, GradedAnswer
    from proxy.demo.questions import Question

#: Requests that the embedded model answers at the same time; on two cores more requests only wait.
SLOTS = 4
#: Packages of the extra ``demo``.
_EXTRA = ("openai", "xllamacpp")
#: Number of samples in place of logprobs; more samples hardly improve the confidence.
_SAMPLES = 5
#: Number of examples of each kind.
_EXAMPLES = 4


class _Source(TypedDict):
    logprobs: bool
    samples: int


def demo(
    model: Annotated[str, typer.Option(help="The embedded model: 0.5b, 1.5b or smollm2.")] = "0.5b",
    questions: Annotated[
        int, typer.Option(min=80, max=1_400, help="Number of questions, both halves together.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="Seed for drawing the questions.")] = 0,
    logprobs: Annotated[
        bool, typer.Option(help="Read the model's logprobs; without them, five samples are drawn.")
    ] = True,
    samples: Annotated[
        int | None,
        typer.Option(
            min=0, max=64, help="Number of further samples of each answer. [default: 0; 5 without logprobs]"
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the proxy running at the end, for your own requests.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the proxy; 0 takes a free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Put an embedded model behind the proxy and show what gating changes, in a few minutes and without an API key."""
    from rich.console import Console

    from proxy.demo import DemoSetup
    from proxy.demo.embedded.fetch import fetch
    from proxy.demo.embedded.models import MODELS
    from proxy.demo.embedded.server import EmbeddedServer

    if model not in MODELS:
        raise ConfigError(f"--model: {model} is unknown; choose one of {', '.join(MODELS)}")
    if missing := [name for name in _EXTRA if find_spec(name) is None]:
        raise RunError(f"demo: {' and '.join(missing)} not installed: pip install 'idk-proxy[demo]'")
    # SIGTERM is handled like Ctrl-C, so that the model, the proxy and the temporary folder are cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    source = _source(logprobs=logprobs, samples=samples)
    weights = fetch(MODELS[model])
    title = weights.name if weights.sha256 is None else MODELS[model].title
    console.print(f"\n[bold]idk demo[/]  {title} behind the proxy,")
    console.print(f"          {questions} questions from the project's question set\n")
    with (
        tempfile.TemporaryDirectory(prefix="idk-demo-") as folder,
        EmbeddedServer(weights, slots=max(SLOTS, source["samples"])) as server,
    ):
        setup = DemoSetup(Path(folder), server.base_url, server.model, **source)
        _run(console, setup, questions, seed, port, serve=serve, as_json=as_json)


def _source(*, logprobs: bool, samples: int | None) -> _Source:
    """Return the evidence that the gate reads; raise ConfigError where there is none."""
    drawn = (0 if logprobs else _SAMPLES) if samples is None else samples
    if not (logprobs or drawn):
        raise ConfigError("--samples: without logprobs the samples are the only evidence; draw at least one")
    return {"logprobs": logprobs, "samples": drawn}


def _run(
    console: Console,
    setup: DemoSetup,
    n: int,
    seed: int,
    port: int,
    *,
    serve: bool,
    as_json: bool,
) -> None:
    import msgspec

    from proxy import demo
    from proxy.demo import tables
    from proxy.demo.client import client_of
    from proxy.offline.progress import Steps

    first, second = halves(n, seed)
    console.print(f"1. Ask and grade {len(first)} questions, and fit a policy on them.")
    with Steps("first half", len(first)) as steps:
        tuned = demo.fit(setup, first, concurrency=SLOTS, seed=seed, on_answer=lambda _: steps.step())
    console.print(f"   {tables.fitted(tuned)}")
    with demo.running_proxy(setup, port) as base_url, client_of(base_url) as client:
        console.print(
            f"\n2. Ask {len(second)} questions about other facts through the running proxy,\n"
            "   with the official openai client."
        )
        with Steps("second half", len(second)) as steps:
            answers = demo.ask_observed(client, second, concurrency=SLOTS, on_answer=lambda _: steps.step())
        shown = examples(answers)
        gated = demo.ask_gated(client, [one.question for one in shown])
        pairs = list(zip(shown, gated, strict=True))
        if not as_json:
            _show(console, answers, pairs)
        by_source = _by_source(console, setup, second, seed) if setup.samples and setup.logprobs else {}
        if as_json:
            figures = tables.figures(tuned, answers, pairs) | by_source
            print(msgspec.json.encode(figures).decode(), flush=True)
        if serve:
            _keep_running(console, base_url)


def _by_source(
    console: Console, setup: DemoSetup, questions: Sequence[Question], seed: int
) -> dict[str, object]:
    """Compare logprobs, samples and both on the same answers; print the table and return it as JSON values."""
    from proxy.demo import evidence_sources, tables
    from proxy.offline.progress import Steps

    console.print("4. Ask the second half again, with each kind of evidence alone and with both:\n")
    with Steps("sources", len(questions)) as steps:
        found = evidence_sources.compare_sources(
            setup, questions, concurrency=SLOTS, seed=seed, on_answer=lambda _: steps.step()
        )
    scores = evidence_sources.scores_by_source(found)
    tables.show_sources(console, found, scores)
    console.print(f"   {evidence_sources.verdict(scores)}\n")
    return {"sources": scores, "sources_verdict": evidence_sources.verdict(scores)}


def _show(
    console: Console, answers: Sequence[GradedAnswer], pairs: Sequence[tuple[GradedAnswer, GradedAnswer]]
) -> None:
    from proxy.demo import tables
    from proxy.demo.counts import separation

    console.print("\n   Examples, with the gate at confidence 0.75:\n")
    tables.show_examples(console, pairs)
    console.print(f"3. All {len(answers)} questions of the second half, which were not used for the fit:\n")
    tables.show_table(console, answers)
    console.print('   The score is the mean of 1 for right and 0 for "I don\'t know". The gate at t')
    console.print("   answers at confidence t or more: that pays if a wrong answer costs t/(1-t).")
    found = separation(answers)
    if found is not None:
        (value, (low, high)) = found
        console.print(
            f"   The confidence separates right from wrong with AUROC {value:.2f} ({low:.2f}-{high:.2f}).\n"
        )


def halves(n: int, seed: int) -> tuple[list[Question], list[Question]]:
    """Draw ``n`` questions in two halves that share no fact."""
    from proxy.demo.questions import sample, split_by_fact

    return split_by_fact(sample(n, seed), 0.5, seed)


def examples(answers: Sequence[GradedAnswer]) -> list[GradedAnswer]:
    """Return the first few answers that pass the gate and the first few that do not, in the order of asking."""
    threshold = 0.75
    passing = [one for one in answers if one.served(threshold)][:_EXAMPLES]
    withheld = [one for one in answers if not one.served(threshold)][:_EXAMPLES]
    return [one for one in answers if one in passing or one in withheld]


def _keep_running(console: Console, base_url: str) -> None:
    """Print how to use the proxy and wait for Ctrl-C."""
    import threading

    from proxy.demo.questions import SYSTEM_PROMPT

    console.print(
        "The proxy runs until Ctrl-C. In an app, with the system prompt that the policy was fitted on:\n"
    )
    for line in (
        f'client = OpenAI(base_url="{base_url}", api_key="unused")',
        f'system = {{"role": "system", "content": "{SYSTEM_PROMPT}"}}',
        'user = {"role": "user", "content": "What is 69 - 45?"}',
        'reply = client.chat.completions.create(model="support", messages=[system, user])',
        'print(reply.choices[0].message.content, reply.model_extra["idk"]["choices"][0])',
    ):
        console.print(f"    {line}", markup=False, soft_wrap=True)
    threading.Event().wait()
