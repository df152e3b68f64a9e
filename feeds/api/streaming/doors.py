"""The routes: Server-Sent Events below /api/v1/streaming/, and at /api/v1/streaming itself a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import orjson
from django.conf import settings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from feeds.database import STORE_ERRORS

from .. import errors
from ..renderers import NO_PAGE, NOT_KEPT
from ..throttling import caller
from . import streams
from .hub import HEARTBEAT, Hub
from .listener import Listener
from .streams import Refused, Subscription

MOST = 100  # streams that one connection may listen to
ROOT = "/api/v1/streaming"
THUMP = b":thump\n\n"

log = logging.getLogger(__name__)
hub = Hub()


async def health(request: Request) -> Response:
    return PlainTextResponse("OK", headers=FOR_BROWSERS)


async def stream(request: Request) -> EventStream:
    """One stream by its path: `user/notification` is the stream user:notification."""
    name = request.path_params["name"].rstrip("/").replace("/", ":")
    if name not in streams.NAMES:
        raise Refused(404, errors.NOT_FOUND)
    if name in streams.PUBLIC and request.query_params.get("only_media", "").lower() in ("true", "1", "on"):
        name = "public:media"
    return await _stream(request, lambda shown: streams.asked(name, request.query_params, shown))


async def delivery(request: Request) -> EventStream:
    """A fan-out's progress, until it is done."""
    post_id = request.path_params["post_id"]
    if post_id >= 1 << 63:
        raise Refused(404, errors.NOT_FOUND)
    return await _stream(request, lambda shown: streams.delivery(post_id, shown))


async def _stream(request: Request, ask: Callable[[Any], Subscription]) -> EventStream:
    """What the request asks for by the token that it shows."""

    def look() -> tuple[Any, Subscription]:
        shown = streams.token(_token(request))
        return shown, ask(shown)

    shown, asked = await hub.in_thread(look)
    return EventStream(shown, asked, _address(request))


def _address(connection: HTTPConnection) -> str:
    """As the web process takes it. Of several headers the last one is what the proxy of ours has added."""
    forwarded = connection.headers.getlist("x-forwarded-for") if settings.TRUST_PROXY else []
    return caller(forwarded[-1] if forwarded else "", connection.client.host if connection.client else "")


def _token(connection: HTTPConnection) -> str:
    """In a header, or, since browsers can't set one here, in the URL."""
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    return text if scheme.lower() == "bearer" else connection.query_params.get("access_token", "")


class EventStream:
    """Server-Sent Events of one stream, until either side ends it."""

    def __init__(self, shown: Any, asked: Subscription, address: str) -> None:
        self.asked, notified = asked, streams.hears_notifications(shown)
        form = lambda message, _: message.as_event  # noqa: E731
        self.listener = Listener(shown, form, address=address, notified=notified, thump=THUMP)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = self.listener
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        listener.put(THUMP)  # so that the client knows at once that it is heard
        hub.join(listener)
        hub.subscribe(listener, self.asked)
        gone = asyncio.create_task(_until_gone(receive, listener))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            while (words := await listener.queue.get()) is not None:
                await send({"type": "http.response.body", "body": words, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            hub.leave(listener)


FOR_BROWSERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": NO_PAGE,
    "Cache-Control": NOT_KEPT,
}
HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"x-accel-buffering", b"no"),  # nginx shall pass on each event as it comes
    *((name.lower().encode(), value.encode()) for name, value in FOR_BROWSERS.items()),
]


async def _until_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()


async def websocket(socket: WebSocket) -> None:
    """Any number of streams, named in the URL or by messages."""
    offered = socket.headers.get("sec-websocket-protocol", "").split(",")[0].strip()
    try:
        shown = await hub.in_thread(streams.token, _token(socket) or offered)
    except Refused as refused:
        await socket.send_denial_response(_answer(refused.status, refused.sentence))
        return
    except STORE_ERRORS:
        await socket.send_denial_response(_answer(503, errors.UNAVAILABLE))
        return
    notified = streams.hears_notifications(shown)
    listener = Listener(shown, lambda message, label: message.frame(label), address=_address(socket), notified=notified)
    try:
        hub.join(listener)
    except Refused as refused:
        await socket.send_denial_response(_answer(refused.status, refused.sentence))
        return
    try:
        await socket.accept(subprotocol=offered or None)  # a browser that offered one wants to hear it again
        await _converse(socket, listener, shown)
    finally:
        hub.leave(listener)


