"""A connection to vLLM that takes a request's body in pieces. When that is done, it is as any other."""

from collections.abc import Callable

from proxy.lane import head
from proxy.lane.upstream import Owner, Sink, UpstreamConnection
from proxy.steps import Forward


class UploadConnection(UpstreamConnection):
    """A new one for each upload: an old one may be gone, and what was passed on cannot be sent again."""

    __slots__ = ("_notify", "full")

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self.full = False
        """vLLM does not keep up."""
        self._notify: Callable[[], None] | None = None

    def upload(self, sink: Sink, forward: Forward, notify: Callable[[], None]) -> None:
        """Send a request's head. `notify` is called when vLLM keeps up again."""
        self._notify = notify
        self.begin(sink, head.open_request(forward), head_only=False, paused=False)
        self._reusable = False  # until the body has ended

    def more(self, data: bytes) -> None:
        """Send a piece of the body."""
        assert self._transport is not None
        if data:
            self._transport.write(head.chunk(data))

    def complete(self, sink: Sink, data: bytes) -> None:
        """Send the end of the body; the answer goes to `sink`."""
        self.more(data)
        assert self._transport is not None
        self._transport.write(head.last_chunk([]))
        self._reusable = True
        self._notify = None
        self._sink = sink

    def hand_over(self, sink: Sink) -> None:
        """Give the rest of an answer that came early to `sink`; the body stays without an end."""
        self._notify = None
        if self._sink is not None:
            self._sink = sink

    def pause_writing(self) -> None:
        """Let the client wait."""
        self.full = True

    def resume_writing(self) -> None:
        """Go on."""
        self.full = False
        if self._notify is not None:
            self._notify()
