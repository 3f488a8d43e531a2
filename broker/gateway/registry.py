"""The catalogue in the Confluent Schema Registry protocol, for reading only.

Any Kafka client with a schema registry reads and writes our topics with it. What would change something is answered
as by a registry in read-only mode (42205); registering a schema that is there already returns its id, as there.

Protocol: docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from typing_extensions import override

from broker.gateway.lookup import (
    NO_LEVEL_OF_ITS_OWN,
    NO_MODE_OF_ITS_OWN,
    NOT_PERMITTED,
    SCHEMA_NOT_FOUND,
    SUBJECT_NOT_FOUND,
    Lookup,
    RegistryError,
    SchemaRequest,
)
from broker.schema.catalogue import SchemaVersion

MEDIA_TYPES = (
    "application/vnd.schemaregistry.v1+json",
    "application/vnd.schemaregistry+json",
    "application/json",
)
"""What the protocol speaks; the first is sent to whoever has no wish."""

LEVEL = "FULL_TRANSITIVE"
MODE = "READONLY"


class _ProtocolRoute(APIRoute):
    """Answers in the media type that was asked for, and errors as the protocol has them."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            media_type = _accepted(request.headers.get("accept", "*/*"))
            if media_type is None:
                return _error(406, f"HTTP 406 Not Acceptable: this is answered in {' or '.join(MEDIA_TYPES)}")
            try:
                response = await handle(request)
            except RegistryError as error:
                response = _error(error.error_code, str(error))
            except RequestValidationError as error:
                # Where and what, never the input.
                said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
                response = _error(422, said)
            response.headers["content-type"] = media_type
            return response

        return answer


def _accepted(wish: str) -> str | None:
    """Return the first media type of ours that an Accept header names."""
    for part in wish.split(","):
        wanted = part.partition(";")[0].strip().lower()
        if wanted in {"", "*/*", "application/*"}:
            return MEDIA_TYPES[0]
        if wanted in MEDIA_TYPES:
            return wanted
    return None


def _error(code: int, message: str) -> Response:
    return JSONResponse({"error_code": code, "message": message}, status_code=int(str(code)[:3]))


def router(lookup: Lookup) -> APIRouter:
    """Return the protocol's resources."""
    routes = APIRouter(route_class=_ProtocolRoute, tags=["schema registry"])
    _add_schemas(routes, lookup)
    _add_subjects(routes, lookup)
    _add_questions(routes, lookup)
    _add_config(routes, lookup)
    return routes


def _add_schemas(routes: APIRouter, lookup: Lookup) -> None:
    @routes.get("/schemas/types")
    async def types() -> list[str]:
        return ["AVRO"]

    @routes.get("/schemas/ids/{schema_id}")
    async def schema(schema_id: str) -> dict[str, str]:
        """Return a schema; `format` changes nothing, as ours refer to no others."""
        return {"schema": lookup.by_id(schema_id).text}

    @routes.get("/schemas/ids/{schema_id}/schema")
    async def raw_schema(schema_id: str) -> Any:
        return json.loads(lookup.by_id(schema_id).text)

    @routes.get("/schemas/ids/{schema_id}/versions")
    async def versions(schema_id: str) -> list[dict[str, Any]]:
        found = lookup.by_id(schema_id)
        return [{"subject": name, "version": found.version} for name in lookup.names_of(found)]

    @routes.get("/schemas/ids/{schema_id}/subjects")
    async def subjects(schema_id: str) -> list[str]:
        return lookup.names_of(lookup.by_id(schema_id))


def _add_subjects(routes: APIRouter, lookup: Lookup) -> None:
    @routes.get("/subjects")
    async def subjects(prefix: Annotated[str, Query(alias="subjectPrefix")] = "") -> list[str]:
        return lookup.subjects(starting=prefix)

    @routes.get("/subjects/{subject}/versions")
    async def versions(subject: str) -> list[int]:
        return [one.version for one in lookup.versions(subject)]

    @routes.get("/subjects/{subject}/versions/{version}")
    async def version(subject: str, version: str) -> dict[str, Any]:
        return _whole(lookup, subject, lookup.version(subject, version))

    @routes.get("/subjects/{subject}/versions/{version}/schema")
    async def raw_schema(subject: str, version: str) -> Any:
        return json.loads(lookup.version(subject, version).text)

    @routes.get("/subjects/{subject}/versions/{version}/referencedby")
    async def referenced_by(subject: str, version: str) -> list[int]:
        lookup.version(subject, version)
        return []


def _add_questions(routes: APIRouter, lookup: Lookup) -> None:
    @routes.post("/subjects/{subject}")
    async def find(subject: str, asked: SchemaRequest) -> dict[str, Any]:
        return _whole(lookup, subject, lookup.find(subject, asked))

    @routes.post("/subjects/{subject}/versions")
    async def register(subject: str, asked: SchemaRequest) -> dict[str, int]:
        try:
            return {"id": lookup.id_of(lookup.find(subject, asked))}
        except RegistryError as error:
            if error.error_code not in {SUBJECT_NOT_FOUND, SCHEMA_NOT_FOUND}:
                raise
            raise _read_only(subject) from error

    @routes.delete("/subjects/{subject}")
    @routes.delete("/subjects/{subject}/versions/{version}")
    async def delete(subject: str, version: str = "latest") -> None:
        lookup.version(subject, version)
        raise _read_only(subject)

    @routes.post("/compatibility/subjects/{subject}/versions")
    async def with_all(subject: str, asked: SchemaRequest, *, verbose: bool = False) -> dict[str, Any]:
        return _verdict(lookup.obstacles(asked, lookup.versions(subject)), verbose=verbose)

    @routes.post("/compatibility/subjects/{subject}/versions/{version}")
    async def with_one(subject: str, version: str, asked: SchemaRequest, *, verbose: bool = False) -> dict[str, Any]:
        return _verdict(lookup.obstacles(asked, [lookup.version(subject, version)]), verbose=verbose)


def _verdict(obstacles: list[str], *, verbose: bool) -> dict[str, Any]:
    verdict: dict[str, Any] = {"is_compatible": not obstacles}
    return {**verdict, "messages": obstacles} if verbose else verdict


def _add_config(routes: APIRouter, lookup: Lookup) -> None:
    @routes.get("/config")
    async def config() -> dict[str, str]:
        return {"compatibilityLevel": LEVEL}

    @routes.get("/config/{subject}")
    async def config_of(subject: str, *, default: Annotated[bool, Query(alias="defaultToGlobal")] = False) -> Any:
        _check_known(subject, NO_LEVEL_OF_ITS_OWN, "compatibility", default=default)
        return {"compatibilityLevel": LEVEL}

    @routes.get("/mode")
    async def mode() -> dict[str, str]:
        return {"mode": MODE}

    @routes.get("/mode/{subject}")
    async def mode_of(subject: str, *, default: Annotated[bool, Query(alias="defaultToGlobal")] = False) -> Any:
        _check_known(subject, NO_MODE_OF_ITS_OWN, "mode", default=default)
        return {"mode": MODE}

    @routes.api_route("/config", methods=["PUT", "DELETE"])
    @routes.api_route("/config/{subject}", methods=["PUT", "DELETE"])
    @routes.api_route("/mode", methods=["PUT"])
    @routes.api_route("/mode/{subject}", methods=["PUT", "DELETE"])
    async def change(subject: str | None = None) -> None:
        raise _read_only(subject)

    def _check_known(subject: str, code: int, what: str, *, default: bool) -> None:
        if not default and subject not in lookup.subjects():
            raise RegistryError(code, f"Subject '{subject}' does not have subject-level {what} configured")


def _whole(lookup: Lookup, subject: str, version: SchemaVersion) -> dict[str, Any]:
    return {"subject": subject, "version": version.version, "id": lookup.id_of(version), "schema": version.text}


def _read_only(subject: str | None) -> RegistryError:
    place = "The registry" if subject is None else f"Subject {subject}"
    return RegistryError(NOT_PERMITTED, f"{place} is in read-only mode: schemas come with the program")
