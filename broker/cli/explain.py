"""`noticewire explain`: who gets a message, who does not, and why; by the router's own pure function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.context import FAILED, Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.clock import SystemClock
from broker.errors import CorruptHistoryError, InvalidFieldError, MisuseError, RefusedError, RejectedRecordError
from broker.members.directory import Directory
from broker.model.diffusion import Diffusion
from broker.model.ledger import EntryKind, LedgerEntry, Rewritten, WithheldReason
from broker.model.message import Message
from broker.model.naming import NoticeNumber, Origin, Shard, codes, ledger, shard_of
from broker.model.notice import Notice
from broker.transport.kafka import TopicPartition
from broker.transport.link import Link, linked
from broker.transport.reader import RawReader
from consumers.router.decide import Audience, decide
from consumers.router.folding import ledger_entries
from consumers.router.life import NoticeState, after, check_issuer, check_life
from consumers.router.memory import Memory
from producers.files import read
from producers.preparation import prepare


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("explain")(explain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is decided about one message."""

    place: str
    """Where it stands: in a file, or on its feed."""
    number: str
    event: str
    revision: int
    audience: Audience | None = None
    problem: str | None = None
    """Why it is refused, or would be rejected."""
    note: str | None = None
    rewritten: tuple[Rewritten, ...] = ()
    """Who was given it in an older version of the format."""


