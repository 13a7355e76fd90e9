"""A copy of a prompt and its answer, made while the request runs, where the tenant's policy asks for it (`proxy.copies`)."""

from codecs import utf_8_decode
from typing import Final

from contracts.events import UsageData
from contracts.prompts import PromptData

LIMIT: Final = 128 << 10
"""Bytes of a body that are copied."""


class Copy:
    """Of one request, while it runs."""

    __slots__ = ("_answer", "_asked", "_cut", "_room")

    def __init__(self, body: bytes) -> None:
        self._asked = body[:LIMIT]
        self._cut = len(body) > LIMIT
        self._answer: list[bytes] = []
        self._room = LIMIT

    def hear(self, data: bytes) -> None:
        """Take the next bytes that the client gets."""
        if self._room >= 0:
            self._answer.append(data[: max(0, self._room)])
            self._room -= len(data)

    def data(self, usage: UsageData) -> PromptData:
        """Return the record; `usage` says whose request it was."""
        answer = b"".join(self._answer)
        return PromptData(
            producer=usage.producer,
            request_id=usage.request_id,
            tenant=usage.tenant,
            team=usage.team,
            user=usage.user,
            key=usage.key,
            end_user=usage.end_user,
            instance=usage.instance,
            model=usage.model,
            endpoint=usage.endpoint,
            admitted_at=usage.admitted_at,
            status=usage.status,
            outcome=usage.outcome,
            request=_text(self._asked, self._cut) if self._asked else None,
            request_truncated=self._cut,
            response=_text(answer, self._room < 0) if answer else None,
            response_truncated=self._room < 0,
        )


def _text(body: bytes, cut: bool) -> str | None:
    try:
        return utf_8_decode(body, "strict", not cut)[0]
    except UnicodeDecodeError:
        return None
