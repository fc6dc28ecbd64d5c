"""Who may use the page: visitors who are logged in, where a login is wanted, and who do not only guess at it.

Gradio guards some of its own routes. This stands in front of all, its own and ours.
"""

from __future__ import annotations

import httpx
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmpipe.demo.storage import Storage
from mmpipe.serve.attempts import Attempts
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.bodies import declared_bytes
from mmpipe.serve.refusal import Refusal

LOGIN = "/login"
UPLOAD = "/gradio_api/upload"
#: What the page that asks for the login consists of: Gradio's own files, the same everywhere.
OPEN_PATHS = frozenset({"/", "/theme.css", "/favicon.ico"})
OPEN_FOLDERS = ("/assets/", "/static/")
_COOKIE = "access-token-"  # what the names of Gradio's begin with

_LOG_IN = Refusal(401, "Log in first.")


class LoginMiddleware:
    """ASGI middleware.

    Args:
        app: what is guarded.
        login: whether one is wanted.
        storage: has room for uploads, or has not.
        max_upload_bytes: what an upload that does not say how large it is counts as.
        audit: where logins and refusals are noted.
        attempts: counts failed logins.
    """

    def __init__(
        self,
        app: ASGIApp,
        login: bool,
        storage: Storage,
        max_upload_bytes: int,
        audit: AuditLog | None = None,
        attempts: Attempts | None = None,
    ) -> None:
        self._app, self._login, self._storage, self._max_upload_bytes = app, login, storage, max_upload_bytes
        self._audit, self._attempts = audit or AuditLog(), attempts or Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        path = scope["path"].rstrip("/") or "/"
        if self._login and scope["type"] == "http" and path == LOGIN and scope["method"] == "POST":
            await self._log_in(scope, receive, send, address)
        elif self._login and not _open(scope, path) and not await self._logged_in(HTTPConnection(scope)):
            self._audit.note("connection.refused", why="login", address=address)
            await _LOG_IN(scope, receive, send)
        elif scope["type"] == "http" and path == UPLOAD:
            await self._upload(scope, receive, send, address)
        else:
            await self._app(scope, receive, send)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        if wait_s := self._attempts.begin(address):
            self._audit.note("login.refused", why="too many failures", address=address)
            wait = str(int(wait_s) + 1)
            await Refusal(429, f"Too many failed logins. Wait {wait} s.", {"Retry-After": wait})(scope, receive, send)
            return
        status, cookie = 500, ""

        async def seen(message: Message) -> None:
            nonlocal status, cookie
            if message["type"] == "http.response.start":
                status = message["status"]
                set_cookies = Headers(raw=message["headers"]).getlist("set-cookie")
                cookie = "; ".join(given.partition(";")[0] for given in set_cookies)
            await send(message)

        await self._app(scope, receive, seen)
        if status == httpx.codes.OK:
            self._attempts.succeeded(address)
            self._audit.note("login", who=(await self._ask("user", cookie)).json(), address=address)
        else:
            self._audit.note("login.failed", address=address)

    async def _logged_in(self, connection: HTTPConnection) -> bool:
        """Whether Gradio knows the visitor's token."""
        cookie = connection.headers.get("cookie", "")
        return _COOKIE in cookie and (await self._ask("login_check", cookie)).status_code == httpx.codes.OK

    async def _ask(self, what: str, cookie: str) -> httpx.Response:
        """What Gradio says of the visitor who has ``cookie``."""
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as page:
            return await page.get(f"/gradio_api/{what}", headers={"cookie": cookie})

    async def _upload(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        wanted = declared_bytes(scope)
        wanted = self._max_upload_bytes if wanted is None else wanted
        async with self._storage.room_for(wanted) as there_is:
            if there_is:
                await self._app(scope, receive, send)
            else:
                self._audit.note("upload.refused", why="no room", address=address, bytes=wanted)
                await Refusal(507, "The server has no room for this file at present. Try again in some minutes.")(
                    scope, receive, send
                )


def _open(scope: Scope, path: str) -> bool:
    """Whether it can be had without a login."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and (path in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDERS))
    )
