"""What `noticewire bureau CODE listen` does: shows deliveries, or hands them to a system that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import typer

from broker.cli.context import Context, run_async
from broker.cli.terminal import printable
from broker.clock import SystemClock
from broker.errors import InvalidFieldError, MisuseError, NoticewireError, RefusedError, UnavailableError
from broker.model.message import ENDS, Status
from broker.model.notice import Notice
from broker.model.receipt import ActorKind, DeclineReason, Stage
from broker.transport.inbox import Delivery, DeliveryKind
from broker.transport.link import Link, linked
from consumers.bureau.answers import Answer
from consumers.bureau.by_hand import acknowledge_by_hand
from consumers.bureau.client import Inbox
from consumers.bureau.folder import Folder, PickedUp
from consumers.bureau.handing import Takes, hand_over
from consumers.bureau.letter import as_json as letter
from consumers.bureau.state import BureauState
from consumers.bureau.subprocesses import OneProcessEach, OneProcessForAll

OPERATOR = "noticewire-cli"
"""Who gives the receipts that no officer gives."""

PICK_UP_EVERY = timedelta(milliseconds=500)
"""How often a folder's receipts are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What the user has said is to be acknowledged, where the other side says nothing itself."""

    accept: bool = False
    stage: Stage | None = None
    reason: DeclineReason | None = None
    officer: str | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.accept and self.stage is not None:
            raise MisuseError("--accept and --stage exclude each other")
        if (self.stage is Stage.DECLINED) != (self.reason is not None):
            raise MisuseError("--reason goes with --stage declined, and that with a reason")

    def answer(self, delivery: Delivery) -> Answer:
        """Return the answer to a delivery."""
        stage = self.stage
        if self.accept:
            ended = delivery.kind is DeliveryKind.END or delivery.event in ENDS
            stage = Stage.PURGED if ended else Stage.ACCEPTED
        if stage is None or not delivery.kind.takes_receipts:
            return Answer()
        return Answer(stage=stage, reason=self.reason, officer=self.officer)


class _Shown:
    """The other side is the screen: what was shown was taken."""

    async def take(self, _delivery: Delivery) -> Answer:
        """Take it."""
        return Answer()

    async def close(self) -> None:
        """Nothing is kept."""


def other_side(*, each: str | None, kept_open: str | None, folder: Path | None, time_out: timedelta) -> Takes:
    """Return who takes the deliveries.

    Raises:
        MisuseError: more than one is named, or a command is none.
    """
    if sum(one is not None for one in (each, kept_open, folder)) > 1:
        raise MisuseError("--exec, --exec-open and --to-folder exclude each other")
    if each is not None:
        return OneProcessEach(_words("--exec", each), time_out=time_out)
    if kept_open is not None:
        return OneProcessForAll(_words("--exec-open", kept_open), time_out=time_out)
    return Folder(folder) if folder is not None else _Shown()


