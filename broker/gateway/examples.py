"""Examples of what lies on the topics: each schema version's own sample, and the fictitious messages of `samples/`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import as_file, files
from typing import Any, cast

from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.members.seed import seeds
from broker.model.base import Model
from broker.model.ledger import LedgerEntry
from broker.model.message import Message
from broker.model.parsing import parse_message
from broker.schema.catalogue import SHIPPED, SchemaVersion
from broker.schema.codec import SUBJECTS, Codec
from broker.transport.headers import Value, signed_headers
from producers.completion import complete
from producers.files import expand, read

_KEY = "0011223344556677"
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_ID = "0197a3c2-7b1e-7c3a-9d55-0242ac120099"
"""Of receipts."""


def examples(one: SchemaVersion, *, is_newest: bool) -> Iterator[dict[str, Any]]:
    """Yield a version's own sample; of a message's newest version, the first of the samples of each type besides."""
    sample = json.loads((SHIPPED / one.subject / f"v{one.version}.sample.json").read_text("utf-8"))
    value: Model = _codec().decode(bytes.fromhex(sample["encoded"]))
    yield {"name": "sample", **_headers(value), "payload": sample["value"]}
    if is_newest:
        for name, message in _first_of_each_type().items():
            if type(message) is SUBJECTS[one.subject]:
                payload = message.model_dump(mode="json", exclude_defaults=True)
                yield {"name": name, **_headers(message), "payload": payload}


def _headers(value: Model) -> dict[str, Any]:
    """Return an example's headers, if records of its kind have any; the signature is none that holds."""
    if isinstance(value, LedgerEntry):
        return {}
    signer = getattr(value, "issuer", None) or getattr(value, "author", None) or "broker"
    headers = signed_headers(
        cast("Value", value),
        key_id=f"{signer}.{_KEY}",
        signature=bytes(64),
        id=getattr(value, "origin", _ID),
        traceparent=_TRACE,
    )
    return {"headers": {name: content.decode() for name, content in headers}}


@cache
def _codec() -> Codec:
    return Codec.load()


@cache
def _first_of_each_type() -> dict[str, Message]:
    """Return the samples by notice type or diffusion kind, completed as the producer does."""
    bureaus = [Bureau(code=seed.code, **dict(seed.facts)) for seed in seeds()]
    directory = Directory(bureaus, offset=0, installation=None)
    first: dict[str, Message] = {}
    with as_file(files("samples")) as folder:
        by_type = [path for path in expand([folder]) if path.name[0].isdecimal()]  # the others are whole stories
        for entry in (entry for path in by_type for entry in read(path)):
            if isinstance(entry.content, dict):
                message = parse_message(complete(entry.content, directory=directory, now=datetime.now(UTC)))
                first.setdefault(f"{type(message).__name__.lower()} {message.wire_type}", message)
    return first
