"""From an extract to the message that a bureau publishes: whose it is, to whom it goes, which revision it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from broker.errors import InvalidFieldError, InvalidMessageError
from broker.members.directory import Directory
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.model.parsing import parse_message
from producers.completion import complete
from producers.importers.imported import Imported, Place
from producers.importers.public_notices import SOURCE, Extract

NAMESPACE = UUID("6f0f6c52-6a0e-5d0b-9c39-0f4f0a3c7d11")
"""Of the message ids of imports; never changed, or what was imported would be imported anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A message that came from an extract, and its place in the record."""

    message: Diffusion
    place: Place


def as_message(
    extract: Extract,
    *,
    owner: str,
    circulation: Mapping[str, Any],
    imported: Imported,
    directory: Directory,
    now: datetime,
) -> Import:
    """Return the diffusion that an extract becomes; the same again where it was imported before.

    Args:
        extract: what was read.
        owner: who imports it, and answers for it.
        circulation: to whom, as a file would say it.
        imported: the owner's record, in which it gets its place.
        directory: gives the owner's region.
        now: the time of issue, where it is new.

    Raises:
        InvalidFieldError: another notice has its number.
        InvalidMessageError: a value has not the shape that a message's has.
    """
    number = str(extract.number(owner))
    data = {**extract.data, "number": number, "owner": owner, "issuer": owner, "circulation": dict(circulation)}
    digest = sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).digest()
    source = f"{extract.colour}/{extract.entity_id}"
    place = imported.place(number=number, source=source, digest=digest, now=now)
    data |= {"message_id": str(message_id_of(owner, place)), "issued_at": place.issued_at, "revision": place.revision}
    data["event"] = "sent" if place.revision == 1 else "revised"
    try:
        message = parse_message(complete(data, directory=directory, now=now))
    except (InvalidFieldError, InvalidMessageError):
        imported.forget(place)
        raise
    assert not isinstance(message, Notice)  # noqa: S101 - a `kind` makes it a diffusion
    return Import(message=message, place=place)


def message_id_of(owner: str, place: Place) -> UUID:
    """Return the message id that follows from a place: whoever imports the same has the same."""
    return uuid5(NAMESPACE, f"{SOURCE}\n{owner}\n{place.source}\n{place.revision}\n{place.digest.hex()}")
