"""Who may talk to the page's own endpoints: pages of the right origin, visitors who are logged in.

Gradio guards its own routes. The WebSocket and the endpoints beside it must not be a way around that.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from mmpipe.demo.options import DemoOptions
from mmpipe.serve.options import origin_allowed


class Access:
    """``gradio_app``: asked whether a visitor is logged in, where ``options`` want a login."""

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self.gradio_app: ASGIApp | None = None

    def origin_fits(self, connection: HTTPConnection) -> bool:
        """Whether ``connection`` comes from this page, from this machine, or from a program, which sends no origin.

        Where only this machine can reach the server, the Host header is not believed: a foreign page could have made
        its own name point here.
        """
        origin = connection.headers.get("origin")
        if origin_allowed(origin, ()):
            return True
        if self._options.loopback and not self._options.proxied:
            return False
        host = connection.headers.get("x-forwarded-host") or connection.headers.get("host")
        return bool(host) and urlsplit(origin or "").netloc == host

    async def logged_in(self, connection: HTTPConnection) -> bool:
        """Whether the visitor may come in; True where no login is wanted."""
        if not self._options.auth:
            return True
        assert self.gradio_app is not None
        headers = {"cookie": connection.headers.get("cookie", "")}
        transport = httpx.ASGITransport(app=self.gradio_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as page:
            answer = await page.get("/gradio_api/login_check", headers=headers)
        return answer.status_code == httpx.codes.OK

    async def allows(self, connection: HTTPConnection) -> bool:
        return self.origin_fits(connection) and await self.logged_in(connection)
