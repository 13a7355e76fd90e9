"""What a request used, as numbers. Plain classes, made at every request: what was not reported stays None, never zero."""


class Tokens:
    """Counts so far. `input` includes cached and cache-written tokens, `output` reasoning tokens."""

    __slots__ = ("audio_seconds", "cache_created", "cached", "input", "output", "reasoning")

    def __init__(
        self,
        input: int | None = None,  # noqa: A002  # the field's name everywhere
        cached: int | None = None,
        cache_created: int | None = None,
        output: int | None = None,
        reasoning: int | None = None,
        audio_seconds: float | None = None,
    ) -> None:
        self.input = input
        self.cached = cached
        self.cache_created = cache_created
        self.output = output
        self.reasoning = reasoning
        self.audio_seconds = audio_seconds

    def _fields(self) -> tuple[float | None, ...]:
        return (self.input, self.cached, self.cache_created, self.output, self.reasoning, self.audio_seconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"Tokens{self._fields()}"


class Count:
    """What was counted. `whole`: every part of the request that the engine reports has reported.

    `final`: no later byte of the answer can change it.
    """

    __slots__ = ("final", "tokens", "whole")

    def __init__(self, tokens: Tokens, whole: bool, final: bool = False) -> None:
        self.tokens = tokens
        self.whole = whole
        self.final = final

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Count) and (self.tokens, self.whole, self.final) == (
            other.tokens,
            other.whole,
            other.final,
        )

    def __hash__(self) -> int:
        return hash((self.tokens, self.whole, self.final))

    def __repr__(self) -> str:
        return f"Count({self.tokens}, whole={self.whole}, final={self.final})"
