import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.events import EventWatcher, Splitter, payload
from proxy.sse import StreamError
from proxy.tokens import Count, Tokens

EVENT = st.sampled_from([b"data: {}\n\n", b"event: x\ndata: {}\n\n", b": hi\n\n", b"data: x\r\n\r\n", b"\n\n"])


class Words(EventWatcher):
    """Every event is a piece of text; one that begins with `=` is the total."""

    def _take(self, found: bytes) -> None:
        if found.startswith(b"="):
            self._total = Tokens(output=int(found[1:]))
        else:
            self._piece(found.decode())


@given(st.lists(EVENT, max_size=8), st.data())
def test_an_event_comes_out_as_soon_as_it_is_whole(events: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(events)
    splitter, seen, got = Splitter(), 0, b""
    while seen < len(stream):
        size = data.draw(st.integers(1, 5))
        got += b"".join(splitter.cut(stream[seen : seen + size], last=False))
        seen += size
        ends = [end for mark in (b"\n\n", b"\r\n\r\n") if (end := stream[:seen].rfind(mark)) >= 0]
        assert len(got) >= max(ends, default=0)
        assert stream.startswith(got)
    rest = b"".join(splitter.cut(b"", last=True))
    assert got + rest == stream


def test_an_event_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.events.MAX_EVENT", 100)
    splitter = Splitter()
    splitter.cut(b"x" * 100, last=False)
    with pytest.raises(StreamError):
        splitter.cut(b"x", last=False)


def test_a_large_event_is_not_copied_again_and_again() -> None:
    """What came before is joined once, when the end is there."""
    splitter = Splitter()
    for _ in range(20_000):
        splitter.cut(b"x" * 1000, last=False)
    (event,) = splitter.cut(b"\n\n", last=False)
    assert len(event) == 20_000_002


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (b"data: {}\n\n", b"{}"),
        (b"data:{}\n\n", b"{}"),
        (b"event: x\ndata: {}\n\n", b"{}"),
        (b"event: x\r\ndata: {}\r\n\r\n", b"{}"),
        (b": data: {}\n\n", b""),
        (b"event: x\n\n", b""),
    ],
)
def test_what_an_event_carries(event: bytes, found: bytes) -> None:
    assert payload(event) == found


def test_an_estimate_is_the_larger_of_pieces_and_characters() -> None:
    watcher = Words()
    assert watcher.count() is None
    watcher.feed(b"data: a\n\ndata: b\n\n", last=False)
    assert watcher.count() == Count(Tokens(output=2), whole=False)
    watcher.feed(b"data: " + b"merged " * 6 + b"\n\n", last=False)
    assert watcher.count() == Count(Tokens(output=8), whole=False)
    watcher.feed(b"data: =5\n\n", last=False)
    assert watcher.count() == Count(Tokens(output=5), whole=True)
