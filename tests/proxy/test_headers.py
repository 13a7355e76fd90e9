from hypothesis import given
from hypothesis import strategies as st

from proxy.headers import Headers, to_client, to_upstream

NAMES = st.sampled_from(
    [
        b"Host",
        b"Accept",
        b"Authorization",
        b"X-API-Key",
        b"connection",
        b"TE",
        b"X-Request-ID",
        b"X-Weighbridge-Tags",
        b"x-weighbridge-",
        b"X-Data-Parallel-Rank",
        b"X-vLLM-Priority",
        b"X-Session-ID",
        b"Accept-Encoding",
        b"X-Custom",
        b"Content-Length",
        b"transfer-encoding",
        b"Upgrade",
        b"traceparent",
        b"Keep-Alive",
        b"Expect",
    ]
)
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"1", b"close", b"X-Custom, Host"])), max_size=12)


def up(fields: Headers, metered: bool = True) -> Headers:
    return to_upstream(fields, {name.lower(): value for name, value in fields}, b"Bearer up", metered)


@given(FIELDS, st.booleans())
def test_what_goes_up(fields: Headers, metered: bool) -> None:
    sent = up(fields, metered)
    assert sent[-1:] == [(b"authorization", b"Bearer up")]
    passed = iter(fields)
    assert all(field in passed for field in sent[:-1]), "order and case are kept"
    names = {name.lower() for name, _ in sent[:-1]}
    assert not names & {
        b"authorization",
        b"x-api-key",
        b"x-request-id",
        b"x-data-parallel-rank",
        b"x-vllm-priority",
        b"x-session-id",
        b"connection",
        b"te",
        b"upgrade",
    }
    assert not names & {b"content-length", b"transfer-encoding", b"expect", b"keep-alive"}
    assert not any(name.startswith(b"x-weighbridge-") for name in names)
    assert (b"accept-encoding" in names) == (not metered and b"Accept-Encoding" in dict(fields))
    nominated = any(name.lower() == b"connection" and b"X-Custom" in value for name, value in fields)
    assert (b"x-custom" in names) == (b"X-Custom" in dict(fields) and not nominated)


@given(FIELDS)
def test_what_goes_down(fields: Headers) -> None:
    sent = to_client(fields)
    names = {name.lower() for name, _ in sent}
    assert not names & {b"x-request-id", b"connection", b"keep-alive", b"upgrade"}
    assert [field for field in sent if field[0] in (b"Content-Length", b"X-Custom")] == [
        field for field in fields if field[0] in (b"Content-Length", b"X-Custom")
    ]


def test_without_a_key_for_vllm() -> None:
    fields = [(b"Authorization", b"Bearer theirs")]
    assert to_upstream(fields, {b"authorization": b"Bearer theirs"}, None, True) == []
