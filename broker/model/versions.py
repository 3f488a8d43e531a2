"""Which version of the format a message needs: what came with each later one.

Versions of notices and diffusions run alike. A test holds this against the schemas themselves.
"""

from __future__ import annotations

from broker.model.content import AskedFor
from broker.model.diffusion import Diffusion, DiffusionKind
from broker.model.message import Message
from broker.model.notice import Notice, NoticeType
from broker.model.subject import SubjectKind

FORMAT_VERSION = 2
"""What this program writes; it reads all of them."""


def needs(message: Message) -> int:
    """Return the oldest version of the format in which a message can be said without loss."""
    return 2 if _is_silver(message) or _has_assets(message) else 1


def _is_silver(message: Message) -> bool:
    return (isinstance(message, Notice) and message.type is NoticeType.SILVER) or (
        isinstance(message, Diffusion) and message.kind is DiffusionKind.SILVER
    )


def _has_assets(message: Message) -> bool:
    subject = message.subject
    return bool(subject.assets) or subject.kind is SubjectKind.ASSETS or AskedFor.ASSETS in message.asked
