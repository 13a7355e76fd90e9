"""TLS towards clients and towards vLLM."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import openai
import pytest
import trustme

from proxy.lane.pool import Pool
from tests.proxy.fakes import KEY
from tests.proxy.memory import config, post, responses
from tests.proxy.serving import ANSWER, BODY, CHAT, SSE, STREAM, chunk, event, proxy, unary
from tests.proxy.slow.certificates import trusting, write
from tests.proxy.slow.h2client import client
from tests.proxy.upstream import Got, Piece

HEADERS = {"authorization": f"Bearer {KEY.decode()}"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def slowly(_got: Got) -> list[Piece]:
    return [
        SSE,
        *[piece for n in range(1, 500) for piece in (event(n), 0.02)],
        chunk(b"data: [DONE]\n\n"),
        b"0\r\n\r\n",
    ]


async def issuer(port: int, context: ssl.SSLContext) -> bytes:
    """Return the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


@pytest.mark.parametrize(("http2", "version"), [(False, "HTTP/1.1"), (True, "HTTP/2")])
async def test_one_port_speaks_both(authority: trustme.CA, tmp_path: Path, http2: bool, version: str) -> None:
    files = write(authority, tmp_path)
    async with (
        proxy(unary, tls_files=files) as it,
        httpx.AsyncClient(
            http2=http2, verify=trusting(authority), base_url=f"https://localhost:{it.traffic.port}"
        ) as http,
    ):
        for _ in range(2):
            answer = await http.post(CHAT, content=BODY, headers=HEADERS)
            assert (answer.status_code, answer.content, answer.http_version) == (200, ANSWER, version)
        assert (await http.post(CHAT, content=BODY)).status_code == 401
        assert [usage.output_tokens for usage in it.recorder.closes] == [2, 2]


async def test_http2_without_alpn(authority: trustme.CA, tmp_path: Path) -> None:
    async with (
        proxy(unary, tls_files=write(authority, tmp_path)) as it,
        client(it.traffic.port, trusting(authority)) as h2,
    ):
        assert (await h2.answer(h2.ask(body=BODY))).body == ANSWER


async def test_plain_text_is_not_served_beside_it(authority: trustme.CA, tmp_path: Path) -> None:
    async with proxy(unary, tls_files=write(authority, tmp_path)) as it:
        reader, writer = await it.connect()
        writer.write(post(CHAT, BODY))
        assert b"HTTP" not in await reader.read()
        writer.close()
        assert not it.recorder.decisions


async def test_a_silent_client_does_not_hold_a_handshake_for_ever(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.master.HANDSHAKE_SECONDS", 0.3)
    async with proxy(unary, tls_files=write(authority, tmp_path)) as it:
        reader, writer = await it.connect()
        async with asyncio.timeout(120):
            assert await reader.read() == b""
        writer.close()


async def test_the_certificate_is_exchanged_while_serving(authority: trustme.CA, tmp_path: Path) -> None:
    """Also for one with another kind of key; and what is broken leaves the old one."""
    other = trustme.CA()
    both = trusting(authority, other)
    only_old_kind = trusting(authority, other)
    only_old_kind.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    only_old_kind.maximum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = write(authority, tmp_path, trustme.KeyType.RSA)
    async with proxy(unary, tls_files=(certificate, key)) as it:
        first = await issuer(it.traffic.port, both)
        assert await issuer(it.traffic.port, only_old_kind) == first
        for broken in (b"nothing", certificate.read_bytes()[:300]):
            good = certificate.read_bytes()
            certificate.write_bytes(broken)
            it.traffic.reload()
            certificate.write_bytes(good)
            assert await issuer(it.traffic.port, both) == first
        key_of_another = trustme.CA().issue_cert("localhost").private_key_pem.bytes()
        good = key.read_bytes()
        key.write_bytes(key_of_another)
        it.traffic.reload()
        assert await issuer(it.traffic.port, both) == first
        key.write_bytes(good)
        write(other, tmp_path, trustme.KeyType.ECDSA)
        it.traffic.reload()
        second = await issuer(it.traffic.port, both)
        assert second != first
        with pytest.raises(OSError):  # the old certificate is not there any more
            await issuer(it.traffic.port, only_old_kind)


async def test_a_client_that_leaves(authority: trustme.CA, tmp_path: Path) -> None:
    async with proxy(slowly, tls_files=write(authority, tmp_path)) as it:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", it.traffic.port, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(post(CHAT, STREAM))
        received = b""
        while received.count(b"data: ") < 5:
            received += await reader.read(65_536)
        writer.close()
        async with asyncio.timeout(120):
            await it.raw.ended.wait()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy) == ("client_closed", "exact")  # vLLM's side is plain: it is half-closed


async def test_a_refused_large_body_gets_its_answer(authority: trustme.CA, tmp_path: Path) -> None:
    """The client is still sending: it must get 413, not a reset."""
    async with proxy(unary, max_body=100_000, tls_files=write(authority, tmp_path)) as it:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", it.traffic.port, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(post(CHAT, b"x" * 5_000_000))
        async with asyncio.timeout(120):
            received = await reader.read(65_536)
        assert responses(received, closed=True)[0].status == 413
        writer.close()


