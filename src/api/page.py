"""`GET /`: the chat page and its files, plain HTML, CSS and JavaScript from this package; the operator's view; and the API's description."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from ..infra.config import FeaturesCfg
from .middleware import PAGE_CSP

STATIC = Path(__file__).parent / "static"
_HEADERS = {"Content-Security-Policy": PAGE_CSP, "Cache-Control": "no-cache"}


class Assets(StaticFiles):
    """The page's files. They change with the release, so browsers ask each time and mostly hear 304."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI, features: FeaturesCfg) -> None:
    """Serve what `[features]` asks for."""
    router = APIRouter(include_in_schema=False)

    async def page() -> Response:
        if features.upload:
            return FileResponse(STATIC / "index.html", headers=_HEADERS)
        text = await asyncio.to_thread((STATIC / "index.html").read_text, encoding="utf-8")
        return HTMLResponse(text.replace("<body>", '<body data-upload="off">', 1), headers=_HEADERS)

    async def admin() -> Response:
        return FileResponse(STATIC / "admin.html", headers=_HEADERS)

    async def docs() -> Response:
        return FileResponse(STATIC / "docs.html", headers=_HEADERS)

    if features.chat_page:
        router.add_api_route("/", page, methods=["GET"])
    if features.admin_page:
        router.add_api_route("/admin", admin, methods=["GET"])
    if features.openapi:
        router.add_api_route("/docs", docs, methods=["GET"])
    app.include_router(router)
    if features.chat_page or features.admin_page or features.openapi:
        app.mount("/static", Assets(directory=STATIC), name="static")
