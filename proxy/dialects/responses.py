"""`/v1/responses`: OpenAI's responses, made, streamed, read again and cancelled.

vLLM keeps responses for whoever knows their id, which it takes from the request. So every response gets an id of ours, and
only the tenant that it was made for can name it: part of the id is an HMAC of the rest under the tenant's secret.

In a stream usage stands in the last event alone. A response that is read again is not billed again.
"""

import hmac
import secrets
from typing import Final

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import flag, put_together, read_json, text
from proxy.dialects.media import unname
from proxy.dialects.pooling import read_model
from proxy.events import EventWatcher
from proxy.sse import Fingerprint
from proxy.tokens import Tokens
from proxy.watch import FreeWatcher, Watcher
from proxy.whole import Found, WholeWatcher

_PREFIX: Final = "resp_"
_RANDOM: Final = 32
"""Characters of an id that are random; as many follow that prove whose it is."""


class Responses:
    """The path that makes responses."""

    name = "responses"
    takes = Takes(caps=("max_output_tokens",), history="previous_response_id")

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        if flag(members, "background"):
            raise BadRequestError(
                "`background` is not served here: vLLM answers before it has generated anything, so it cannot be metered"
            )
        previous = text(members, "previous_response_id")
        if previous is not None:
            check_owner(previous, asked.salt)
        end_user = text(members, "user")
        members["request_id"] = msgspec.Raw(b'"' + new_id(asked.salt).encode() + b'"')
        unname(members, asked.body, ("input",))
        members["cache_salt"] = msgspec.Raw(b'"' + asked.salt.encode() + b'"')
        return Call(
            body=put_together(members),
            model=read_model(members),
            stream=flag(members, "stream") or False,
            end_user=end_user[:2048] if end_user else None,
        )

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return _ResponseEvents() if events else WholeWatcher(_read_answer, _read_usage)


class StoredResponse:
    """The paths of one response that was made before: nothing is generated."""

    name = "responses"
    takes = Takes()

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        check_owner(asked.parameter or "", asked.salt)
        return Call(body=asked.body, free=True, of_no_model=True)

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return FreeWatcher()


def new_id(salt: str) -> str:
    """Return an id for a response of the tenant whose secret is `salt`."""
    random = secrets.token_hex(_RANDOM // 2)
    return _PREFIX + random + _proof(random, salt)


def check_owner(response_id: str, salt: str) -> None:
    """Raise BadRequestError unless an id was made for the tenant whose secret is `salt`."""
    random, proof = response_id[len(_PREFIX) :][:_RANDOM], response_id[len(_PREFIX) + _RANDOM :]
    if not response_id.startswith(_PREFIX) or not hmac.compare_digest(proof.encode(), _proof(random, salt).encode()):
        raise BadRequestError(f"Response with id '{response_id[:100]}' not found.", "response_not_found")


def _proof(random: str, salt: str) -> str:
    return hmac.digest(salt.encode(), b"response:" + random.encode(), "sha256").hex()[:_RANDOM]


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def tokens(self) -> Tokens:
        given, made = self.input_tokens_details, self.output_tokens_details
        return Tokens(
            input=self.input_tokens,
            cached=given.cached_tokens if given is not None else None,
            cache_created=given.cache_write_tokens if given is not None else None,
            output=self.output_tokens,
            reasoning=made.reasoning_tokens if made is not None else None,
        )


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None

    def found(self) -> Found:
        """Return what it says; the reason to stop early says more than the status `incomplete`."""
        why = self.incomplete_details.reason if self.incomplete_details is not None else None
        tokens = self.usage.tokens() if self.usage is not None else None
        return Found(tokens, self.id, self.model, why or self.status)


class _Event(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_event: Final = msgspec.json.Decoder(_Event).decode
_response: Final = msgspec.json.Decoder(_Response).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class _ResponseEvents(EventWatcher):
    """Watches a stream: pieces of text, and the whole response in the event that ends it."""

    __slots__ = ()

    def _take(self, found: bytes) -> None:
        try:
            event = _event(found)
        except (ValueError, RecursionError):
            return
        if event.type.endswith(".delta"):
            self._piece(event.delta)
        elif event.response is not None:
            said = event.response.found()
            self.response_id = self.response_id or said.response_id
            self.served_model = self.served_model or said.served_model
            if event.type in _ENDS:
                self.began = self.finished = True
                self.failed = self.failed or event.type == "response.failed"
                self._total, self.finish_reason = said.tokens, said.finish_reason
        elif event.type == "error" or bytes(event.error) != b"null":
            self.failed = True


def _read_answer(body: bytes) -> Found:
    return _response(body).found()


def _read_usage(usage: bytes) -> Tokens:
    return _usage(usage).tokens()
