"""Log probabilities: made up from the draw of each token, in the two forms that vLLM writes."""

from typing import Any, Final

import msgspec

from sim import tokens
from sim.engine import Choice
from sim.prefix import Prompt

_SPREAD: Final = 1 << 20


class Candidate(msgspec.Struct):
    """A token and how likely it was, as a chat shows it."""

    token: str
    logprob: float
    bytes: list[int]


class ChatToken(Candidate):
    """A generated token with the likeliest ones at its place."""

    top_logprobs: list[Candidate]


class ChatLogprobs(msgspec.Struct):
    """`logprobs` of a chat's choice."""

    content: list[ChatToken]


class CompletionLogprobs(msgspec.Struct):
    """`logprobs` of a completion's choice: parallel lists."""

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


def likelihood(draw: int) -> float:
    """Return a log probability between -7 and -6, the same for the same draw."""
    return -6.0 - (draw % _SPREAD) / _SPREAD


def chat_token(choice: Choice, top: int) -> ChatToken:
    """Describe the newest token of a choice and `top` candidates, itself the first."""
    own = _candidate(choice.word, choice.draw)
    others = [_candidate(_other(choice.draw, rank), choice.draw + rank) for rank in range(1, top)]
    return ChatToken(own.token, own.logprob, own.bytes, [own, *others] if top else [])


def completion_token(choice: Choice, top: int, offset: int) -> CompletionLogprobs:
    """Describe the newest token of a choice, which stands at character `offset` of the answer."""
    value = likelihood(choice.draw)
    return CompletionLogprobs([offset], [value], [choice.word], [_alternatives(choice.word, choice.draw, top)])


def prompt_tokens(prompt: Prompt, top: int) -> CompletionLogprobs:
    """Describe a prompt that is echoed: nothing is known of its first token."""
    result = CompletionLogprobs([], [], [], [])
    offset = 0
    for place, token in enumerate(prompt.ids):
        text = tokens.decode([token])
        result.text_offset.append(offset)
        result.tokens.append(text)
        result.token_logprobs.append(likelihood(token) if place else None)
        result.top_logprobs.append(_alternatives(text, token, top) if place else None)
        offset += len(text)
    return result


def prompt_details(prompt: Prompt, top: int) -> list[dict[str, Any] | None]:
    """Return `prompt_logprobs`: for each token but the first, candidates by id, with rank."""
    rows: list[dict[str, Any] | None] = [None]
    for token in prompt.ids[1:]:
        own = {"logprob": likelihood(token), "rank": 2, "decoded_token": tokens.decode([token])}
        row = {str(token): own}
        for rank in range(1, top + 1):
            word = _other(token, rank)
            row[str(tokens.id_of(word.encode()))] = {
                "logprob": likelihood(token + rank),
                "rank": rank,
                "decoded_token": word,
            }
        rows.append(row)
    return rows


def join(parts: list[CompletionLogprobs]) -> CompletionLogprobs:
    """Put parts of one answer together."""
    whole = CompletionLogprobs([], [], [], [])
    for part in parts:
        whole.text_offset += part.text_offset
        whole.token_logprobs += part.token_logprobs
        whole.tokens += part.tokens
        whole.top_logprobs += part.top_logprobs
    return whole


def _candidate(word: str, draw: int) -> Candidate:
    return Candidate(word, likelihood(draw), list(word.encode()))


def _alternatives(word: str, draw: int, top: int) -> dict[str, float]:
    shown = {word: likelihood(draw)}
    for rank in range(1, top):
        shown.setdefault(_other(draw, rank), likelihood(draw + rank))
    return shown


def _other(draw: int, rank: int) -> str:
    return tokens.VOCABULARY[(draw + rank) % 64]
