"""The HTTP server of one model: a page, `POST /predict` and `GET /health`. For a person's own machine: it asks for no
password, answers to no other site's pages, and keeps no image.
"""

import asyncio
import base64
import hashlib
import ipaddress
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kesikaran.publish import upload
from kesikaran.publish.batching import MOST_WAITING, Answer, Full, Queue
from kesikaran.publish.facts import Facts
from kesikaran.publish.upload import Refused

_PAGE = Path(__file__).with_name("web_app.html")


@dataclass(frozen=True)
class Served:
    """What is served. name: what the server calls the model."""

    name: str
    facts: Facts

    def decision(self) -> dict[str, Any]:
        """The rule, in probabilities of label 1. not_sure: from where to where, None without a band. error: the share
        that the band promises."""
        band = self.facts.band
        return {
            "threshold": _probability(self.facts.threshold),
            "not_sure": band and [_probability(band.low), _probability(band.high)],
            "error": band and band.error,
        }


def make(queue: Queue, served: Served, most_bytes: int, names: Sequence[str]) -> FastAPI:
    """The application.

    Args:
        most_bytes: of a request. names: the names of hosts under which it answers, beside `localhost` and addresses.
    """
    own_names = {"localhost", *(name.lower() for name in names)}
    memory = upload.Memory()
    page, policy = _page()

    async def own_site(request: Request) -> None:
        _check_site(request, own_names)

    handlers: dict[Any, Any] = {Refused: _refused, HTTPException: _no_such, ClientDisconnect: _gone, Exception: _failed}
    # Without FastAPI's pages of documentation, which load scripts from elsewhere.
    options: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None, "redirect_slashes": False}
    app = FastAPI(dependencies=[Depends(own_site)], exception_handlers=handlers, **options)

    @app.get("/")
    async def show() -> Response:
        return HTMLResponse(page, headers=_HEADERS | {"Content-Security-Policy": policy})

    @app.get("/health")
    async def health() -> Response:
        return _json(
            {
                "ready": queue.waiting < MOST_WAITING,
                "model": served.name,
                "run": served.facts.run_id,
                "data": served.facts.data,
                "images": queue.answered,
                "decision": served.decision(),
                "limits": {"request_bytes": most_bytes, "files": upload.MOST_FILES},
            }
        )

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        with memory.taken() as share:
            images = await upload.images(request, most_bytes, share)
            try:
                futures = queue.submit([content for _, content in images])
            except Full:
                raise upload.busy(f"{MOST_WAITING} images may wait at once") from None
            found = await asyncio.gather(*map(asyncio.wrap_future, futures))
        return _judgement([name for name, _ in images], found)

    return app


def _judgement(names: list[str | None], found: list[Answer | str]) -> Response:
    """One object for a body, a list for a form. 422 where no image was judged."""
    rows = [
        {"name": name} | ({"refused": one} if isinstance(one, str) else asdict(one))
        for name, one in zip(names, found, strict=True)
    ]
    none_judged = all(isinstance(one, str) for one in found)
    if names == [None]:
        return _json(rows[0] | {"error": f"The image is refused: {found[0]}."}, 422) if none_judged else _json(rows[0])
    if none_judged:
        return _json({"error": f"All {len(rows)} images are refused.", "images": rows}, 422)
    return _json({"images": rows})


def _check_site(request: Request, own_names: set[str]) -> None:
    """A page of another site can make a browser send requests here, and by a name of its own that leads to this address
    it could read the answers. It cannot change what the browser says of the host and of its origin."""
    host = request.headers.get("host", "")
    found = re.fullmatch(r"(\[[0-9A-F:.]+\]|[\w.-]{1,253})(:\d{1,5})?", host, re.ASCII | re.IGNORECASE)
    name = found[1].strip("[]").lower() if found else ""
    if name not in own_names and not _is_address(name):
        raise Refused(421, "This server answers as localhost, by its address, or by the name that --host gave it.")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Refused(403, "The page of another site may not use this server.")


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _page() -> tuple[str, str]:
    """(the page, its policy). By the policy a browser runs the page's own script and style only, and loads nothing from
    elsewhere."""
    page = _PAGE.read_text(encoding="utf-8")

    def digest(tag: str) -> str:
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    rules = [
        "default-src 'none'",
        f"script-src {digest('script')}",
        f"style-src {digest('style')}",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return page, "; ".join(rules)


_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _json(content: Any, status: int = 200, **headers: str) -> Response:
    return JSONResponse(content, status, _HEADERS | headers)


async def _refused(_: Request, error: Refused) -> Response:
    later = {"Retry-After": str(upload.RETRY_SECONDS)} if error.status == 503 else {}
    return _json({"error": error.sentence}, error.status, **later)


async def _no_such(_: Request, error: HTTPException) -> Response:
    return _json({"error": f"{error.detail}: there are GET /, GET /health and POST /predict."}, error.status_code)


async def _gone(*_: Any) -> Response:
    return Response(status_code=400)  # nobody gets it


async def _failed(*_: Any) -> Response:
    return _json({"error": "The server failed at this request; its terminal says more."}, 500)


def _probability(log_odds: float) -> float:
    """Without an overflow at either end."""
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0
