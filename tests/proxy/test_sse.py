import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sse import Fingerprint, StreamError, StreamWatcher
from proxy.tokens import Count, Tokens


def usage(prompt: int, output: int) -> bytes:
    return b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (prompt, prompt + output, output)


def event(index: int, text: bytes, *members: bytes, finish: bytes = b"null") -> bytes:
    choice = b'{"index":%d,"delta":{"content":"%b"},"finish_reason":%b}' % (index, text, finish)
    return (
        b"data: {" + b",".join([b'"id":"chatcmpl-1","model":"tiny","choices":[' + choice + b"]", *members]) + b"}\n\n"
    )


def total(prompt: int, output: int, *members: bytes) -> bytes:
    return b"data: {" + b",".join([b'"id":"chatcmpl-1","choices":[]', usage(prompt, output), *members]) + b"}\n\n"


DONE = b"data: [DONE]\n\n"
STAMP = b'"system_fingerprint":"vllm-1"'


def watch(
    choices: int = 1,
    prompts: int = 1,
    keep_usage: bool = False,
    keep_continuous: bool = False,
    known: bytes | None = None,
) -> StreamWatcher:
    fingerprint = Fingerprint()
    fingerprint.value = known
    return StreamWatcher(choices, prompts, keep_usage, keep_continuous, fingerprint)


def feed(watcher: StreamWatcher, *pieces: bytes, end: bool = True) -> bytes:
    out = b"".join([watcher.feed(piece, last=False) for piece in pieces])
    return out + watcher.feed(b"", last=True) if end else out


def test_last_count_replaces_the_ones_before() -> None:
    watcher = watch()
    feed(watcher, *[event(0, b"x", usage(7, n)) for n in range(5)], end=False)
    assert watcher.count() == Count(Tokens(input=7, output=4), whole=True)


def test_nothing_reported_is_nothing_counted() -> None:
    watcher = watch()
    assert feed(watcher, event(0, b"x"), event(0, b"y"), DONE) == event(0, b"x") + event(0, b"y") + DONE
    assert watcher.count() is None


def test_comment_after_a_count_does_not_lose_it() -> None:
    watcher = watch()
    out = feed(watcher, b": hello\n\n", end=False)
    assert (out, watcher.began) == (b": hello\n\n", False)
    feed(watcher, event(0, b"a", usage(7, 1)), event(0, b"b", usage(7, 2)), b": keep-alive\n\n", end=False)
    assert watcher.began
    assert watcher.count() == Count(Tokens(input=7, output=2), whole=True)


def test_choices_of_one_prompt_share_it() -> None:
    watcher = watch(choices=3)
    feed(watcher, event(0, b"a", usage(7, 4)), event(2, b"b", usage(7, 2)), event(0, b"c", usage(7, 5)), end=False)
    assert watcher.count() == Count(Tokens(input=7, output=7), whole=True)


def test_prompts_are_counted_once_each() -> None:
    """Indexes 0 and 1 are choices of the first prompt, 2 and 3 of the second."""
    watcher = watch(choices=2, prompts=2)
    feed(watcher, event(0, b"a", usage(7, 1)), event(1, b"b", usage(7, 2)), end=False)
    assert watcher.count() == Count(Tokens(input=7, output=3), whole=False)
    feed(watcher, event(3, b"c", usage(11, 4)), end=False)
    assert watcher.count() == Count(Tokens(input=18, output=7), whole=True)


def test_the_event_with_usage_alone_is_the_total() -> None:
    watcher = watch(choices=2)
    feed(watcher, event(0, b"a", usage(7, 9)), total(7, 12), DONE)
    assert watcher.count() == Count(Tokens(input=7, output=12), whole=True)


def test_error_in_the_stream_is_seen_and_passed() -> None:
    watcher = watch()
    error = b'data: {"error": {"message": "boom", "code": 500}}\n\n'
    assert feed(watcher, event(0, b"a", usage(7, 1)), error, DONE) == event(0, b"a") + error + DONE
    assert watcher.failed
    assert watcher.count() == Count(Tokens(input=7, output=1), whole=True)


def test_text_that_looks_like_usage_is_text() -> None:
    """A model that writes JSON about usage, or `data: `, can neither hide nor forge anything."""
    fake = rb"\",\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0} data: [DONE] \"finish_reason\":\"stop"
    watcher = watch()
    out = feed(
        watcher, event(0, b"a", usage(7, 1)), event(0, fake, usage(7, 2)), event(0, fake, usage(7, 3)), end=False
    )
    assert out == event(0, b"a") + event(0, fake) * 2
    assert watcher.count() == Count(Tokens(input=7, output=3), whole=True)
    assert not watcher.finished


def test_fingerprint_moves_to_the_event_that_ends_the_choice() -> None:
    """vLLM writes it into the event with usage alone when there is one; without, into that with the finish reason."""
    ends = event(0, b"z", usage(7, 2), finish=b'"stop"')
    out = feed(watch(), event(0, b"a", usage(7, 1)), ends, total(7, 2, STAMP), DONE)
    assert out == event(0, b"a") + event(0, b"z", STAMP, finish=b'"stop"') + DONE


