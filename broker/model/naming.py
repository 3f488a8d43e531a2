"""Names that everything else is found by: regions, shards, notice numbers, topics, origins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Self

from typing_extensions import override

from broker.errors import InvalidFieldError, MisuseError

SHARDS_PER_REGION = 2
"""Partitions of every regional topic, fixed when made: a notice's shard must never change."""


class Region(StrEnum):
    """The six regions; every bureau has one of them as its home, for good."""

    AFRICA = "africa"
    AMERICAS = "americas"
    ASIA_PACIFIC = "asia-pacific"
    EUROPE = "europe"
    MIDDLE_EAST_NORTH_AFRICA = "middle-east-north-africa"
    GLOBAL = "global"
    """Where entities' own notices live; no member country is at home here."""


class MessageClass(StrEnum):
    """Which of the two a notice number is about."""

    NOTICE = "n"
    DIFFUSION = "d"


_NUMBER = re.compile(r"(?P<owner>[a-z][a-z0-9-]{1,31})-(?P<message_class>[nd])-(?P<year>[0-9]{4})-(?P<serial>[0-9]{6})")


class NoticeNumber(NamedTuple):
    """The parts of a notice number, `<owner>-<n|d>-<year>-<serial>`, as in `zw-n-2026-000123`."""

    owner: str
    message_class: MessageClass
    year: int
    serial: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a notice number.

        Raises:
            InvalidFieldError: it is none.
        """
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise InvalidFieldError(
                "number", "is not a notice number", "<owner>-<n or d>-<year>-<six digits>, as in zw-n-2026-000123"
            )
        return cls(match["owner"], MessageClass(match["message_class"]), int(match["year"]), int(match["serial"]))

    @override
    def __str__(self) -> str:
        """Write it as on the wire."""
        return f"{self.owner}-{self.message_class}-{self.year:04d}-{self.serial:06d}"


@dataclass(frozen=True, order=True, slots=True)
class Shard:
    """One partition number of one region, and all that lives in it."""

    region: Region
    partition: int

    @property
    def index(self) -> int:
        """Its partition on the topic `shards`, by which group members share the work."""
        return list(Region).index(self.region) * SHARDS_PER_REGION + self.partition

    @classmethod
    def at(cls, index: int) -> Self:
        """Return the shard that a partition of the topic `shards` stands for."""
        region, partition = divmod(index, SHARDS_PER_REGION)
        return cls(list(Region)[region], partition)

    @override
    def __str__(self) -> str:
        """Write it as in transactional ids and logs: `africa-0`."""
        return f"{self.region}-{self.partition}"


SHARDS = tuple(Shard(region, partition) for region in Region for partition in range(SHARDS_PER_REGION))
"""Every shard, in the order of the partitions of the topic `shards`."""

FEED_KINDS = ("notices", "diffusions", "commands")
"""What a router reads of a region, and enters in its ledger: two feeds, and what services ask of it."""

REJECTED = "rejected"
DIRECTORY = "directory"
ALERTS = "alerts"
CHECKPOINTS = "checkpoints"
SHARDS_TOPIC = "shards"


def feed(message_class: MessageClass, region: Region) -> str:
    """Return the feed of a notice number's class and region: `notices.africa`."""
    return f"{'notices' if message_class is MessageClass.NOTICE else 'diffusions'}.{region}"


def feeds(region: Region) -> tuple[str, ...]:
    """Return every topic of a region whose offsets its ledger accounts for."""
    return tuple(f"{kind}.{region}" for kind in FEED_KINDS)


def commands(region: Region) -> str:
    """Return the topic of what services ask of a region's router."""
    return f"commands.{region}"


def ledger(region: Region) -> str:
    """Return the topic that accounts for a region's feeds."""
    return f"ledger.{region}"


def acks(region: Region) -> str:
    """Return the topic of a region's receipts."""
    return f"acks.{region}"


def inbox(bureau: str) -> str:
    """Return a bureau's own topic."""
    return f"inbox.{bureau}"


_PLACE_CHARS_MAX = 30
"""Partition and offset, with the slash, as Kafka counts (31 and 63 bits); Python reads no number of 5,000 digits."""


class Origin(NamedTuple):
    """Where a record was first written; never carries an installation's prefix."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `notices.africa/1/42`.

        Raises:
            InvalidFieldError: it is none.
        """
        topic, _, rest = text.partition("/")
        partition, _, offset = rest.partition("/")
        is_whole = topic and text.isascii() and partition.isdecimal() and offset.isdecimal()
        if not is_whole or len(rest) > _PLACE_CHARS_MAX:
            raise InvalidFieldError("origin", "is not an origin", "<topic>/<partition>/<offset>")
        return cls(topic, int(partition), int(offset))

    @override
    def __str__(self) -> str:
        """Write it as on the wire."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def shard(self) -> Shard:
        """The shard that this record belongs to.

        Raises:
            InvalidFieldError: the topic is not a regional one.
        """
        try:
            return Shard(Region(self.topic.partition(".")[2]), self.partition)
        except ValueError:
            raise InvalidFieldError(
                "origin", "is not on a regional topic", "<topic>.<region>/<partition>/..."
            ) from None


def shard_of(number: str, region: Region) -> Shard:
    """Return where a notice lives: its region, and the partition that Kafka's own partitioner gives its number."""
    return Shard(region, partition_of(number.encode()))


def partition_of(key: bytes, partitions: int = SHARDS_PER_REGION) -> int:
    """Return the partition that Kafka's default partitioner (murmur2) gives a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Return Kafka's murmur2 of some bytes (org.apache.kafka.common.utils.Utils), as an unsigned 32-bit number.

    Written out here because the model imports no Kafka client; a test holds it against aiokafka's.
    """
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


_PREFIX = re.compile(r"[a-z0-9-]{0,32}")


@dataclass(frozen=True, slots=True)
class Names:
    """Puts an installation's prefix before names on the cluster, and takes it off again.

    Everything inside works with bare names; only `broker.transport` and `broker.topics` meet the cluster's.
    """

    prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse a prefix that could not stand in a topic's name."""
        if not _PREFIX.fullmatch(self.prefix):
            raise MisuseError(f"kafka.prefix {self.prefix!r} may hold up to 32 of a-z, 0-9 and '-'")

    def on_cluster(self, name: str) -> str:
        """Return a topic, group, transactional or instance id as the cluster knows it."""
        return self.prefix + name

    def bare(self, name: str) -> str:
        """Return a name of the cluster without the prefix."""
        return name.removeprefix(self.prefix)


def codes(bureaus: frozenset[str] | set[str]) -> str:
    """Write bureaus as one string of codes: an Avro array takes several times as long to read (`bench/codec.py`)."""
    return " ".join(sorted(bureaus))


@lru_cache(maxsize=256)  # the same few audiences come again and again, and each is read by all who handle an entry
def bureaus_of(text: str) -> frozenset[str]:
    """Read a string of codes."""
    return frozenset(text.split())
