"""The prefix cache: whole blocks of a prompt that an earlier prompt began with are not computed again."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sim import tokens


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a choice starts from: text, or ids where the client sent ids."""

    content: bytes | Sequence[int]
    salt: str = ""

    @property
    def size(self) -> int:
        """Tokens."""
        return tokens.count(self.content) if isinstance(self.content, bytes) else len(self.content)

    @property
    def ids(self) -> list[int]:
        """The tokens' ids."""
        return tokens.encode(self.content) if isinstance(self.content, bytes) else list(self.content)

    @property
    def text(self) -> str:
        """The prompt as text."""
        return self.content.decode() if isinstance(self.content, bytes) else tokens.decode(self.content)

    def blocks(self, size: int) -> Iterator[bytes | tuple[int, ...]]:
        """Yield the whole blocks of `size` tokens, from the beginning."""
        content = self.content
        step = size * tokens.PIECE if isinstance(content, bytes) else size
        for end in range(step, len(content) + 1, step):
            block = content[end - step : end]
            yield block if isinstance(block, bytes) else tuple(block)


@dataclass(frozen=True, slots=True)
class Hit:
    """Tokens of a prompt found in the cache, and tokens stored in it."""

    cached: int
    created: int


class PrefixCache:
    """The least recently used blocks go first when more than `capacity` are held."""

    def __init__(self, block_size: int, capacity: int) -> None:
        self._block_size = block_size
        self._capacity = capacity
        self._held: OrderedDict[int, None] = OrderedDict()

    def admit(self, prompt: Prompt) -> Hit:
        """Look a prompt up and store its blocks. The last token is always computed, so it is never a hit."""
        chain = hash(prompt.salt)
        found = stored = 0
        for block in prompt.blocks(self._block_size):
            chain = hash((chain, block))
            if chain in self._held:
                self._held.move_to_end(chain)
                found += stored == 0
            else:
                self._held[chain] = None
                stored += 1
        while len(self._held) > self._capacity:
            self._held.popitem(last=False)
        usable = (prompt.size - 1) // self._block_size
        return Hit(min(found, usable) * self._block_size, stored * self._block_size)