@pytest.mark.parametrize("known", [None, b"vllm-1"])
def test_fingerprint_with_several_choices(known: bytes | None) -> None:
    """Nobody's events wait once it is known; before, what follows waits too, so that the order stays."""
    watcher = watch(choices=2, known=known)
    sent = (
        event(0, b"a", usage(7, 1)),
        event(0, b"b", usage(7, 2), finish=b'"stop"'),
        event(1, b"c", usage(7, 1)),
        event(1, b"d", usage(7, 2), finish=b'"length"'),
    )
    early = feed(watcher, *sent, end=False)
    whole = early + feed(watcher, total(7, 4, STAMP), DONE)
    first = event(0, b"a") + event(0, b"b", STAMP, finish=b'"stop"') + event(1, b"c")
    assert whole == first + event(1, b"d", STAMP, finish=b'"length"') + DONE
    assert early == (event(0, b"a") if known is None else whole.removesuffix(DONE))
    assert watcher.finish_reason == "length"


def test_an_upstream_without_fingerprint_gets_none() -> None:
    watcher = watch()
    out = feed(watcher, event(0, b"a", usage(7, 1), finish=b'"stop"'), total(7, 1), DONE)
    assert out == event(0, b"a", finish=b'"stop"') + DONE
    assert watcher._fingerprint.value == b""


def test_client_that_wants_the_total_alone() -> None:
    sent = (event(0, b"a", usage(7, 1)), event(0, b"b", usage(7, 2), finish=b'"stop"'), total(7, 2, STAMP), DONE)
    out = feed(watch(keep_usage=True), *sent)
    assert out == event(0, b"a") + event(0, b"b", finish=b'"stop"') + total(7, 2, STAMP) + DONE


def test_client_that_wants_everything() -> None:
    sent = (event(0, b"a", usage(7, 1)), event(0, b"b", usage(7, 2), finish=b'"stop"'), total(7, 2, STAMP), DONE)
    watcher = watch(keep_usage=True, keep_continuous=True)
    assert feed(watcher, *sent) == b"".join(sent)
    assert watcher.count() == Count(Tokens(input=7, output=2), whole=True)


def test_nested_details_are_removed_whole() -> None:
    deep = b'"usage":{"prompt_tokens":1,"prompt_tokens_details":{"multimodal_tokens":{"image":3},"cached_tokens":0}}'
    watcher = watch()
    out = feed(watcher, event(0, b"a", deep, b'"x":1'), event(0, b"b", deep), event(0, b"c", deep, b'"x":2'))
    assert out == event(0, b"a", b'"x":1') + event(0, b"b") + event(0, b"c", b'"x":2')


def test_carriage_returns_end_events_too() -> None:
    watcher = watch()
    sent = b"".join([event(0, b"a", usage(7, 1)), event(0, b"b", usage(7, 2)), DONE]).replace(b"\n\n", b"\r\n\r\n")
    expected = b"".join([event(0, b"a"), event(0, b"b"), DONE]).replace(b"\n\n", b"\r\n\r\n")
    assert feed(watcher, *[sent[i : i + 1] for i in range(len(sent))]) == expected
    assert watcher.finished


def test_a_stream_without_an_end_is_passed_to_its_end() -> None:
    half = event(0, b"b")[:-1]
    assert feed(watch(), event(0, b"a"), half) == event(0, b"a") + half


@pytest.mark.source
def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.sse.MAX_EVENT", 1000)
    watcher = watch()
    with pytest.raises(StreamError):
        feed(watcher, *[b"data: " + b"x" * 100] * 11)


@pytest.mark.source
def test_events_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fingerprint that nobody knows holds events back only so far."""
    monkeypatch.setattr("proxy.sse._MAX_HELD", 2000)
    watcher = watch(choices=2)
    feed(watcher, event(0, b"a", usage(7, 1), finish=b'"stop"'), end=False)
    out = feed(watcher, *[event(1, b"b", usage(7, n)) for n in range(40)], end=False)
    assert out.startswith(event(0, b"a", finish=b'"stop"'))
    assert out.count(event(1, b"b")) > 20


EVENTS = st.lists(
    st.one_of(
        st.builds(
            lambda index, text, output: event(index, text, usage(7, output)),
            st.integers(0, 3),
            st.sampled_from([b"a", rb"\n\n", rb"\"usage\":{", b"data: x", "é".encode(), b"[DONE]"]),
            st.integers(0, 50),
        ),
        st.just(b": keep-alive\n\n"),
        st.just(event(1, b"end", usage(7, 3), finish=b'"stop"')),
        st.just(total(7, 60, STAMP)),
        st.just(b'data: {"error": {"message": "boom"}}\n\n'),
        st.just(b"data: no json\n\n"),
        st.just(b"event: x\ndata: {}\n\n"),
        st.just(DONE),
    ),
    max_size=12,
)


@given(EVENTS, st.data(), st.sampled_from([(1, 1), (4, 1), (2, 2)]), st.booleans(), st.booleans())
def test_boundaries_mean_nothing(
    sent: list[bytes], data: st.DataObject, shape: tuple[int, int], keep_usage: bool, keep_continuous: bool
) -> None:
    """However the bytes are cut, the client gets the same, and the same is counted."""
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, cut = watch(*shape, keep_usage, keep_continuous), watch(*shape, keep_usage, keep_continuous)
    assert feed(whole, stream) == feed(cut, *pieces)
    assert whole.count() == cut.count()
    assert (whole.finished, whole.failed, whole.finish_reason) == (cut.finished, cut.failed, cut.finish_reason)


@given(EVENTS)
def test_what_the_client_asked_for_is_untouched(sent: list[bytes]) -> None:
    assert feed(watch(4, 1, True, True), b"".join(sent)) == b"".join(sent)
