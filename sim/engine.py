"""The engine: pure generation. Text is drawn from a seed, so that the same request with a seed always gets the same answer.

Nothing runs ahead: `Choice.step` makes exactly one token, and whoever calls it counts that token and sends it.
"""

from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

from sim.prefix import Hit, Prompt
from sim.tokens import TOKEN_IDS, VOCABULARY

FinishReason = Literal["stop", "length"]

_SIZE: Final = len(VOCABULARY)


@dataclass(frozen=True, slots=True)
class Limits:
    """When an answer ends: tokens, strings that stop it, and the chance of one in `eos_every` tokens to be the last."""

    max_tokens: int
    min_tokens: int = 0
    stops: tuple[str, ...] = ()
    eos_every: int | None = None


class Choice:
    """One answer being generated.

    `generated` counts its tokens; `text` is what they said so far (a matched stop string left out); `finish` is set with the
    last token. `token` is the id of the newest one, `word` its own text, `draw` the number it was drawn by, and `stepped` is
    free for the caller to note when.
    """

    __slots__ = (
        *("_held", "_sent", "draw", "finish", "generated", "hit", "index", "limits", "prompt", "stepped", "stop"),
        *("text", "token", "word"),
    )

    def __init__(self, index: int, prompt: Prompt, hit: Hit, seed: int, limits: Limits) -> None:
        self.index = index
        self.prompt = prompt
        self.hit = hit
        self.generated = 0
        self.finish: FinishReason | None = None
        self.stop: str | None = None
        self.text = ""
        self.token = 0
        self.word = ""
        self.stepped = 0.0
        self.draw = crc32(b"%d %d" % (seed, index))
        self.limits = limits
        # A stop string may begin in what was said last, so that much is kept back until it cannot any more.
        self._held = max((len(stop) for stop in limits.stops), default=1) - 1
        self._sent = 0

    def step(self) -> str:
        """Generate one token and return the text that can be shown now: often a word, sometimes nothing."""
        limits = self.limits
        self.draw = (self.draw * 1103515245 + 12345) & 0x7FFFFFFF
        self.generated += 1
        if limits.eos_every and self.generated > limits.min_tokens and (self.draw >> 4) % limits.eos_every == 0:
            self.finish, self.token, self.word = "stop", 1, ""
        else:
            place = (self.draw >> 12) % _SIZE
            self.token, self.word = TOKEN_IDS[place], VOCABULARY[place]
            self.text += self.word
            if limits.stops:
                self._look_for_stop()
            if self.finish is None and self.generated >= limits.max_tokens:
                self.finish = "length"
        end = len(self.text) if self.finish else max(len(self.text) - self._held, self._sent)
        shown = self.text[self._sent : end]
        self._sent = end
        return shown

    def _look_for_stop(self) -> None:
        for stop in self.limits.stops:
            place = self.text.find(stop, self._sent)
            if place >= 0:
                self.finish, self.stop, self.text = "stop", stop, self.text[:place]
                return


def seed_of(prompt: Prompt, wish: int | None, fallback: int) -> int:
    """Return the seed of an answer: the client's, or one made of the prompt and the simulator's own."""
    if wish is not None:
        return wish
    content = prompt.content if isinstance(prompt.content, bytes) else repr(prompt.content).encode()
    return crc32(content, fallback & 0xFFFFFFFF)
