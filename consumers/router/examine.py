"""Whether a feed record may be taken at all: its form, its signature, the rules of the domain, its place.

Each check stands in the order in which the design's section 2 names the reasons; the first that fails decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from broker.errors import InvalidFieldError, InvalidMessageError, RejectedRecordError
from broker.members.directory import Directory
from broker.model import rules
from broker.model.command import Command
from broker.model.diffusion import Diffusion
from broker.model.message import Message
from broker.model.naming import NoticeNumber, Origin, Region, commands, feed, partition_of
from broker.model.notice import Notice
from broker.model.outcome import BROKER
from broker.model.rejection import RejectReason
from broker.schema.codec import Codec
from broker.transport.headers import Headers, mismatch, parse_headers
from broker.trust.signing import RecordKind, verify
from consumers.router.arrival import ArrivedRecord
from consumers.router.life import check_issuer


@dataclass(slots=True)
class Examination:
    """How far a record came: what could be read of it, and why it went no further."""

    headers: Headers | None = None
    message: Message | None = None
    is_signed: bool = False
    """The stated issuer signed it, with a key that was valid when it was appended."""
    rejected: RejectedRecordError | None = None

    @property
    def named(self) -> Message | None:
        """The message, where its number is one: any other text could hold anything, and the ledger is for ever."""
        if self.message is None:
            return None
        try:
            NoticeNumber.parse(self.message.number)
        except InvalidFieldError:
            return None
        return self.message


def examine(record: ArrivedRecord, *, directory: Directory, codec: Codec, installation: str) -> Examination:
    """Take a record of `notices.<region>` or `diffusions.<region>` as far as it holds, the past left aside."""
    found = Examination()
    try:
        found.headers = parse_headers(record.headers)
        found.message = codec.decode(record.value or b"", Notice, Diffusion)
        _check_signature(
            record,
            found.headers,
            found.message.issuer,
            RecordKind.MESSAGE,
            directory=directory,
            installation=installation,
        )
        found.is_signed = True
        _check_rules(found.message, directory, record.appended_at)
        _check_place(record, found.headers, found.message, directory)
        check_issuer(found.message)
    except RejectedRecordError as error:
        found.rejected = error
    if record.is_transactional:
        # The first reason of all; yet who signed it hears of it, so the rest was looked at as well.
        found.rejected = _transactional()
    return found


def examine_command(record: ArrivedRecord, *, directory: Directory, codec: Codec, installation: str) -> Command:
    """Return the command that a record of `commands.<region>` carries.

    Raises:
        RejectedRecordError: it does not hold; says the first reason.
    """
    if record.is_transactional:
        raise _transactional()
    headers = parse_headers(record.headers)
    command = codec.decode(record.value or b"", Command)
    _check_signature(record, headers, BROKER, RecordKind.BROKER, directory=directory, installation=installation)
    region = Region(record.origin.topic.partition(".")[2])
    if record.origin.topic != commands(region) or record.origin.partition != partition_of(command.number.encode()):
        raise RejectedRecordError(RejectReason.MISPLACED, "a command lies in the shard of the notice that it is about")
    if record.key != command.number.encode():
        raise RejectedRecordError(RejectReason.MISPLACED, "the key is not the notice number in UTF-8")
    wrong = mismatch(headers, command)
    if wrong is not None:  # whoever is reminded holds the copy's headers against the value, too
        raise RejectedRecordError(RejectReason.MISPLACED, f"header {wrong} differs from what the value says")
    return command


def _transactional() -> RejectedRecordError:
    return RejectedRecordError(
        RejectReason.TRANSACTIONAL,
        "written in a transaction; write to feeds with an idempotent producer and no transactional.id",
    )


def _check_signature(
    record: ArrivedRecord,
    headers: Headers,
    signer: str,
    kind: RecordKind,
    *,
    directory: Directory,
    installation: str,
) -> None:
    """Hold the signature against the key that the directory has for the stated issuer at append time."""
    known = directory.key(headers.key_id)
    if known is None or known[0] != signer:
        raise RejectedRecordError(RejectReason.SIGNATURE, f"key-id is not the id of a key of {signer}")
    key = directory.key_at(headers.key_id, record.appended_at)
    if key is None:
        raise RejectedRecordError(
            RejectReason.SIGNATURE,
            f"key {headers.key_id} was not valid when this was appended, at {record.appended_at}",
        )
    if not verify(key.public, headers.signature, kind, installation, record.value or b""):
        raise RejectedRecordError(
            RejectReason.SIGNATURE,
            f"does not verify with {headers.key_id} over noticewire/1, {kind}, this installation's id and the value",
        )


def _check_rules(message: Message, directory: Directory, appended_at: datetime) -> None:
    try:
        rules.check(message, today=appended_at.date())
    except InvalidMessageError as error:
        raise RejectedRecordError(RejectReason.INVALID, str(error)) from error
    named = {
        "owner": (message.owner,),
        "circulation.bureaus": message.circulation.bureaus,
        "circulation.exclusions": message.circulation.exclusions,
    }
    for place, bureaus in named.items():
        unknown = sorted(code for code in bureaus if code not in directory)
        if unknown:
            raise RejectedRecordError(RejectReason.INVALID, f"{place}: {' '.join(unknown)} is not in the directory")


def _check_place(record: ArrivedRecord, headers: Headers, message: Message, directory: Directory) -> None:
    """Hold topic, region, partition, key and headers against what the value says."""
    owner = directory.get(message.owner)
    if owner is None or message.region is not owner.case_region:
        home = "unknown" if owner is None else owner.case_region
        raise RejectedRecordError(
            RejectReason.MISPLACED, f"region is {message.region}, and cases of {message.owner} belong to {home}"
        )
    topic = feed(message.parsed_number.message_class, message.region)
    if record.origin.topic != topic:
        raise RejectedRecordError(RejectReason.MISPLACED, f"lies on {record.origin.topic}; belongs on {topic}")
    if record.key != message.number.encode():
        raise RejectedRecordError(RejectReason.MISPLACED, "the key is not the notice number in UTF-8")
    partition = partition_of(message.number.encode())
    if record.origin.partition != partition:
        raise RejectedRecordError(
            RejectReason.MISPLACED,
            f"lies in partition {record.origin.partition}; Kafka's murmur2 gives its key {partition}"
            " (librdkafka: set partitioner=murmur2_random)",
        )
    wrong = mismatch(headers, message)
    if wrong is not None:
        raise RejectedRecordError(RejectReason.MISPLACED, f"header {wrong} differs from what the value says")


def is_command_feed(origin: Origin) -> bool:
    """Whether a record lies on a topic of commands."""
    return origin.topic.startswith("commands.")