async def _converse(socket: WebSocket, listener: Listener, shown: Any) -> None:
    writer = asyncio.create_task(_write(socket, listener))
    try:
        if socket.query_params.get("stream"):
            await _said(listener, shown, {**socket.query_params, "type": "subscribe"})
        while (message := await socket.receive())["type"] == "websocket.receive":
            await _said(listener, shown, _message(message.get("text") or ""))
    finally:
        writer.cancel()


async def _write(socket: WebSocket, listener: Listener) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it is closed: who reads from it is told so
        while (words := await listener.queue.get()) is not None:
            await socket.send_text(str(words))
        await socket.close(1008)  # it was too slow, or its token is no longer good (uvicorn's 1012: the service stops)


def _message(text: str) -> Mapping[str, Any]:
    with contextlib.suppress(ValueError):
        found = orjson.loads(text)
        if isinstance(found, dict):
            return found
    return {}


async def _said(listener: Listener, shown: Any, message: Mapping[str, Any]) -> None:
    """Does what a client's message says, or answers what is wrong with it."""
    params = {name: str(message[name]) for name in ("stream", "tag", "list") if message.get(name) is not None}
    try:
        if message.get("type") not in ("subscribe", "unsubscribe"):
            raise Refused(400, "A message must be JSON, of the type subscribe or unsubscribe")
        asked = await hub.in_thread(streams.asked, params.get("stream", ""), params, shown)
        if message["type"] == "unsubscribe":
            hub.unsubscribe(listener, asked.stream)
        elif len(listener.labels) >= MOST:
            raise Refused(400, f"A connection may listen to {MOST} streams at most")
        elif not listener.ended:
            hub.subscribe(listener, asked)
    except Refused as refused:
        listener.put(orjson.dumps({"error": refused.sentence, "status": refused.status}).decode())
    except STORE_ERRORS:
        listener.put(orjson.dumps({"error": errors.UNAVAILABLE, "status": 503}).decode())


def _answer(status: int, sentence: str) -> JSONResponse:
    by_status = {401: {"WWW-Authenticate": 'Bearer realm="feedsvc"'}, 429: {"Retry-After": str(HEARTBEAT)}}
    return JSONResponse({"error": sentence}, status, headers=FOR_BROWSERS | by_status.get(status, {}))


async def refused(request: Request, error: Any) -> Response:
    return _answer(error.status, error.sentence)


async def no_route(request: Request, error: Any) -> Response:
    return _answer(error.status_code, errors.NOT_FOUND if error.status_code == 404 else error.detail)


async def unavailable(request: Request, error: Exception) -> Response:
    log.error("%s: %s", type(error).__name__, error)
    return _answer(503, errors.UNAVAILABLE)


async def our_mistake(request: Request, error: Exception) -> Response:
    """uvicorn logs it."""
    return _answer(500, errors.WRONG)


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    Refused: refused,
    HTTPException: no_route,
    **dict.fromkeys(STORE_ERRORS, unavailable),
    Exception: our_mistake,
}


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    await hub.open()
    yield


application = Starlette(
    routes=[
        Route(f"{ROOT}/health", health),
        Route(f"{ROOT}/delivery/{{post_id:int}}", delivery),
        Route(f"{ROOT}/{{name:path}}", stream),
        WebSocketRoute(ROOT, websocket),
        WebSocketRoute(f"{ROOT}/", websocket),
    ],
    middleware=[
        Middleware(
            CORSMiddleware, allow_origins=["*"], allow_headers=["Authorization", "Cache-Control", "Last-Event-ID"]
        )
    ],
    exception_handlers=HANDLERS,
    lifespan=lifespan,
)
application.router.redirect_slashes = False  # it would lead to whatever host the request names
