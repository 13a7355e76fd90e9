"""The `usage` object that vLLM's OpenAI-compatible endpoints report: what of it is decoded."""

import msgspec


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    created_cache_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Reported(msgspec.Struct):
    """The `usage` object of an answer or of one event of a stream."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


decode = msgspec.json.Decoder(Reported).decode