def explain(
    what: Annotated[str, typer.Argument(metavar="FILE|NUMBER", help="Messages to be published, or a notice number.")],
    *,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say who gets it, who does not, and why. Of a number, what was routed; of a file, what would be.

    Example: noticewire explain zw-n-2026-000001 --data ./data
    """
    is_number = not Path(what).exists() and _is_number(what)
    if not is_number and not Path(what).is_file():
        raise MisuseError(f"{what} is neither a file nor a notice number")
    explanations = run_async(_explain(what, load_context(data), is_number=is_number))
    if as_json:
        print_json([_json(one) for one in explanations])
    else:
        for one in explanations:
            for line in _lines(one):
                typer.echo(line)
    if any(one.problem is not None for one in explanations):
        raise typer.Exit(FAILED)


def _is_number(what: str) -> bool:
    try:
        NoticeNumber.parse(what)
    except InvalidFieldError:
        return False
    return True


async def _explain(what: str, context: Context, *, is_number: bool) -> list[Explanation]:
    async with linked(
        context.kafka, codec=context.codec(), client_id="noticewire-explain", root_public=context.root_public
    ) as link:
        directory = await link.follower.at_its_end()
        if is_number:
            explanations = [one async for one in _routed(what, link, directory)]
            if not explanations:
                raise RefusedError(f"nothing of {what} has reached the router")
            return explanations
        return [one async for one in _would_be_routed(Path(what), link, directory)]


async def _would_be_routed(path: Path, link: Link, directory: Directory) -> AsyncIterator[Explanation]:
    """Decide about the messages of a file, each knowing what was routed and what stands before it in the file."""
    memories: dict[Shard, Memory] = {}
    now = SystemClock().now()
    for entry in read(path):
        try:
            message = prepare(entry, directory=directory, now=now)
        except RefusedError as error:
            yield Explanation(place=entry.place, number="", event="", revision=0, problem=str(error))
            continue
        memory = memories.get(message.shard)
        if memory is None:
            memory = memories[message.shard] = await _folded(message.shard, link)
        explanation = _decided(entry.place, message, memory.notice(message.number), directory)
        if explanation.audience is not None:
            memory.notices[message.number] = after(
                memory.notice(message.number),
                message.event,
                message.revision,
                owner=message.owner,
                issuer=message.issuer,
                given=explanation.audience.delivered,
            )
        yield explanation


async def _routed(number: str, link: Link, directory: Directory) -> AsyncIterator[Explanation]:
    """Decide again about every routed message of a notice, with the directory and the past that it had.

    Raises:
        CorruptHistoryError: the ledger says otherwise than the decision.
    """
    owner = directory.get(NoticeNumber.parse(number).owner)
    if owner is None:
        raise MisuseError(f"the owner that {number} names is not in the directory")
    shard = shard_of(number, owner.case_region)
    memory = Memory.empty(shard)
    async for entry in _entries(shard, link):
        past = memory.notice(number)
        memory.enter(entry)
        if entry.number != number or entry.event is None:
            continue
        place = str(entry.origin)
        if entry.kind is not EntryKind.ROUTED:
            yield _unrouted(place, entry)
            continue
        message = await _message_at(entry.origin, link)
        explanation = _decided(place, message, past, link.follower.as_of(entry.directory_offset))
        if explanation.audience is None or _differs(explanation.audience, entry):
            raise CorruptHistoryError(place, f"the ledger holds another decision ({explanation.problem or 'audience'})")
        yield replace(explanation, rewritten=entry.rewritten)


def _decided(place: str, message: Message, past: NoticeState | None, directory: Directory) -> Explanation:
    audience, problem = None, None
    try:
        check_issuer(message)
        check_life(message, past)
        audience = decide(message, directory, past)
    except RejectedRecordError as error:
        problem = f"would be rejected: {error.reason}: {error.detail}"
    return Explanation(
        place=place,
        number=message.number,
        event=message.event,
        revision=message.revision,
        audience=audience,
        problem=problem,
    )


def _unrouted(place: str, entry: LedgerEntry) -> Explanation:
    is_rejected = entry.kind is EntryKind.REJECTED
    return Explanation(
        place=place,
        number=entry.number or "",
        event=entry.event or "",
        revision=entry.revision or 0,
        note=None if is_rejected else "the same bytes again: given to nobody",
        problem=f"rejected: {entry.reason}" if is_rejected else None,
    )


def _differs(audience: Audience, entry: LedgerEntry) -> bool:
    withheld = {str(reason): codes(bureaus) for reason, bureaus in audience.withheld.items()}
    return (codes(audience.delivered), codes(audience.ended), withheld) != (
        entry.delivered,
        entry.ended,
        entry.withheld,
    )


async def _folded(shard: Shard, link: Link) -> Memory:
    memory = Memory.empty(shard)
    async for entry in _entries(shard, link):
        memory.enter(entry)
    return memory


async def _entries(shard: Shard, link: Link) -> AsyncIterator[LedgerEntry]:
    partition = TopicPartition(ledger(shard.region), shard.partition)
    end = await link.client.end_offset(partition, committed=True)
    async for entry in ledger_entries(link.client, link.codec, partition, start=0, end=end):
        yield entry


async def _message_at(origin: Origin, link: Link) -> Message:
    """Return the message that lies at a place on its feed."""
    partition = TopicPartition(origin.topic, origin.partition)
    reader = RawReader(link.client, {partition: origin.offset}, committed=False, lane="explain")
    try:
        while True:
            for _, batches in await reader.poll():
                record = batches[0].records[0]
                return link.codec.decode(record.value or b"", Notice, Diffusion)
    finally:
        await reader.close()


def _lines(one: Explanation) -> Iterator[str]:
    yield f"{one.place}: {one.number} {one.event}, revision {one.revision}" if one.number else f"{one.place}:"
    if one.problem is not None:
        yield f"  {one.problem}"
    if one.note is not None:
        yield f"  {one.note}"
    if one.audience is None:
        return
    yield f"  given to {len(one.audience.delivered)}: {codes(one.audience.delivered) or 'nobody'}"
    for copy in one.rewritten:
        yield f"    of them in version {copy.version} of the format, written by the router: {copy.delivered}"
    if one.audience.ended:
        yield f"  notice of end to {len(one.audience.ended)}: {codes(one.audience.ended)}"
    for reason, bureaus in sorted(one.audience.withheld.items()):
        yield f"  withheld from {len(bureaus)}: {codes(bureaus)}"
        yield f"    {reason}: {_WHY[reason]}"


_WHY = {
    WithheldReason.EXCLUDED: "the issuer named the bureau in the exclusions (RPD article 58)",
    WithheldReason.CLEARANCE: "the classification is above the bureau's clearance (RPD article 112)",
    WithheldReason.VICTIM: "the subject is a victim or a witness, and the bureau is not addressed by its own code",
    WithheldReason.SUSPENDED: "the Secretariat suspended the bureau",
    WithheldReason.NOT_ASKED_FOR: "an exercise or a test, and no subscription of the bureau asks for that",
    WithheldReason.UNREADABLE: "the bureau reads an older version of the format, in which the message cannot be said",
}


def _json(one: Explanation) -> dict[str, Any]:
    audience = one.audience
    return {
        "place": one.place,
        "number": one.number,
        "event": one.event,
        "revision": one.revision,
        "problem": one.problem,
        "note": one.note,
        "delivered": sorted(audience.delivered) if audience else [],
        "rewritten": {str(copy.version): copy.delivered.split() for copy in one.rewritten},
        "ended": sorted(audience.ended) if audience else [],
        "withheld": {str(reason): sorted(bureaus) for reason, bureaus in audience.withheld.items()} if audience else {},
    }
