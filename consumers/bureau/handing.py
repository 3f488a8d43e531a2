"""Deliveries handed over to a system that is not ours, and acknowledged only once it has taken them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from broker.errors import InvalidFieldError, UnavailableError
from broker.model.receipt import ActorKind, Stage
from broker.transport.inbox import Delivery
from consumers.bureau.answers import Answer
from consumers.bureau.client import Inbox
from consumers.bureau.desk import PROGRAM

logger = structlog.get_logger(__name__)


class Takes(Protocol):
    """The other side: a program, or a folder."""

    async def take(self, delivery: Delivery) -> Answer:
        """Hand a delivery over; once this returns, the other side has it.

        Raises:
            UnavailableError: it was not taken, or nobody can tell: hand it over again.
        """
        ...

    async def close(self) -> None:
        """Let go of the other side."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """How long to wait before a delivery that was not taken is handed over again."""

    first: timedelta = timedelta(milliseconds=500)
    most: timedelta = timedelta(seconds=30)


async def hand_over(
    inbox: Inbox,
    delivery: Delivery,
    *,
    to: Takes,
    default: Callable[[Delivery], Answer],
    not_taken: Callable[[str], None],
    back_off: BackOff | None = None,
    program: str = PROGRAM,
) -> None:
    """Hand a delivery over until it is taken, then acknowledge and finish it.

    The deliveries after it wait, because the inbox's order is the order of each notice's life. If we are killed
    between the taking and the acknowledging, it is handed over again.

    Args:
        inbox: connected with `received_when_finished`, so that nothing is acknowledged before.
        delivery: the one that the inbox handed out last.
        to: the other side.
        default: what is acknowledged where the other side names no stage.
        not_taken: is told why, each time.
        back_off: between two times.
        program: who gives the receipts that no officer gives.
    """
    times = back_off or BackOff()
    pause = times.first
    while True:
        try:
            answer = await to.take(delivery)
        except UnavailableError as error:
            logger.warning("Delivery not taken", bureau=delivery.bureau, number=delivery.number, offset=delivery.offset)
            not_taken(str(error))
        else:
            said = answer if answer.stage is not None else default(delivery)
            await _acknowledge(inbox, delivery, said, program)
            await inbox.finish(delivery)
            return
        await asyncio.sleep(pause.total_seconds())
        pause = min(pause * 2, times.most)


async def _acknowledge(inbox: Inbox, delivery: Delivery, answer: Answer, program: str) -> None:
    """Acknowledge what was answered; `received` follows by itself when the delivery is finished.

    The delivery has been taken by now. Where it stands further already (it came again, and an officer had acknowledged
    it by hand), that stays, and the answer says nothing: handing it over once more would only be answered the same.
    """
    if not delivery.kind.takes_receipts or answer.stage is None or answer.stage is Stage.RECEIVED:
        return
    try:
        await inbox.acknowledge(
            delivery,
            answer.stage,
            reason=answer.reason,
            actor=answer.officer or program,
            actor_kind=ActorKind.OFFICER if answer.officer else ActorKind.PROGRAM,
        )
    except InvalidFieldError as error:
        logger.warning(
            "Answer not acknowledged: the delivery stands further",
            bureau=delivery.bureau,
            number=delivery.number,
            offset=delivery.offset,
            stage=answer.stage,
            **error.log_fields(),
        )
