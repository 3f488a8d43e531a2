from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from broker.errors import RejectedRecordError
from broker.model.message import Message
from broker.model.rejection import mending_id
from broker.transport.headers import PASSED_ON, mismatch, parse_headers, passed_on, signed_headers
from tests.support.builders import a_red_notice, an_arrest_diffusion
from tests.support.directories import a_change

SIGNATURE = bytes(range(64))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # the W3C recommendation's own example
NOTICE = a_red_notice(owner="zw", message_id="019650f0-0000-7000-8000-000000000001", number="zw-n-2026-000123")

# Written by hand from the CloudEvents Kafka protocol binding 1.0 (binary mode) and the design's section 3.
BY_HAND: list[tuple[str, bytes]] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"019650f0-0000-7000-8000-000000000001"),
    ("ce_type", b"noticewire.notice.published"),
    ("ce_source", b"/bureaus/ipsg"),
    ("ce_time", b"2026-05-01T12:00:00.000Z"),
    ("ce_subject", b"zw-n-2026-000123"),
    ("content-type", b"application/vnd.confluent.avro"),
    ("traceparent", TRACE.encode()),
    ("key-id", b"ipsg.0011223344556677"),
    ("signature", b64encode(SIGNATURE)),
]


def _written(message: Message = NOTICE, **changes: Any) -> list[tuple[str, bytes]]:
    parts = {"key_id": "ipsg.0011223344556677", "signature": SIGNATURE, "traceparent": TRACE, **changes}
    return signed_headers(message, **parts)


def _with(name: str, content: bytes | None) -> list[tuple[str | bytes, bytes | None]]:
    """The headers by hand with one replaced, or left out."""
    kept: list[tuple[str | bytes, bytes | None]] = [pair for pair in BY_HAND if pair[0] != name]
    return kept if content is None else [*kept, (name, content)]


def test_headers_of_a_notice() -> None:
    """The headers of a published notice are those that the binding and the design say."""
    assert _written() == BY_HAND


def test_headers_of_a_diffusion() -> None:
    """A diffusion's type says what happened, and its source who signed."""
    headers = dict(_written(an_arrest_diffusion(owner="gh")))

    assert headers["ce_type"] == b"noticewire.diffusion.sent"
    assert headers["ce_source"] == b"/bureaus/gh"


def test_a_trace_begins_where_there_is_none() -> None:
    """Without a trace to go on with, each record begins its own, in the W3C form."""
    first, second = (dict(_written(traceparent=None))["traceparent"] for _ in range(2))

    assert first != second
    assert parse_headers(_with("traceparent", first)).traceparent == first.decode()


def test_what_is_written_is_read_and_agrees() -> None:
    """Headers come back as written, and none differs from the value."""
    headers = parse_headers(BY_HAND)

    assert headers.key_id == "ipsg.0011223344556677"
    assert headers.signature == SIGNATURE
    assert headers.traceparent == TRACE
    assert headers.origin is None
    assert mismatch(headers, NOTICE) is None


def test_a_directory_change_travels_with_the_same_headers() -> None:
    """What is no message has its id, author and subject in the same places."""
    change = a_change("status_set", "zw", author="ipsg", base=1)
    headers = parse_headers(signed_headers(change, key_id="k", signature=SIGNATURE))

    assert (headers.id, headers.type) == (str(change.change_id), "noticewire.directory.status_set")
    assert (headers.source, headers.subject) == ("/bureaus/ipsg", "zw")
    assert mismatch(headers, change) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ce_id", b"019650f0-0000-7000-8000-000000000002"),
        ("ce_type", b"noticewire.notice.cancelled"),
        ("ce_type", b"noticewire.diffusion.published"),
        ("ce_source", b"/bureaus/zw"),
        ("ce_time", b"2026-05-01T12:00:00.001Z"),
        ("ce_time", b"2026-05-01T12:00:00.000"),
        ("ce_time", b"yesterday"),
        ("ce_time", b"0001-01-01T00:00:00+14:00"),
        ("ce_time", b"9999-12-31T23:59:59-14:00"),
        ("ce_subject", b"zw-n-2026-000124"),
    ],
)
def test_a_header_that_differs_is_named(name: str, content: bytes) -> None:
    """Each CloudEvents attribute is held against the value, and the one that differs is named."""
    assert mismatch(parse_headers(_with(name, content)), NOTICE) == name


