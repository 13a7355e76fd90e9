"""The billing API as commands use it: where it is, its token, and its errors in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import msgspec
import typer

from cli.addresses import web_address
from cli.errors import CommandError

DATA_DIR: Final = Path(".weighbridge")
URL_VARIABLE: Final = "WEIGHBRIDGE_API_URL"
TOKEN_VARIABLE: Final = "WEIGHBRIDGE_API_TOKEN"  # noqa: S105  # a name, not a token
DATA_VARIABLE: Final = "WEIGHBRIDGE_DATA_DIR"
TIMEOUT_SECONDS: Final = 60.0
PAGE: Final = 100

Json = dict[str, Any]
RunningUp = Annotated[Path, typer.Option(envvar=DATA_VARIABLE, show_envvar=False, help="Of a running `up`.")]


class Api:
    """A client of one billing API; raises CommandError for whatever goes wrong."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS
        )

    def get(self, path: str, **query: Any) -> Json:
        """Ask; parameters that are None are left out."""
        return self._send("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: Json | None = None) -> Json:
        """Create or do something."""
        return self._send("POST", path, json=body)

    def patch(self, path: str, body: Json) -> Json:
        """Change something."""
        return self._send("PATCH", path, json=body)

    def delete(self, path: str) -> Json:
        """End something."""
        return self._send("DELETE", path)

    def download(self, path: str) -> bytes:
        """Return a file as it is."""
        return self._answer("GET", path).content

    def all(self, path: str, most: int | None = None, **query: Any) -> list[Json]:
        """Return the rows of a list, page after page, at most so many."""
        rows: list[Json] = []
        cursor: str | None = None
        while True:
            page = self.get(path, limit=PAGE if most is None else min(PAGE, most - len(rows)), cursor=cursor, **query)
            rows += page["data"]
            cursor = page.get("next_cursor")
            if cursor is None or (most is not None and len(rows) >= most):
                return rows

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _send(self, method: str, path: str, **options: Any) -> Json:
        answer = self._answer(method, path, **options)
        if not answer.content:
            return {}
        try:
            return msgspec.json.decode(answer.content, type=Json)
        except msgspec.DecodeError as error:
            raise CommandError(f"{self.url} does not answer as a billing API; check --api-url") from error

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommandError(
                f"the billing API at {self.url} does not answer ({str(error) or type(error).__name__});"
                " start it with `weighbridge up` or give --api-url"
            ) from error
        if answer.is_success:
            return answer
        raise _refusal(answer)


@contextmanager
def connect(url: str | None, token: str | None, data_dir: Path | None) -> Iterator[Api]:
    """Yield a client of the API that flags, environment or the data folder of `up` name, in this order."""
    folder = data_dir or Path(os.environ.get(DATA_VARIABLE, DATA_DIR))
    known: Json = {}
    url, token = url or os.environ.get(URL_VARIABLE), token or os.environ.get(TOKEN_VARIABLE)
    if url is not None:
        web_address("--api-url", url)
    if url is None or token is None:
        known = endpoints(folder)
    client = Api(url or str(known["api"]), token or str(known["api_token"]))
    try:
        yield client
    finally:
        client.close()


def endpoints(folder: Path) -> Json:
    """Return what a running `up` wrote; raises CommandError when there is none."""
    file = folder / "endpoints.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Json)
    except FileNotFoundError:
        raise CommandError(
            f"nothing runs on {folder}: start `weighbridge up`, or give --data-dir, or {URL_VARIABLE} and {TOKEN_VARIABLE}",
            2,
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}", 2) from error


def _refusal(answer: httpx.Response) -> CommandError:
    """Return an RFC 9457 problem as one line: what is wrong and its code."""
    status = 2 if answer.status_code in (400, 422) else 1
    try:
        problem = msgspec.json.decode(answer.content, type=Json)
    except msgspec.DecodeError:
        return CommandError(f"the billing API answered {answer.status_code}; see its log", status)
    code = problem.get("code")
    hint = f"; give it with {TOKEN_VARIABLE} or --api-token" if answer.status_code == 401 else ""
    says = f"{problem.get('detail') or problem.get('title') or answer.status_code}{hint}"
    return CommandError(f"{says} ({code})" if code else says, status, code)