async def test_back_pressure(authority: trustme.CA, tmp_path: Path) -> None:
    big = event(1, b"x" * 65_536)
    files = write(authority, tmp_path)
    async with proxy(lambda _got: [SSE, *[big] * 3200], tls_files=files) as it:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", it.traffic.port, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(post(CHAT, STREAM))
        sent = -1
        async with asyncio.timeout(120):
            while it.raw.sent != sent or sent == 0:
                sent = it.raw.sent
                await asyncio.sleep(0.5)
        assert 0 < sent < 40_000_000
        writer.transport.abort()
        assert (await it.settled()).outcome == "client_closed"


async def test_drain(authority: trustme.CA, tmp_path: Path) -> None:
    def answer(_got: Got) -> list[Piece]:
        return [SSE, event(1), 0.5, event(2), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]

    async with proxy(answer, tls_files=write(authority, tmp_path)) as it:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", it.traffic.port, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(post(CHAT, STREAM))
        received = await reader.read(65_536)
        await it.traffic.drain(10)
        while data := await reader.read(65_536):
            received += data
        assert responses(received)[0].body.endswith(b"data: [DONE]\n\n")
        assert it.recorder.closes[0].outcome == "completed"
        writer.close()


async def test_curl_and_the_openai_sdk(authority: trustme.CA, tmp_path: Path) -> None:
    files = write(authority, tmp_path)
    curl = shutil.which("curl")
    assert curl is not None, "these tests need curl"
    async with proxy(unary, tls_files=files) as it:
        url = f"https://localhost:{it.traffic.port}"
        for option, version in (("--http1.1", b"1.1"), ("--http2", b"2")):
            words = [curl, "-sSk", option, "-w", "%{http_version}", "-d", BODY.decode(), url + CHAT]
            words += ["-H", f"Authorization: Bearer {KEY.decode()}"]
            done = await asyncio.to_thread(subprocess.run, words, capture_output=True, check=True)
            assert done.stdout == ANSWER + version
        http = httpx.AsyncClient(http2=True, verify=trusting(authority))
        sdk = openai.AsyncOpenAI(base_url=url + "/v1", api_key=KEY.decode(), http_client=http, max_retries=0)
        whole = await sdk.chat.completions.create(model="tiny", messages=[])
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 2
        await sdk.close()


# -- towards vLLM ------------------------------------------------------------------------------------------------------


def served(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


async def test_vllm_with_a_certificate_of_its_own(authority: trustme.CA, tmp_path: Path) -> None:
    """It also asks for ours."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    files = write(authority, tmp_path)
    secure = served(authority)
    secure.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(secure)
    async with proxy(unary, secure=secure, upstream_ca=file, upstream_files=files) as it:
        assert (await it.ask(post(CHAT, BODY))).body == ANSWER
        async with client(it.traffic.port) as h2:
            assert (await h2.answer(h2.ask(body=BODY))).body == ANSWER


async def test_vllm_that_nobody_vouches_for(authority: trustme.CA) -> None:
    async with proxy(unary, listed=False, secure=served(authority)) as it:
        answer = await it.ask(post(CHAT, BODY))
        assert (answer.status, b"upstream_unreachable" in answer.body) == (502, True)
        assert not it.raw.got
        assert (await it.settled()).outcome == "upstream_error"


async def test_a_stream_that_is_cut_is_an_estimate(authority: trustme.CA, tmp_path: Path) -> None:
    """TLS has no half-close: what vLLM had sent and we had not read is lost."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    async with proxy(slowly, secure=served(authority), upstream_ca=file) as it:
        reader, writer = await it.connect()
        writer.write(post(CHAT, STREAM))
        received = b""
        while received.count(b"data: ") < 5:
            received += await reader.read(65_536)
        writer.close()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy) == ("client_closed", "estimated")
        assert usage.output_tokens >= 4
        async with asyncio.timeout(120):
            await it.raw.ended.wait()


async def test_a_pool_knows_its_own_connections() -> None:
    async with proxy(unary) as it:
        pool: Pool = it.traffic._lane.pool
        connection = await pool.connect()
        assert connection._transport is not None
        here = connection._transport.get_extra_info("sockname")
        assert pool.owns(here)
        connection.abort()
        async with asyncio.timeout(120):
            while pool.owns(here):
                await asyncio.sleep(0.01)


def test_several_upstreams_are_taken_apart() -> None:
    one, two = config(upstream="http://10.0.0.1:8000,https://10.0.0.2", instance="name").each()
    assert (one.address, one.instance) == (("10.0.0.1", 8000), "10.0.0.1:8000")
    assert (two.address, two.tls, two.instance) == (("10.0.0.2", 443), True, "10.0.0.2")
    (alone,) = config(upstream="http://10.0.0.1:8000", instance="name").each()
    assert alone.instance == "name"
