from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidFieldError, MisuseError
from broker.model.naming import (
    SHARDS,
    MessageClass,
    Names,
    NoticeNumber,
    Origin,
    Region,
    Shard,
    bureaus_of,
    codes,
    feed,
    murmur2,
    partition_of,
    shard_of,
)
from broker.model.offences import OFFENCES, covers


@given(st.binary(max_size=200))
def test_the_partitioner_is_kafkas(data: bytes) -> None:
    """Murmur2 and the partition of a key are those of an independent implementation."""
    assert murmur2(data) == aiokafka_murmur2(data) & 0xFFFFFFFF
    assert partition_of(data) == (aiokafka_murmur2(data) & 0x7FFFFFFF) % 2


@pytest.mark.parametrize(
    ("data", "hashed"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_murmur2_gives_the_values_of_kafkas_own_tests(data: bytes, hashed: int) -> None:
    """The vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    assert murmur2(data) == hashed & 0xFFFFFFFF


@given(st.sampled_from(["zw", "ipsg", "rb-abidjan"]), st.sampled_from(MessageClass), st.integers(0, 9999))
def test_a_notice_number_is_read_as_it_is_written(owner: str, message_class: MessageClass, serial: int) -> None:
    """Owner (which may hold a hyphen), class, year and serial come back."""
    number = NoticeNumber(owner, message_class, 2026, serial)
    assert NoticeNumber.parse(str(number)) == number
    assert str(NoticeNumber.parse("zw-n-2026-000123")) == "zw-n-2026-000123"


@pytest.mark.parametrize(
    "text", ["", "zw", "zw-n-2026-123", "ZW-n-2026-000123", "zw-x-2026-000123", "zw-n-2026-000123 ", "zw-n-٢٠٢٦-000123"]
)
def test_what_is_no_notice_number_is_refused(text: str) -> None:
    """Anything else is refused with the form that it should have."""
    with pytest.raises(InvalidFieldError, match="zw-n-2026-000123"):
        NoticeNumber.parse(text)


def test_shards_are_numbered_as_the_partitions_of_their_topic() -> None:
    """Twelve shards, each at its own index, and a notice's is that of its region and its number."""
    assert [shard.index for shard in SHARDS] == list(range(12))
    assert [Shard.at(index) for index in range(12)] == list(SHARDS)
    assert str(Shard(Region.ASIA_PACIFIC, 1)) == "asia-pacific-1"
    assert shard_of("zw-n-2026-000123", Region.AFRICA) in SHARDS[:2]


def test_an_origin_is_read_as_it_is_written() -> None:
    """Topic, partition and offset come back; its shard is that of a regional topic only."""
    origin = Origin.parse("notices.asia-pacific/1/42")
    assert origin == ("notices.asia-pacific", 1, 42)
    assert str(origin) == "notices.asia-pacific/1/42"
    assert origin.shard == Shard(Region.ASIA_PACIFIC, 1)
    with pytest.raises(InvalidFieldError, match="regional topic"):
        _ = Origin("inbox.fr", 0, 1).shard
    for text in (
        "",
        "notices.africa",
        "notices.africa/1",
        "notices.africa/1/x",
        "/1/2",
        "a/1/2/3",
        "a/1/٢",
        f"notices.africa/1/{'1' * 5000}",
    ):
        with pytest.raises(InvalidFieldError):
            Origin.parse(text)


def test_a_prefix_is_put_on_and_taken_off() -> None:
    """Names on the cluster carry the prefix, and a prefix that cannot stand in a topic's name is refused."""
    names = Names("t1-")
    assert names.on_cluster(feed(MessageClass.DIFFUSION, Region.AFRICA)) == "t1-diffusions.africa"
    assert names.bare("t1-inbox.fr") == "inbox.fr"
    with pytest.raises(MisuseError):
        Names("not/allowed")


@given(st.sets(st.sampled_from(["ao", "bf", "bi", "ipsg", "rb-abidjan"])))
def test_a_string_of_codes_is_read_as_it_is_written(bureaus: set[str]) -> None:
    """Bureaus in one string come back as the same set."""
    assert bureaus_of(codes(bureaus)) == bureaus


@pytest.mark.parametrize(
    ("wider", "narrower", "covered"),
    [
        ("thb", "thb.labour.mining", True),
        ("thb.labour", "thb.labour.mining", True),
        ("thb.labour.mining", "thb.labour.mining", True),
        ("thb.labour.mining", "thb.labour", False),
        ("thb.lab", "thb.labour", False),
        ("thb", "theft", False),
    ],
)
def test_a_category_covers_what_stands_below_it(wider: str, narrower: str, covered: bool) -> None:  # noqa: FBT001 - a cell
    """Only whole steps between dots count."""
    assert covers(wider, narrower) is covered


def test_every_form_of_trafficking_has_its_code() -> None:
    """The codes of domain section 6, written here once more by hand; each narrower one stands below a wider one."""
    labour = {"agriculture", "fisheries", "construction", "domestic", "mining", "trade", "other"}
    forms = {"thb", "thb.sexual", "thb.labour", "thb.child-tourism", "thb.organ"} | {f"thb.labour.{x}" for x in labour}
    assert {code for code in OFFENCES if covers("thb", code)} == forms
    for code, offence in OFFENCES.items():
        assert offence.label
        assert offence.source
        assert code.rpartition(".")[0] in {"", *OFFENCES}
