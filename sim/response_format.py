"""Answers of `/v1/responses`: one message, whole or as a stream of numbered events."""

import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from sim import logprobs
from sim.answers import Job, named
from sim.engine import Choice
from sim.errors import ApiError
from sim.logprobs import ChatToken
from sim.response import ResponsesRequest, response

LOGPROBS = "message.output_text.logprobs"
"""What `include` must name for log probabilities."""


class ResponseFormat:
    """Writes one response. `done` is told the finished one and its text before it is sent."""

    def __init__(self, job: Job, request: ResponsesRequest, done: Callable[[dict[str, Any], str], None]) -> None:
        self._job = job
        self._request = request
        self._done = done
        self._limit = job.choices[0].limits.max_tokens
        self._item = f"msg_{secrets.token_hex(8)}"
        self._number = 0
        self._open = False
        self._top = (request.top_logprobs or 0) if LOGPROBS in (request.include or ()) else None
        self._tokens: list[dict[str, Any]] = []

    def opening(self) -> bytes:
        """Return the response twice, as created and as in progress."""
        begun = response(self._job, self._request, "in_progress", self._limit)
        return self._event("response.created", {"response": begun}) + self._event(
            "response.in_progress", {"response": begun}
        )

    def event(self, choice: Choice, text: str) -> bytes:
        """Return what the newest token adds; nothing when it shows nothing, as vLLM does, log probability or not."""
        if not text:
            return b""
        opened = b"" if self._open else self._open_item()
        self.keep(choice)
        shown = [] if self._top is None else [_without_bytes(self._tokens[-1])]
        place = {"content_index": 0, "delta": text, "item_id": self._item, "logprobs": shown, "output_index": 0}
        return opened + self._event("response.output_text.delta", place)

    def closing(self) -> bytes:
        """Return the end of the message and the finished response; there is no other end mark."""
        end = self._close_item() if self._open else b""
        return end + self._event("response.completed", {"response": self._finished()})

    def failure(self, _error: ApiError) -> None:
        """Return nothing: vLLM 0.32.0 has no event for it and breaks the connection."""

    def keep(self, choice: Choice) -> None:
        """Remember the newest token's likelihood if it is asked for."""
        if self._top is not None:
            self._tokens.append(_token(logprobs.chat_token(choice, self._top)))

    def body(self) -> bytes:
        """Return the whole response."""
        return msgspec.json.encode(self._finished())

    def _finished(self) -> dict[str, Any]:
        job, choice = self._job, self._job.choices[0]
        status = "incomplete" if choice.finish == "length" else "completed"
        finished = response(job, self._request, status, self._limit, (self._message("completed"),), used=True)
        self._done(finished, choice.text)
        return finished

    def _message(self, status: str) -> dict[str, Any]:
        content = [self._part()] if status == "completed" and self._job.choices[0].text else []
        kind = {"role": "assistant", "status": status, "type": "message", "phase": None}
        return {"id": self._item, "content": content, **kind}

    def _part(self) -> dict[str, Any]:
        text = self._job.choices[0].text
        return {"annotations": [], "text": text, "type": "output_text", "logprobs": self._tokens or None}

    def _open_item(self) -> bytes:
        self._open = True
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        place = {"content_index": 0, "item_id": self._item, "output_index": 0, "part": part}
        added = self._event("response.output_item.added", {"item": self._message("in_progress"), "output_index": 0})
        return added + self._event("response.content_part.added", place)

    def _close_item(self) -> bytes:
        place = {"content_index": 0, "item_id": self._item}
        done = {**place, "logprobs": [], "output_index": 0}
        text = self._job.choices[0].text
        number = self._event("response.output_text.done", done, text=text)
        number += self._event("response.content_part.done", {**place, "output_index": 0, "part": self._part()})
        item = {"item": self._message("completed"), "output_index": 0}
        return number + self._event("response.output_item.done", item)

    def _event(self, kind: str, fields: dict[str, Any], **after: object) -> bytes:
        """Return the next event; the number and the type stand behind its fields, as in OpenAI's SDK."""
        payload = {**fields, "sequence_number": self._number, **after, "type": kind}
        self._number += 1
        return named(kind, payload)


def _token(shown: ChatToken) -> dict[str, Any]:
    top = [{"token": other.token, "bytes": other.bytes, "logprob": other.logprob} for other in shown.top_logprobs]
    return {"token": shown.token, "bytes": shown.bytes, "logprob": shown.logprob, "top_logprobs": top}


def _without_bytes(token: dict[str, Any]) -> dict[str, Any]:
    top = [{"token": other["token"], "logprob": other["logprob"]} for other in token["top_logprobs"]]
    return {"token": token["token"], "logprob": token["logprob"], "top_logprobs": top}
