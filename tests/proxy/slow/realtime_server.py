"""vLLM 0.32.0's `/v1/realtime` without a model, after `vllm/entrypoints/speech_to_text/realtime/connection.py`.

An utterance begins with a commit that is not final, makes a delta for each piece of audio, and ends with the final commit;
its usage is its own. What vLLM checks is checked, with the same words and codes.
"""

import asyncio
import base64
import binascii
import http
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.proxy.upstream import MODELS

PROMPT = 11
"""Tokens of the prompt that each utterance reports."""


class RealtimeServer:
    """`requests` holds the upgrades; `aborted` counts utterances that their client left."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.aborted = 0
        self.port = 0
        self.refusal: int | None = None
        self.fail = False
        """The next utterance ends in an error of the engine."""

    def process(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/v1/models":
            answer = connection.respond(http.HTTPStatus.OK, MODELS.decode())
            del answer.headers["content-type"]
            answer.headers["content-type"] = "application/json"
            return answer
        self.requests.append(request)
        return connection.respond(http.HTTPStatus(self.refusal), "refused\n") if self.refusal is not None else None

    async def serve(self, connection: ServerConnection) -> None:
        audio: asyncio.Queue[bytes | None] = asyncio.Queue()
        running: asyncio.Task[None] | None = None
        validated = False

        async def send(**event: Any) -> None:
            await connection.send(msgspec.json.encode(event).decode())

        async def error(message: str, code: str) -> None:
            await send(type="error", error=message, code=code)

        async def transcribe() -> None:
            text, tokens = "", 0
            while (piece := await audio.get()) is not None:
                if self.fail:
                    await error("the engine died", "processing_error")
                    return
                delta = f"word{len(piece)} "
                text += delta
                tokens += 1
                await send(type="transcription.delta", delta=delta)
            usage = {"prompt_tokens": PROMPT, "completion_tokens": tokens, "total_tokens": PROMPT + tokens}
            await send(type="transcription.done", text=text, usage=usage | {"prompt_tokens_details": None})

        await send(type="session.created", id="sess-1", created=1)
        try:
            async for message in connection:
                event = msgspec.json.decode(message)
                kind = event.get("type")
                if kind == "session.update":
                    if event.get("model") in ("tiny", "adapter"):
                        validated = True
                    else:
                        await error(f"The model `{event.get('model')}` does not exist.", "model_not_found")
                elif kind == "input_audio_buffer.append":
                    try:
                        audio.put_nowait(base64.b64decode(event["audio"], validate=True))
                    except binascii.Error:
                        await error("Invalid audio data", "invalid_audio")
                elif kind == "input_audio_buffer.commit" and not validated:
                    await error("Model not validated.", "model_not_validated")
                elif kind == "input_audio_buffer.commit" and event.get("final"):
                    audio.put_nowait(None)
                elif kind == "input_audio_buffer.commit":
                    if running is None or running.done():
                        running = asyncio.create_task(transcribe())
                else:
                    await error(f"Unknown event type: {kind}", "unknown_event")
        except ConnectionClosed:
            pass
        finally:
            if running is not None and not running.done():
                self.aborted += 1
                running.cancel()


@asynccontextmanager
async def realtime_server(secure: ssl.SSLContext | None = None) -> AsyncIterator[RealtimeServer]:
    """Run one on a free port."""
    fake = RealtimeServer()
    async with serve(fake.serve, "127.0.0.1", 0, process_request=fake.process, ssl=secure) as server:
        fake.port = next(iter(server.sockets)).getsockname()[1]
        yield fake
