"""`/v1/responses`: made, made in the background, looked up and cancelled."""

import asyncio
import secrets
from typing import Any

import msgspec

from sim.checks import not_empty, sampling, served_here
from sim.errors import ApiError, invalid
from sim.prefix import Prompt
from sim.requests import template
from sim.response import ResponsesRequest, response
from sim.response_format import ResponseFormat
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site
from sim.stored import Background, Stored


def respond(site: Site, request: HttpRequest, connection: Connection) -> Answering | None:
    """Answer `POST /v1/responses`."""
    body = site.read(ResponsesRequest, request)
    if body.background and body.store is False:
        raise invalid("background can only be used when `store` is true", "background")
    served_here(body.model, site.models)
    stored = body.store is not False and site.settings.sim_responses_store
    if body.background and not stored:
        raise ApiError(_NO_STORE, "invalid_request_error", "background")
    before = [] if body.previous_response_id is None else site.store.get(body.previous_response_id).chat
    chat = body.chat(before)
    not_empty(chat)
    sampling(None, body.temperature)
    job = site.job("resp_", request, [Prompt(template(chat), body.cache_salt or "")], body.wish)
    job.id = body.request_id or f"resp_{secrets.token_hex(8)}"
    room = site.settings.sim_max_model_len - job.prompts[0].size
    entry = Stored(
        response(job, body, "queued", room if body.max_output_tokens is None else body.max_output_tokens), chat
    )

    def done(answer: dict[str, Any], said: str) -> None:
        if stored:
            entry.update(answer, said)
            site.store.keep(entry)

    outlet = Background(entry) if body.background else connection
    making = site.generate(job, request, lambda job: ResponseFormat(job, body, done), outlet)
    if not body.background:
        return making
    site.store.keep(entry)
    entry.task = asyncio.get_running_loop().create_task(making)
    if body.stream:
        return follow(entry, 0, connection)
    connection.send(200, msgspec.json.encode(entry.answer))
    return None


def retrieve(site: Site, request: HttpRequest, connection: Connection) -> Answering | None:
    """Answer `GET /v1/responses/{id}`: as it is now, or with `stream=true` its events from `starting_after` on."""
    entry = site.store.get(_id(request))
    asked = dict(pair.partition(b"=")[::2] for pair in request.target.partition(b"?")[2].split(b"&"))
    if asked.get(b"stream", b"").lower() in (b"true", b"1"):
        after = asked.get(b"starting_after", b"")
        return follow(entry, int(after) + 1 if after.isdigit() else 0, connection)
    connection.send(200, msgspec.json.encode(entry.answer))
    return None


def cancel(site: Site, request: HttpRequest, connection: Connection) -> None:
    """Answer `POST /v1/responses/{id}/cancel`."""
    entry = site.store.get(_id(request))
    entry.cancel()
    connection.send(200, msgspec.json.encode(entry.answer))


async def follow(entry: Stored, place: int, connection: Connection) -> None:
    """Send the events of a response in the background as they come; of one that was not, vLLM breaks the connection."""
    connection.open_stream()
    while True:
        changed = entry.changed
        while place < len(entry.events):
            connection.write(entry.events[place])
            place += 1
            await connection.writable()
        if entry.ended or entry.task is None:
            break
        await changed.wait()
    if entry.task is None or entry.answer["status"] in ("failed", "cancelled"):
        connection.abort()
    else:
        connection.close_stream()


def _id(request: HttpRequest) -> str:
    return request.path.split("/")[3]


_NO_STORE = (
    "This vLLM engine does not support `store=True` and therefore does not support the background mode. To enable these "
    "features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when launching the vLLM server."
)
