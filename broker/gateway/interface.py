"""The interface's description: the AsyncAPI document as YAML and JSON, and a page that shows it to people."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse, Response

from broker.gateway.asyncapi import as_yaml, document
from broker.gateway.page import page
from broker.schema.catalogue import Catalogue
from broker.settings import KafkaSettings

YAML = "application/vnd.aai.asyncapi+yaml;version=3.0.0"
JSON = "application/vnd.aai.asyncapi+json;version=3.0.0"

NOTHING_FROM_ELSEWHERE = "default-src 'none'; style-src 'unsafe-inline'"
"""Content-Security-Policy: the page is whole, and loads nothing."""


def router(catalogue: Catalogue, *, prefix: str = "") -> APIRouter:
    """Return the resources. The document is made when it is first asked for, which takes a second.

    Args:
        catalogue: the schemas, with the ids that are on the wire.
        prefix: of the installation's topics.
    """
    made: Callable[[], dict[str, Any]] = cache(lambda: document(catalogue, kafka=KafkaSettings(prefix=prefix)))
    routes = APIRouter(tags=["interface"])

    @routes.get("/asyncapi.yaml")
    def in_yaml() -> Response:  # not async: in a thread, so that others are answered meanwhile
        return Response(as_yaml(made()), media_type=YAML)

    @routes.get("/asyncapi.json")
    def in_json() -> Response:
        return JSONResponse(made(), media_type=JSON)

    @routes.get("/docs/asyncapi")
    def for_people() -> Response:
        return HTMLResponse(page(made()), headers={"content-security-policy": NOTHING_FROM_ELSEWHERE})

    return routes
