import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens import Count, Tokens
from proxy.unary import KEPT, UnaryWatcher

BODY = (
    b'{"id":"cmpl-1","model":"tiny","choices":[{"text":"%b","finish_reason":"length"}],'
    b'"usage":{"prompt_tokens":12,"completion_tokens":24,"prompt_tokens_details":{"cached_tokens":4,"created_cache_tokens":null},'
    b'"completion_tokens_details":{"reasoning_tokens":3}},"kv_transfer_params":null}'
)
COUNT = Count(Tokens(input=12, cached=4, output=24, reasoning=3), whole=True)


def watch(*pieces: bytes) -> UnaryWatcher:
    watcher = UnaryWatcher()
    for piece in pieces:
        assert watcher.feed(piece, last=False) == piece
    assert watcher.count() is None or len(b"".join(pieces)) > KEPT
    assert watcher.feed(b"", last=True) == b""
    return watcher


@given(st.lists(st.integers(0, 300), max_size=6))
def test_pieces_mean_nothing(cuts: list[int]) -> None:
    body = BODY % b"x"
    bounds = [0, *sorted(cuts), len(body)]
    watcher = watch(*[body[start:end] for start, end in zip(bounds, bounds[1:], strict=False)])  # noqa: RUF007
    assert watcher.count() == COUNT
    assert (watcher.response_id, watcher.served_model, watcher.finish_reason) == ("cmpl-1", "tiny", "length")


def test_only_the_top_level_counts() -> None:
    fake = rb"{\"usage\":{\"prompt_tokens\":0}}"
    assert watch(BODY % fake).count() == COUNT
    assert watch(b'{"choices":[{"usage":{"prompt_tokens":9}}]}').count() is None


def test_what_is_not_reported_is_not_counted() -> None:
    for body in (b"", b"{}", b'{"usage":null}', b"<html>", b"[1]", b'{"usage":7}', b'{"usage":' * 10_000):
        assert watch(body).count() is None
    assert watch(b'{"usage":{}}').count() == Count(Tokens(), whole=True)


def test_large_bodies_are_scanned_and_not_kept() -> None:
    text = rb"word \"usage\":{\"prompt_tokens\":0} " * 70_000
    body = BODY % text
    assert len(body) > 2 * KEPT
    watcher = UnaryWatcher()
    for start in range(0, len(body), 65_536):
        watcher.feed(body[start : start + 65_536], last=False)
        assert sum(map(len, watcher._body)) <= KEPT
    watcher.feed(b"", last=True)
    assert watcher.count() == COUNT


def test_usage_cut_in_a_large_body() -> None:
    body = BODY % (b"x" * KEPT)
    start = body.index(b'"usage"')
    for cut in range(start - 2, len(body), 7):
        watcher = UnaryWatcher()
        watcher.feed(body[:cut], last=False)
        watcher.feed(body[cut:], last=True)
        assert watcher.count() == COUNT
    assert msgspec.json.decode(body)["usage"]["prompt_tokens"] == 12
