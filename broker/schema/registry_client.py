"""The few requests of the Confluent Schema Registry protocol that we make of somebody else's registry.

Protocol: docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from broker.errors import MisuseError, UnavailableError
from broker.settings import SchemaRegistrySettings

LEVEL = "FULL_TRANSITIVE"

_JSON = "application/vnd.schemaregistry.v1+json"
_AWAY = {408, 429, *range(500, 600)}
_REFUSED = range(400, 500)
_NOT_FOUND = 404


@contextmanager
def asking(settings: SchemaRegistrySettings) -> Iterator[RegistryClient]:
    """Connect to the registry that the settings name.

    Raises:
        MisuseError: they name none, or the address is none.
    """
    if settings.url is None:
        raise MisuseError("no schema registry is set: NOTICEWIRE_SCHEMA_REGISTRY__URL")
    auth = None
    if settings.username is not None:
        auth = httpx.BasicAuth(settings.username, settings.password.get_secret_value() if settings.password else "")
    headers = {"Content-Type": _JSON, "Accept": f"{_JSON}, application/json"}
    try:
        client = httpx.Client(
            base_url=settings.url, auth=auth, timeout=settings.timeout.total_seconds(), headers=headers
        )
    except httpx.InvalidURL as error:
        raise MisuseError(f"schema_registry.url: {error}") from error
    with client:
        yield RegistryClient(client)


class RegistryClient:
    """Asks a registry.

    Each request raises `UnavailableError` where there is no answer, or none of a registry's.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def register(self, subject: str, text: str) -> int:
        """Register a schema, and return its id; one that is there already is not registered again.

        Raises:
            MisuseError: it is refused; says why.
        """
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": text})
        if answer.status_code in _REFUSED:
            raise MisuseError(f"the schema registry refuses {subject}: {_said(answer)}")
        return _id(answer)

    def find(self, subject: str, text: str) -> int | None:
        """Return a schema's id under a subject, if it is there.

        Raises:
            MisuseError: we may not ask.
        """
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}", {"schema": text})
        if answer.status_code == _NOT_FOUND:
            return None
        if answer.status_code in _REFUSED:
            raise MisuseError(f"the schema registry does not say what {subject} is: {_said(answer)}")
        return _id(answer)

    def has_set_level(self, subject: str) -> bool:
        """Ask for FULL_TRANSITIVE; return whether the registry lets us."""
        answer = self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": LEVEL})
        return answer.status_code not in _REFUSED

    def _ask(self, method: str, path: str, body: dict[str, str]) -> httpx.Response:
        try:
            answer = self._client.request(method, path, content=json.dumps(body))
        except httpx.HTTPError as error:
            raise UnavailableError(f"the schema registry does not answer ({type(error).__name__})") from error
        if answer.status_code in _AWAY or not (answer.is_success or answer.status_code in _REFUSED):
            raise UnavailableError(f"the schema registry does not answer as one: {_said(answer)}")
        return answer


def _id(answer: httpx.Response) -> int:
    found = _body(answer).get("id")
    if not isinstance(found, int):
        raise UnavailableError(f"the schema registry does not answer as one: no id ({answer.status_code})")
    return found


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _said(answer: httpx.Response) -> str:
    body = _body(answer)
    return f"{body.get('error_code', answer.status_code)} {body.get('message', answer.reason_phrase)}"
