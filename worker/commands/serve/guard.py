"""What every request must be like, and what every response says to browsers.

A web page elsewhere can make a browser ask us, under a name that its owner has given our address
(DNS rebinding). Such a request has that name as its Host, so only known hosts are answered.
"""

import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from marketstate.worker.commands.serve.connection import MOST_BYTES_OF_REQUEST

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?")
_METHODS: Final = ("GET", "HEAD")
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "font", "connect")),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        size = sum(len(name) + len(value) for name, value in headers.raw)
        size += len(scope["raw_path"]) + len(scope["query_string"])
        if size > MOST_BYTES_OF_REQUEST:
            return _refused(431, "the request line and the headers are too long")
        if not self._is_known(headers.getlist("host")):
            return _refused(400, "this host is not served: see --host of marketstate serve")
        if scope["method"] not in _METHODS:
            return _refused(405, "only GET and HEAD are served", allow="GET, HEAD")
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            return _refused(413, "a request must have no body")
        return None

    def _is_known(self, hosts: list[str]) -> bool:
        found = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        return found is not None and found[1] in self._hosts


def _refused(status: int, why: str, **headers: str) -> PlainTextResponse:
    # What else the client may have sent is not read.
    return PlainTextResponse(f"{why}\n", status, {"connection": "close"} | headers)
