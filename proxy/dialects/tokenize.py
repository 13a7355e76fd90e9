"""`/tokenize` and `/detokenize`: no engine runs, nothing is used. The requests are recorded all the same."""

from typing import Final

from proxy.dialects.base import Asked, Call, Takes
from proxy.dialects.body import put_together, read_json
from proxy.dialects.media import unname
from proxy.dialects.pooling import read_model
from proxy.sse import Fingerprint
from proxy.watch import FreeWatcher, Watcher


class Tokenizer:
    """An endpoint that answers from the tokenizer alone."""

    takes = Takes()

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        unname(members, asked.body, ("messages",))  # vLLM reads the media all the same
        return Call(body=put_together(members), model=read_model(members), free=True)

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return FreeWatcher()


TOKENIZE: Final = Tokenizer("tokenize")
DETOKENIZE: Final = Tokenizer("detokenize")