def _words(option: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise MisuseError(f"{option}: {error}") from None
    if not words:
        raise MisuseError(f"{option} names no command")
    return words


def listen(code: str, context: Context, *, wants: Wants, to: Takes, count: int | None, as_json: bool) -> None:
    """Hand deliveries over until `count` are, or until Ctrl-C."""
    run_async(_listen(code, context, wants=wants, to=to, count=count, as_json=as_json))


async def _listen(code: str, context: Context, *, wants: Wants, to: Takes, count: int | None, as_json: bool) -> None:
    done = 0
    handing = asyncio.Lock()  # a receipt for a delivery may come before we have written down that it was taken
    passed_on = not isinstance(to, _Shown)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(to.close)
        inbox = await stack.enter_async_context(
            Inbox.connect(code, data=context.data, received_when_finished=passed_on)
        )
        if isinstance(to, Folder):
            await stack.enter_async_context(_picking_up(code, context, to, handing))
        async for delivery in inbox:
            async with handing:
                await hand_over(
                    inbox,
                    delivery,
                    to=to,
                    default=wants.answer,
                    not_taken=partial(_say_not_taken, delivery),
                    program=OPERATOR,
                )
                if passed_on:
                    await inbox.flush()
            shown = line(delivery, with_title=not passed_on)  # what a service prints ends in the system's log
            typer.echo(json.dumps(letter(delivery), ensure_ascii=False) if as_json else printable(shown))
            done += 1
            if done == count:
                return


def _say_not_taken(delivery: Delivery, why: str) -> None:
    typer.echo(printable(f"{delivery.number} (offset {delivery.offset}): not taken: {why}"), err=True)


@contextlib.asynccontextmanager
async def _picking_up(code: str, context: Context, folder: Folder, handing: asyncio.Lock) -> AsyncIterator[None]:
    """Acknowledge the receipts that come into a folder, beside the client."""
    name = f"noticewire-bureau-{code}-receipts"
    async with linked(context.kafka, codec=context.codec(), client_id=name, root_public=context.root_public) as link:

        async def pick_up() -> None:
            for picked in folder.receipts():
                async with handing:
                    await _acknowledge(picked, folder, link=link, code=code, context=context)

        async def keep_picking_up() -> None:
            while True:
                try:
                    await pick_up()
                except (NoticewireError, OSError, sqlite3.Error) as error:  # it passes, and they wait in the folder
                    typer.echo(f"receipts wait: {error}", err=True)
                await asyncio.sleep(PICK_UP_EVERY.total_seconds())

        running = asyncio.create_task(keep_picking_up())
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def _acknowledge(picked: PickedUp, folder: Folder, *, link: Link, code: str, context: Context) -> None:
    """Acknowledge one receipt, and move its file."""
    answer = picked.content
    if isinstance(answer, InvalidFieldError):
        folder.failed(picked, str(answer))
        return
    state = BureauState.look(context.data / "bureaus" / f"{code}.db")
    if state is None or answer.id is None or answer.stage is None:
        raise UnavailableError("the bureau's file is not there yet")
    signer = context.keys.signer(code)  # a key that cannot be read now is no fault of the receipt
    with contextlib.closing(state):
        known = [one for one in state.deliveries(str(answer.id)) if DeliveryKind(one.kind).takes_receipts]
        if known and known[-1].stage is answer.stage:  # acknowledged, and then we were killed before it was moved
            folder.done(picked)
            return
        try:
            await acknowledge_by_hand(
                state,
                str(answer.id),
                answer.stage,
                reason=answer.reason,
                actor=answer.officer or OPERATOR,
                actor_kind=ActorKind.OFFICER if answer.officer else ActorKind.PROGRAM,
                signer=signer,
                installation=(await link.follower.at_its_end()).installation or "",
                codec=link.codec,
                publisher=link.publisher,
                clock=SystemClock(),
            )
        except RefusedError as refused:
            folder.failed(picked, str(refused))
            return
    folder.done(picked)


def line(delivery: Delivery, *, with_title: bool) -> str:
    """Return a delivery as one line for people; its title is an issuer's free text, mostly about a person."""
    at = delivery.appended_at.isoformat(timespec="seconds")
    if delivery.outcome is not None:
        said = delivery.outcome
        reason = f" ({said.reason}: {said.detail})" if said.reason else f", given to {said.given}"
        return f"{at} outcome of {delivery.number}: {said.verdict}{reason}"
    if delivery.reminder is not None:
        return f"{at} reminder of {delivery.number}: acknowledge {delivery.reminder.origin or 'what is not yet'}"
    if delivery.message is None:
        return f"{at} notice of end of {delivery.number}: {delivery.event}, revision {delivery.revision}"
    message = delivery.message
    mark = "" if message.status is Status.ACTUAL else f" [{message.status}]"
    title = f": {message.texts[0].title}" if with_title and message.texts else ""
    kind = f"{message.wire_type} {'notice' if isinstance(message, Notice) else 'diffusion'}"
    return (
        f"{at}{mark} {message.number} {kind} {message.event} (revision {message.revision}) by {message.issuer}{title}"
    )
