"""`/v1/chat/completions/batch`: many conversations in one request, one choice for each, usage of all together."""

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import Members, put_together, read_json, text
from proxy.dialects.media import unname
from proxy.dialects.pooling import read_model
from proxy.sse import Fingerprint
from proxy.unary import UnaryWatcher
from proxy.watch import Watcher


class Batch:
    """vLLM's batches of chats. It neither streams nor makes several choices."""

    name = "batch"
    takes = Takes(caps=("max_completion_tokens", "max_tokens"))

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        members = read_json(asked)
        conversations = _count(members)
        end_user = text(members, "user")
        unname(members, asked.body, ("messages",))
        members["cache_salt"] = msgspec.Raw(b'"' + asked.salt.encode() + b'"')
        return Call(
            body=put_together(members),
            model=read_model(members),
            end_user=end_user[:2048] if end_user else None,
            inputs=conversations,
            choices=conversations,
        )

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return UnaryWatcher()


def _count(members: Members) -> int:
    try:
        conversations = msgspec.json.decode(members.get("messages", b"[]"), type=list[msgspec.Raw])
    except msgspec.DecodeError:
        raise BadRequestError("`messages` must be a list of conversations") from None
    return max(len(conversations), 1)
