"""The page from a server on the loopback address, which answers nobody but the page that it sent."""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
import warnings
import webbrowser
from collections.abc import Mapping
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ravine._explore.answers import QuestionError, answer
from ravine._explore.standalone import make_html
from ravine._problem.problem import Problem

HOST = "127.0.0.1"
MOST_BYTES = 64 * 1024
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Lets through what comes from the page itself: other sites, and other names of this machine, are refused."""

    def __init__(self, app: ASGIApp, address: str, token: str) -> None:
        self.app, self.address, self.token = app, address, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope["method"], headers)
        if refused:
            await PlainTextResponse(refused, 403, HEADERS)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, method: str, headers: Mapping[bytes, str]) -> str:
        if headers.get(b"host") != self.address.removeprefix("http://"):
            return "another host"
        if headers.get(b"origin", self.address) != self.address:
            return "another origin"
        if headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return "another site"
        if method != "GET" and not secrets.compare_digest(
            headers.get(b"x-ravine-token", "").encode(), self.token.encode()
        ):
            return "no token"
        return ""


def make_app(problems: Mapping[str, Problem], given: Mapping[str, Any], address: str, token: str) -> ASGIApp:
    """Return the application: the page, and answers to its questions, one at a time."""
    page = make_html(given, address)
    turn = anyio.Semaphore(1)

    async def send_page(request: Request) -> Response:
        return HTMLResponse(page, headers=HEADERS | {"Content-Security-Policy": "frame-ancestors 'none'"})

    async def send_answer(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                return JSONResponse({"error": f"more than {MOST_BYTES:,} bytes"}, 413, HEADERS)
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            return JSONResponse({"error": "no JSON"}, 400, HEADERS)
        async with turn:
            if await request.is_disconnected():  # nobody waits for it any more
                return Response(status_code=204, headers=HEADERS)
            try:
                found = await anyio.to_thread.run_sync(answer, problems, request.path_params["what"], question)
            except QuestionError as reason:
                return JSONResponse({"error": str(reason)}, 400, HEADERS)
        return JSONResponse(found, headers=HEADERS)

    routes = [Route("/", send_page, methods=["GET"]), Route("/{what:str}", send_answer, methods=["POST"])]
    return Guard(Starlette(routes=routes), address, token)


def serve(problems: Mapping[str, Problem], given: Mapping[str, Any], *, browser: bool = True) -> None:
    """Serve the page until Ctrl-C, which is raised as KeyboardInterrupt; opens a browser where there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.bind((HOST, 0))
        bound.listen()  # so that whoever is faster with the address than the server waits
        address, token = f"http://{HOST}:{bound.getsockname()[1]}", secrets.token_urlsafe(24)
        app = make_app(problems, given, address, token)
        config = uvicorn.Config(app, log_level="error", lifespan="off", access_log=False, server_header=False)
        server = uvicorn.Server(config)
        place = f"{address}/#token={token}"
        sys.stdout.write(f"{place}\nCtrl-C ends it\n")
        sys.stdout.flush()
        if browser:
            threading.Thread(target=webbrowser.open, args=(place,), daemon=True).start()
        # before the threads that answer begin, for filters belong to the whole process
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"[\d,]+ runs go one by one")  # no news here: the page asks in slices
            server.run(sockets=[bound])
