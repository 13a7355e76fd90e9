"""Token counts, as vLLM's OpenAI-compatible endpoints report them. What was not reported stays None, never zero."""

import re
from collections.abc import Mapping
from typing import Final

from proxy.reported import Reported, decode
from proxy.tokens import Tokens


def tokens(usage: Reported) -> Tokens:
    """Return reported counts by our names."""
    given, made = usage.prompt_tokens_details, usage.completion_tokens_details
    return Tokens(
        usage.prompt_tokens,
        given.cached_tokens if given is not None else None,
        given.created_cache_tokens if given is not None else None,
        usage.completion_tokens,
        made.reasoning_tokens if made is not None else None,
    )


_OBJECT: Final = rb"\{[^{}]*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}[^{}]*)*\}"
MEMBER: Final = re.compile(rb',"usage":' + _OBJECT)
"""The usage member of compact JSON. Quotes within JSON strings are escaped, so that no text can match it."""
LOOSE_MEMBER: Final = re.compile(rb',\s*"usage"\s*:\s*(?:null|' + _OBJECT + rb")")
_VALUE: Final = re.compile(rb'"usage"\s*:\s*(' + _OBJECT + rb")")


def last_reported(data: bytes) -> Reported | None:
    """Return the last usage object in some JSON text, whole or not; None when there is none that can be read."""
    match = None
    start = data.rfind(b'"usage"')
    while match is None and start >= 0:
        match = _VALUE.match(data, start)
        start = data.rfind(b'"usage"', 0, start)
    if match is None:
        return None
    try:
        return decode(match[1])
    except ValueError:
        return None


def first_reported(data: bytes) -> Reported | None:
    """Return the first usage object in some JSON text; None when there is none, or it cannot be read."""
    match = _VALUE.search(data)
    try:
        return decode(match[1]) if match is not None else None
    except ValueError:
        return None


def per_choice(latest: Mapping[int, Reported], choices_per_prompt: int) -> Tokens:
    """Return the sum of what each choice last reported: cumulative for its choice, with its prompt's whole length.

    A prompt is counted once, whatever the number of its choices. Cached tokens are not part of such reports.
    """
    inputs: dict[int, int] = {}
    for index, reported in latest.items():
        if reported.prompt_tokens is not None:
            inputs[index // choices_per_prompt] = reported.prompt_tokens
    outputs = [reported.completion_tokens for reported in latest.values() if reported.completion_tokens is not None]
    reasoning = [
        reported.completion_tokens_details.reasoning_tokens
        for reported in latest.values()
        if reported.completion_tokens_details is not None
    ]
    known = [count for count in reasoning if count is not None]
    return Tokens(
        input=sum(inputs.values()) if inputs else None,
        output=sum(outputs) if outputs else None,
        reasoning=sum(known) if known and len(known) == len(latest) else None,
    )
