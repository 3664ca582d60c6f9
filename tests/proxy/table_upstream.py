"""A small model server on loopback for the tests of `idk evaluate`: real HTTP, answers from a table."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request


class TableUpstream:
    """Answers the last message from ``answers``; ``failing`` maps a question to the statuses of its first replies.

    ``reached`` is set after ``enough`` requests.
    """

    def __init__(
        self,
        answers: Mapping[str, str],
        *,
        failing: Mapping[str, Sequence[int]] | None = None,
        logprobs: bool = True,
        most_choices: int = 8,
    ) -> None:
        self.answers, self.logprobs, self.most_choices = answers, logprobs, most_choices
        self.failing = {question: list(statuses) for question, statuses in (failing or {}).items()}
        self.asked: Counter[str] = Counter()
        self.reached = threading.Event()
        self.enough: int | None = None
        self.bodies: list[Any] = []
        self._app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])

    async def _complete(self, request: Request) -> JSONResponse:
        body = await request.json()
        question = body["messages"][-1]["content"]
        self.bodies.append(body)
        self.asked[question] += 1
        if self.enough is not None and self.asked.total() >= self.enough:
            self.reached.set()
        if self.failing.get(question):
            status = self.failing[question].pop(0)
            return JSONResponse({"error": {"message": f"failed with {status}"}}, status)
        if body.get("logprobs") and not self.logprobs:
            return JSONResponse({"error": {"message": "logprobs are not supported"}}, 400)
        count = min(body.get("n", 1), self.most_choices)
        choices = [self._choice(index, self.answer(question), body) for index in range(count)]
        return JSONResponse({"id": "c", "object": "chat.completion", "model": "m", "choices": choices})

    def answer(self, question: str) -> str:
        """Return the answer to a question."""
        return self.answers[question]

    def _choice(self, index: int, answer: str, body: Mapping[str, Any]) -> dict[str, Any]:
        tokens = [
            {
                "token": piece,
                "logprob": -0.1 * place,
                "bytes": list(piece.encode()),
                "top_logprobs": top(piece),
            }
            for place, piece in enumerate(pieces(answer))
        ]
        return {
            "index": index,
            "message": {"role": "assistant", "content": answer},
            "finish_reason": "stop",
            "logprobs": {"content": tokens} if body.get("logprobs") else None,
        }

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))  # listens at once
        config = uvicorn.Config(self._app, log_level="error", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    @property
    def base_url(self) -> str:
        """The base URL, with ``/v1``."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def config(self, folder: Path, **route: Any) -> Path:
        """Write a configuration with one route to this upstream, and return the file."""
        path = folder / "idk.yaml"
        path.write_text(
            json.dumps(
                {
                    "upstreams": {"local": {"base_url": self.base_url, "max_retries": 0}},
                    "routes": [{"name": "support", "models": ["m"], "upstream": "local", **route}],
                }
            ),
            encoding="utf-8",
        )
        return path


def pieces(answer: str) -> list[str]:
    """Cut an answer into tokens of three characters."""
    return [answer[place : place + 3] for place in range(0, len(answer), 3)]


def top(piece: str) -> list[dict[str, Any]]:
    """Return the two alternatives of a token, the token first."""
    return [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in ((piece, -0.1), ("~", -9999.0))]
