"""`/v1/chat/completions`: one prompt, `n` choices."""

from proxy.dialects.base import Asked, Call, Takes
from proxy.dialects.body import Members
from proxy.dialects.generation import read, watch
from proxy.sse import Fingerprint
from proxy.watch import Watcher


class Chat:
    """OpenAI's chat completions, as vLLM serves them."""

    name = "chat"
    takes: Takes = Takes(caps=("max_completion_tokens", "max_tokens"))

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        return read(asked, _one)

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return watch(call, events, fingerprint)


def _one(_members: Members) -> int:
    return 1
