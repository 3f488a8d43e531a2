"""The gateway's application: a list of resources."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from broker.gateway import interface, registry
from broker.gateway.lookup import Lookup
from broker.schema.catalogue import Catalogue
from broker.schema.ids import SchemaIds


def build(*, catalogue: Catalogue, prefix: str = "", ids: SchemaIds | None = None) -> FastAPI:
    """Return the application.

    Args:
        catalogue: the schemas.
        prefix: of the installation's topics.
        ids: what an external registry calls the schemas.
    """
    # No pages of FastAPI's own: they load their scripts from elsewhere.
    app = FastAPI(title="Noticewire", docs_url=None, redoc_url=None, openapi_url=None)
    ids = ids or SchemaIds()
    app.include_router(registry.router(Lookup(catalogue, prefix=prefix, ids=ids)))
    on_the_wire = Catalogue(replace(one, id=ids.on_the_wire(one.id)) for one in catalogue)
    app.include_router(interface.router(on_the_wire, prefix=prefix))
    app.add_exception_handler(HTTPException, _said)
    return app


async def _said(_: Request, error: Exception) -> JSONResponse:
    """Say an error of HTTP's own (no such path, no such method) as a registry does; its clients read no other form."""
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    return JSONResponse({"error_code": status, "message": f"HTTP {status} {status.phrase}"}, status_code=status)
