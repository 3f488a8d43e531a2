"""From an entry of a file to a message that can be published: attachments checked, gaps filled, shape checked."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from broker.errors import InvalidFieldError, RefusedError
from broker.members.directory import Directory
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.model.parsing import parse_message
from broker.model.rules import check_attachment
from producers.completion import complete
from producers.files import Entry, attached_file, local_paths

ATTACHMENT_BYTES_MAX = 256 << 20
"""One attachment, which is read whole to be digested."""


def prepare(entry: Entry, *, directory: Directory, now: datetime, issuer: str | None = None) -> Notice | Diffusion:
    """Return the message of an entry.

    Args:
        entry: as `producers.files.read` yields it.
        directory: gives the owner's region.
        now: the time of issue, where the file says none.
        issuer: the only bureau that may issue it (`--as`), if any.

    Raises:
        RefusedError: the entry cannot be read, lacks something that nothing else says, or is of another issuer; an
            attachment is not what the message says of it.
    """
    if isinstance(entry.content, RefusedError):
        raise entry.content
    content, attached = _with_attachments(entry.content, entry.folder)
    message = parse_message(complete(content, directory=directory, now=now))
    for at, data in attached.items():
        check_attachment(message.attachments[at], data, f"attachments[{at}]")
    if issuer is not None and message.issuer != issuer:
        raise InvalidFieldError("issuer", f"is {message.issuer}, not {issuer}", "--as publishes only what it issues")
    return message


def _with_attachments(content: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[int, bytes]]:
    """Take the local paths out of the attachments; what a file leaves out of one follows from its content."""
    attachments = list(content.get("attachments") or ()) if isinstance(content.get("attachments"), list) else []
    contents: dict[int, bytes] = {}
    for at, name, said in local_paths(content):
        path = attached_file(folder, name, f"attachments[{at}].path")
        if path.stat().st_size > ATTACHMENT_BYTES_MAX:
            rule = f"at most {ATTACHMENT_BYTES_MAX:,} bytes"
            raise InvalidFieldError(f"attachments[{at}].path", "is too large", rule)
        contents[at] = data = path.read_bytes()
        media_type, _ = mimetypes.guess_type(path.name)
        follows = {"size_bytes": len(data), "sha256": sha256(data).hexdigest(), "media_type": media_type}
        attachments[at] = {**{key: value for key, value in follows.items() if value is not None}, **said}
    if not contents:
        return dict(content), contents
    return {**content, "attachments": attachments}, contents
