"""`/v1/realtime`: a WebSocket client, mitmproxy's layers, and a server that behaves as vLLM's source says."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode

from contracts.projection import KeyRecord
from proxy.config import Timeouts
from proxy.ports import Principal
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import get
from tests.proxy.serving import Proxy, proxy
from tests.proxy.slow.certificates import trusting, write
from tests.proxy.slow.realtime_server import PROMPT, RealtimeServer, realtime_server
from tests.proxy.upstream import Got, Piece

AUDIO = base64.b64encode(bytes(3200)).decode()


def nothing(_got: Got) -> list[Piece]:
    return [None]


@asynccontextmanager
async def sessions(secure: ssl.SSLContext | None = None, **changes: Any) -> AsyncIterator[tuple[Proxy, RealtimeServer]]:
    scheme = "http" if secure is None else "https"
    async with (
        realtime_server(secure) as fake,
        proxy(nothing, upstream=f"{scheme}://127.0.0.1:{fake.port}", **changes) as it,
    ):
        yield it, fake


def open_session(it: Proxy, key: bytes | None = KEY, **options: Any) -> connect:
    headers = {"authorization": f"Bearer {key.decode()}"} if key is not None else {}
    scheme = "wss" if "ssl" in options else "ws"
    url = f"{scheme}://localhost:{it.traffic.port}/v1/realtime"
    return connect(url, additional_headers=headers, **options)


async def say(ws: ClientConnection, **event: Any) -> None:
    await ws.send(msgspec.json.encode(event).decode())


async def hear(ws: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(120):
        heard: dict[str, Any] = msgspec.json.decode(await ws.recv())
    return heard


async def begin(ws: ClientConnection, pieces: int) -> None:
    """Begin an utterance, and hear that many deltas."""
    await say(ws, type="input_audio_buffer.commit")
    for _ in range(pieces):
        await say(ws, type="input_audio_buffer.append", audio=AUDIO)
        assert (await hear(ws))["type"] == "transcription.delta"


async def end(ws: ClientConnection) -> dict[str, Any]:
    await say(ws, type="input_audio_buffer.commit", final=True)
    return await hear(ws)


async def test_a_session_is_one_request_and_its_utterances_add_up() -> None:
    async with sessions() as (it, fake):
        async with open_session(it) as ws:
            assert (await hear(ws))["type"] == "session.created"
            await say(ws, type="session.update", model="tiny")
            await begin(ws, 3)
            done = await end(ws)
            assert done["usage"]["completion_tokens"] == 3
            await begin(ws, 2)
            await end(ws)
            assert not it.recorder.closes
        usage = await it.settled()
        assert (usage.input_tokens, usage.output_tokens) == (2 * PROMPT, 5)
        assert (usage.outcome, usage.accuracy, usage.status, usage.dialect) == ("completed", "exact", 101, "realtime")
        assert (usage.model, usage.served_model, usage.response_id, usage.endpoint) == (
            "tiny",
            "tiny",
            "sess-1",
            "/v1/realtime",
        )
        assert usage.first_token_at > usage.first_byte_at
        assert usage.request_bytes > 5 * len(AUDIO)
        assert len(it.recorder.decisions) == 1
        (upgrade,) = fake.requests
        assert upgrade.headers["authorization"] == "Bearer key-of-vllm"
        assert upgrade.headers["x-request-id"] == usage.request_id
        assert "sec-websocket-extensions" not in upgrade.headers


async def test_through_tls_on_both_sides(tmp_path: Path) -> None:
    authority = trustme.CA()
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(secure)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    async with sessions(secure, upstream_ca=file, tls_files=write(authority, tmp_path)) as (it, _):
        async with open_session(it, ssl=trusting(authority)) as ws:
            await hear(ws)
            await say(ws, type="session.update", model="tiny")
            await begin(ws, 1)
            await end(ws)
        assert (await it.settled()).output_tokens == 1


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_client_that_leaves_in_the_middle(way: str) -> None:
    """vLLM is told, and reports nothing for what it had begun: that is an estimate."""
    async with sessions() as (it, fake):
        async with open_session(it) as ws:
            await hear(ws)
            await say(ws, type="session.update", model="tiny")
            await begin(ws, 2)
            await end(ws)
            await begin(ws, 3)
            if way == "reset":
                ws.transport.abort()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy) == ("client_closed", "estimated")
        assert (usage.input_tokens, usage.output_tokens) == (PROMPT, 5)
        async with asyncio.timeout(120):
            while not fake.aborted:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(120):
            while it.clients:
                await asyncio.sleep(0.01)


async def test_a_client_that_leaves_after_its_last_utterance() -> None:
    async with sessions() as (it, _):
        async with open_session(it) as ws:
            await hear(ws)
            await say(ws, type="session.update", model="tiny")
            await begin(ws, 2)
            await end(ws)
            ws.transport.abort()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.output_tokens) == ("client_closed", "exact", 2)


async def test_a_session_without_an_utterance_used_nothing() -> None:
    async with sessions() as (it, _):
        async with open_session(it) as ws:
            await hear(ws)
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.output_tokens) == ("completed", "exact", None)


async def test_an_utterance_that_fails() -> None:
    async with sessions() as (it, fake):
        async with open_session(it) as ws:
            await hear(ws)
            await say(ws, type="input_audio_buffer.commit")
            assert (await hear(ws))["code"] == "model_not_validated"
            await say(ws, type="session.update", model="tiny")
            await begin(ws, 2)
            fake.fail = True
            await say(ws, type="input_audio_buffer.append", audio=AUDIO)
            assert (await hear(ws))["code"] == "processing_error"
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.output_tokens) == ("upstream_error", "estimated", 2)


async def test_keys() -> None:
    async with sessions() as (it, fake):
        it.directory.distant[b"far"] = Principal(KEY_RECORD, {})
        async with open_session(it, key=b"far") as ws:
            await hear(ws)
        only_adapter = KeyRecord(id="key_2", tenant="ten_search", models=("adapter",), revision=1)
        it.directory.known[b"adapter"] = Principal(only_adapter, {})
        for key, status in ((None, 401), (b"wrong", 401), (b"adapter", 403)):
            with pytest.raises(InvalidStatus) as caught:
                async with open_session(it, key=key):
                    pass
            assert caught.value.response.status_code == status
            assert b'"code"' in (caught.value.response.body or b"")
        assert len(fake.requests) == 1
        assert [decision.decision for decision in it.recorder.decisions] == ["admitted", "denied", "denied", "denied"]


async def test_the_model_that_a_session_names_is_checked() -> None:
    async with sessions() as (it, _):
        only_tiny = KeyRecord(id="key_2", tenant="ten_search", models=("tiny",), revision=1)
        it.directory.known[b"tiny"] = Principal(only_tiny, {})
        async with open_session(it, key=b"tiny") as ws:
            await hear(ws)
            await say(ws, type="session.update", model="adapter")
            assert (await hear(ws))["code"] == "model_not_allowed"
            await say(ws, type="session.update", model="nothing")
            assert (await hear(ws))["code"] == "model_not_found"
            await ws.send('{"type":"session.update","model":"adapter","x":NaN}')  # Python would read it
            assert (await hear(ws))["code"] == "invalid_json"
            await ws.send(b'{"type":"session.update","model":"adapter"}')
            assert (await hear(ws))["code"] == "invalid_request"
            await say(ws, type="input_audio_buffer.commit")
            assert (await hear(ws))["code"] == "model_not_validated"  # vLLM heard of none of these
        async with open_session(it) as ws:
            await hear(ws)
            await say(ws, type="session.update", model="adapter")
            await begin(ws, 1)
            await say(ws, type="session.update", model="tiny")  # the cheaper one, after the work
            assert (await hear(ws))["code"] == "invalid_request"
            await end(ws)
        usage = await it.settled(2)
        assert (usage.model, usage.served_model, usage.base_model) == ("adapter", "adapter", "tiny")


@pytest.mark.parametrize(("enforce", "decision"), [("off", "admitted"), ("shadow", "would_deny")])
async def test_sessions_where_rules_are_not_enforced(enforce: str, decision: str) -> None:
    async with sessions(enforce=enforce) as (it, _):
        only_tiny = KeyRecord(
            id="key_2", tenant="ten_search", models=("tiny",), expires_at=datetime(2020, 1, 1, tzinfo=UTC), revision=1
        )
        it.directory.known[b"tiny"] = Principal(only_tiny, {})
        for number, (key, tenant) in enumerate(((None, "unassigned"), (b"tiny", "ten_search")), 1):
            async with open_session(it, key=key) as ws:
                await hear(ws)
                await say(ws, type="session.update", model="adapter")
                await begin(ws, 1)
                await end(ws)
            usage = await it.settled(number)
            assert (usage.tenant, usage.model, usage.outcome) == (tenant, "adapter", "completed")
        assert [each.decision for each in it.recorder.decisions] == [decision] * 2


async def test_vllm_that_refuses_or_is_away() -> None:
    async with sessions() as (it, fake):
        fake.refusal = 403
        with pytest.raises(InvalidStatus) as caught:
            async with open_session(it):
                pass
        assert (caught.value.response.status_code, caught.value.response.body) == (403, b"refused\n")
        usage = await it.settled()
        assert (usage.upstream_status, usage.accuracy, usage.input_tokens) == (403, "exact", None)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            it.traffic._lane.pool._address = free.getsockname()
        with pytest.raises(InvalidStatus) as caught:
            async with open_session(it):
                pass
        assert caught.value.response.status_code == 502
        assert b"upstream_unreachable" in (caught.value.response.body or b"")
        assert (await it.settled(2)).outcome == "upstream_error"


@pytest.mark.parametrize(
    "broken", [[None], [b"no HTTP at all\r\n\r\n"], [b"HTTP/1.1 101 Switching Protocols\r\n\r\n", None]]
)
async def test_vllm_that_does_not_answer_as_it_should(broken: list[Piece]) -> None:
    async with proxy(lambda _got: broken) as it:
        with pytest.raises((InvalidStatus, InvalidHandshake)) as caught:
            async with open_session(it):
                pass
        if isinstance(caught.value, InvalidStatus):
            assert caught.value.response.status_code == 502
            assert b'"upstream_error"' in (caught.value.response.body or b"")
        usage = await it.settled()
        assert usage.outcome == "upstream_error"
        async with asyncio.timeout(120):
            while it.clients:
                await asyncio.sleep(0.01)


async def test_thousands_of_messages_in_one_segment() -> None:
    async with sessions() as (it, _):
        async with open_session(it) as ws:
            await hear(ws)
            frame = Frame(Opcode.TEXT, b'{"type":"?"}').serialize(mask=True)
            ws.transport.write(frame * 3000)
            for _ in range(3000):
                assert (await hear(ws))["code"] == "unknown_event"
        assert (await it.settled()).outcome == "completed"


async def test_what_is_no_upgrade() -> None:
    async with sessions() as (it, fake):
        answer = await it.ask(get("/v1/realtime"))
        assert (answer.status, b"method_not_allowed" in answer.body) == (405, True)
        answer = await it.ask(get("/v1/realtime", b"X: " + b"x" * 100))
        assert answer.status == 405
        assert not fake.requests
        assert not it.recorder.closes


async def test_a_message_that_is_too_large_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.slow.realtime.MAX_MESSAGE", 200_000)
    async with sessions() as (it, _):
        async with open_session(it) as ws:
            await hear(ws)
            for _ in range(4):
                await say(ws, type="input_audio_buffer.append", audio="A" * 100_000)
            with suppress(ConnectionClosed):  # it may end before all was sent
                await ws.send("x" * 4_000_000)  # beyond the limit by more than one read may bring
            with pytest.raises(ConnectionClosed):
                await ws.recv()
        assert (await it.settled()).outcome == "client_closed"


async def test_time_and_progress() -> None:
    times = Timeouts(idle=0.8, first_byte=0.8, client_idle=0.8)
    async with sessions(timeouts=times, progress_interval=0.1) as (it, _):
        async with open_session(it) as ws:
            await hear(ws)
            await say(ws, type="session.update", model="tiny")
            await begin(ws, 2)
            with pytest.raises(ConnectionClosed):
                await ws.recv()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.output_tokens) == ("upstream_timeout", "estimated", 2)
        assert it.recorder.progress[-1].output_tokens == 2


async def test_drain_cuts_at_its_deadline() -> None:
    async with sessions() as (it, _), open_session(it) as ws:
        await hear(ws)
        await say(ws, type="session.update", model="tiny")
        await begin(ws, 1)
        await it.traffic.drain(0.2)
        assert it.recorder.closes[0].outcome == "proxy_lost"