@pytest.mark.parametrize("content", [b"2026-05-01T12:00:00Z", b"2026-05-01T14:00:00.000+02:00"])
def test_the_same_moment_may_be_written_otherwise(content: bytes) -> None:
    """RFC 3339 has many ways of writing one moment."""
    assert mismatch(parse_headers(_with("ce_time", content)), NOTICE) is None


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        pytest.param(_with(name, None), f"header {name} is missing", id=f"without {name}")
        for name in ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "content-type")
    ]
    + [
        pytest.param([*BY_HAND, ("ce_id", b"again")], "header ce_id is there twice", id="twice"),
        pytest.param([*BY_HAND, ("signature", b"")], "header signature is there twice", id="signature twice"),
        pytest.param([*BY_HAND, (b"\xff\xfe", b"x")], "a header's name is not UTF-8", id="name not UTF-8"),
        pytest.param([*BY_HAND, ("x", b"\xff")], "a header that is not ours is not UTF-8", id="value not UTF-8"),
        pytest.param(_with("ce_id", b"\xff"), "header ce_id is not UTF-8", id="known value not UTF-8"),
        pytest.param(_with("ce_specversion", b"0.3"), "header ce_specversion is not 1.0", id="old version"),
        pytest.param(_with("content-type", b"application/json"), "header content-type is not", id="content type"),
        pytest.param(_with("traceparent", b"a name"), "header traceparent is no W3C trace", id="trace"),
        pytest.param([*_with("ce_id", None), ("ce_id", None)], "header ce_id is missing", id="null"),
        pytest.param([], "header ce_specversion is missing", id="none at all"),
    ],
)
def test_headers_that_cannot_be_read_are_rejected(headers: list[tuple[str | bytes, bytes | None]], detail: str) -> None:
    """Each way of being unreadable is `undecodable`, and the detail names the header and no content."""
    with pytest.raises(RejectedRecordError, match=detail) as caught:
        parse_headers(headers)

    assert caught.value.reason == "undecodable"


@pytest.mark.parametrize("content", [None, b"", b"not base64!", b"AAA"])
def test_a_missing_or_malformed_signature_is_left_to_the_verifier(content: bytes | None) -> None:
    """It has a reason of its own (`signature`), which comes after what cannot be decoded."""
    assert parse_headers(_with("signature", content)).signature == b""


def test_a_missing_key_id_is_left_to_the_verifier() -> None:
    """Without a key id, no key is found, which is `signature` too."""
    assert parse_headers(_with("key-id", None)).key_id == ""


def test_other_headers_are_let_be_and_not_passed_on() -> None:
    """A stranger's header is no reason to reject, and never reaches an inbox; a forged origin is replaced."""
    headers = [*BY_HAND, ("x-note", b"a name, perhaps"), ("origin", b"notices.europe/0/1")]

    assert parse_headers(headers).id == "019650f0-0000-7000-8000-000000000001"
    assert passed_on(headers, origin="notices.africa/1/42") == (*BY_HAND, ("origin", b"notices.africa/1/42"))


def test_no_header_holds_a_subjects_data() -> None:
    """Nothing that the subject says of a person is in a header."""
    everything = b" ".join(content for _, content in _written())

    for data in (b"EXAMPLE", b"Alex", b"1980"):
        assert data in NOTICE.model_dump_json().encode()
        assert data not in everything


def test_what_is_passed_on_is_what_is_written() -> None:
    """The router copies exactly the headers that issuers write."""
    assert (*(name for name, _ in BY_HAND), "mends") == PASSED_ON


def test_a_mended_message_proves_what_it_mends() -> None:
    """The id that the issuer signs follows from the rejected record's origin; a header that says otherwise differs."""
    origin = "notices.africa/0/3"
    mended = a_red_notice(owner="zw", message_id=str(mending_id(origin, "ipsg")))
    headers = _written(mended, mends=origin)

    assert headers[-1] == ("mends", b"notices.africa/0/3")
    assert mismatch(parse_headers(headers), mended) is None
    assert passed_on(headers, origin="notices.africa/1/42")[-2:] == (
        ("mends", b"notices.africa/0/3"),
        ("origin", b"notices.africa/1/42"),
    )
    assert mismatch(parse_headers(_written(mended, mends="notices.africa/0/4")), mended) == "mends"
    assert mismatch(parse_headers(_written(NOTICE, mends=origin)), NOTICE) == "mends"
    assert mending_id(origin, "zw") != mending_id(origin, "ipsg")


@pytest.mark.parametrize("said", ["EXAMPLE Alex", "EXAMPLE Alex/0/3", "ledger.africa/0/3", "notices.africa/0/03"])
def test_nothing_but_an_origin_travels_as_what_is_mended(said: str) -> None:
    """An issuer cannot pass on anything else in this header, whatever id it signs."""
    message = a_red_notice(message_id=str(mending_id(said, "ipsg")))

    assert mismatch(parse_headers(_written(message, mends=said)), message) == "mends"
