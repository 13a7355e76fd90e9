"""A mix of requests of every kind that vLLM bills for, some of which their clients leave at a random byte."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Place = Literal["sending", "waiting", "reading", "read"]
"""Where a client leaves: within its request, before the first byte, within the answer, or after its last byte."""
PLACES: tuple[Place, ...] = ("sending", "waiting", "reading", "reading", "reading", "read")


@dataclass(frozen=True)
class Cut:
    """After `share` of the bytes of that place (`waiting`: of half a second); `half`: only one direction is closed."""

    place: Place
    share: float
    half: bool


@dataclass(frozen=True)
class Request:
    """One request; `choices` answers to each of its prompts. `size`: about how many bytes its answer has."""

    number: int
    shape: str
    path: str
    body: dict[str, Any]
    size: int
    choices: int = 1
    cut: Cut | None = None

    @property
    def embeds(self) -> bool:
        """Whether it is for the model that embeds."""
        return self.path == "/v1/embeddings"


Made = tuple[str, dict[str, Any], int]
"""A path, the members of a body, and the choices of each prompt."""


class Draw:
    """What a request is made of: every text begins with the request's mark. `long`: there must be something to cut."""

    def __init__(self, rng: random.Random, number: int, long: bool) -> None:
        self.rng, self.mark, self.long = rng, f"<{number}>", long
        self.tokens = rng.randint(40, 250) if long else rng.randint(1, 60)
        self.several = rng.randint(2, 4)

    def text(self) -> str:
        return self.mark + " word" * self.rng.randint(1, 60)

    def chat(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.text()}]

    def limits(self) -> dict[str, Any]:
        return {"max_tokens": self.tokens, "ignore_eos": self.long or self.rng.random() < 0.5}


def _generate(draw: Draw, choices: int) -> Made:
    asked = [draw.rng.randrange(5, 600) for _ in range(draw.tokens)]
    return "/inference/v1/generate", {"token_ids": asked, "sampling_params": draw.limits() | {"n": choices}}, choices


MAKERS: dict[str, Callable[[Draw], Made]] = {
    "chat": lambda draw: ("/v1/chat/completions", draw.limits() | {"messages": draw.chat()}, 1),
    "chat, n > 1": lambda draw: (
        "/v1/chat/completions",
        draw.limits() | {"messages": draw.chat(), "n": draw.several},
        draw.several,
    ),
    "completions": lambda draw: ("/v1/completions", draw.limits() | {"prompt": draw.text()}, 1),
    "completions, several prompts": lambda draw: (
        "/v1/completions",
        draw.limits() | {"prompt": [draw.text() for _ in range(draw.several)]},
        1,
    ),
    "messages": lambda draw: ("/v1/messages", {"messages": draw.chat(), "max_tokens": draw.tokens}, 1),
    "responses": lambda draw: ("/v1/responses", {"input": draw.text(), "max_output_tokens": draw.tokens}, 1),
    "generate": lambda draw: _generate(draw, 1),
    "generate, n > 1": lambda draw: _generate(draw, draw.several),
    "invocations": lambda draw: ("/invocations", draw.limits() | {"messages": draw.chat()}, 1),
}
WHOLE: dict[str, Callable[[Draw], Made]] = {
    "batch": lambda draw: (
        "/v1/chat/completions/batch",
        {"messages": [draw.chat() for _ in range(draw.several)], "max_tokens": draw.tokens},
        1,
    ),
    "embeddings": lambda draw: ("/v1/embeddings", {"input": [draw.text() for _ in range(draw.several)]}, 1),
}
"""What vLLM never streams."""
SHAPES = [*((name, stream) for name in MAKERS for stream in (False, True)), *((name, False) for name in WHOLE)]


EVERY = 5
"""Of every shape, the client of one request in so many leaves."""


def mix(count: int, seed: int, first: int = 0, cut: bool = True) -> list[Request]:
    """Return so many requests, numbered from `first` on, all shapes and all places to leave in turn; `cut`: some leave."""
    rng = random.Random(seed)
    return [_one(rng, number, cut) for number in range(first, first + count)]


def _one(rng: random.Random, number: int, may_leave: bool) -> Request:
    turn, index = divmod(number, len(SHAPES))
    name, stream = SHAPES[index]
    place = PLACES[(turn // EVERY + index) % len(PLACES)]
    cut = Cut(place, rng.random(), rng.random() < 0.3) if may_leave and turn % EVERY == EVERY - 1 else None
    draw = Draw(rng, number, long=cut is not None)
    path, members, choices = (MAKERS.get(name) or WHOLE[name])(draw)
    body = {"model": "tiny", **members, **({"stream": True} if stream else {})}
    answers = draw.several if "several" in name or "n >" in name else 1
    size = 400 + draw.tokens * answers * (170 if stream else 3)
    return Request(number, f"{name}, streamed" if stream else name, path, body, size, choices, cut)
