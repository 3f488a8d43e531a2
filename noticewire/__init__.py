"""The public names of Noticewire: what a bureau's own program needs to publish, receive and acknowledge.

```python
async with Producer.connect(data="data") as producer:
    published = await producer.publish(notice)

async with Inbox.connect("zw", data="data") as inbox:
    async for delivery in inbox:
        await inbox.acknowledge(delivery, Stage.ACCEPTED)
```
"""

import structlog

from broker.errors import (
    CorruptHistoryError,
    FencedError,
    InvalidFieldError,
    InvalidMessageError,
    MisuseError,
    NoticewireError,
    RefusedError,
    RejectedRecordError,
    UnavailableError,
)
from broker.model.base import new_message_id
from broker.model.circulation import Circulation, Scope
from broker.model.diffusion import Diffusion, DiffusionKind
from broker.model.message import Classification, Event, Message, Status, Urgency
from broker.model.naming import NoticeNumber, Region
from broker.model.notice import Notice, NoticeType
from broker.model.outcome import NoticeOfEnd, Outcome, Verdict
from broker.model.parsing import parse_message
from broker.model.receipt import ActorKind, DeclineReason, Receipt, Stage
from broker.model.subject import Subject
from broker.transport.inbox import Delivery, DeliveryKind
from consumers.bureau.client import Inbox
from consumers.bureau.holdings import Holding
from producers import outbox
from producers.client import Accepted, Producer, Published, Result
from producers.journal import FailedEntry

__all__ = [
    "Accepted",
    "ActorKind",
    "Circulation",
    "Classification",
    "CorruptHistoryError",
    "DeclineReason",
    "Delivery",
    "DeliveryKind",
    "Diffusion",
    "DiffusionKind",
    "Event",
    "FailedEntry",
    "FencedError",
    "Holding",
    "Inbox",
    "InvalidFieldError",
    "InvalidMessageError",
    "Message",
    "MisuseError",
    "Notice",
    "NoticeNumber",
    "NoticeOfEnd",
    "NoticeType",
    "NoticewireError",
    "Outcome",
    "Producer",
    "Published",
    "Receipt",
    "RefusedError",
    "Region",
    "RejectedRecordError",
    "Result",
    "Scope",
    "Stage",
    "Status",
    "Subject",
    "UnavailableError",
    "Urgency",
    "Verdict",
    "new_message_id",
    "outbox",
    "parse_message",
]

if not structlog.is_configured():
    # A library is silent until its program says otherwise: structlog's own default prints everything. Through the
    # standard library's logging, warnings show, and the rest where the program sets a level.
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
