"""Reads small documents over HTTP, through the machine's proxy where it has one (`HTTPS_PROXY`), in a thread."""

import asyncio
import ssl
import time
from http.client import HTTPException
from typing import Any, Final
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from proxy.oidc.keyring import Fetch

MAX_BYTES: Final = 1 << 20
SECONDS: Final = 5.0
_PIECE: Final = 1 << 16


class _NoRedirects(HTTPRedirectHandler):
    """A document of keys is where it was said to be, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return


def fetcher(ca: str | None) -> Fetch:
    """Return what reads documents; `ca`: a PEM file that servers are checked against, if not the system's."""
    opener = build_opener(_NoRedirects(), HTTPSHandler(context=ssl.create_default_context(cafile=ca)))

    def read(url: str) -> bytes:
        deadline = time.monotonic() + SECONDS
        request = Request(url, headers={"accept": "application/json"})  # noqa: S310  # `Rules` and `Keyring` check it
        body = bytearray()
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                while piece := answer.read1(_PIECE):
                    body += piece
                    if len(body) > MAX_BYTES or time.monotonic() > deadline:
                        raise OSError(f"{url}: more than {MAX_BYTES} bytes or {SECONDS:.0f} s")
        except (HTTPException, ValueError) as error:
            raise OSError(f"{url}: {error!r}") from error
        return bytes(body)

    async def fetch(url: str) -> bytes:
        return await asyncio.to_thread(read, url)

    return fetch
