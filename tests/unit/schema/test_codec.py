from __future__ import annotations

import json
from contextlib import suppress
from importlib.resources import files
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.errors import InvalidFieldError, RejectedRecordError
from broker.model.base import Model
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.model.versions import FORMAT_VERSION, needs
from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.schema.codec import READ_BYTES_MAX, SUBJECTS, Codec
from broker.schema.ids import SchemaIds
from tests.support.builders import a_red_notice, a_silver_diffusion, a_silver_notice, an_arrest_diffusion, changed
from tests.support.strategies import a, any_value

CODEC = Codec.load()
RED = CODEC.encode(a_red_notice())

wide = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_any_valid_value_survives_the_wire_unchanged(subject: str) -> None:
    """Whatever a model can hold comes back equal, for each of the nine subjects."""

    @settings(wide, max_examples=60)
    @given(a(SUBJECTS[subject]))
    def survives(value: Model) -> None:
        data = CODEC.encode(value)
        assert CODEC.decode(data, type(value)) == value
        assert CODEC.encode(CODEC.decode(data)) == data

    survives()


LISTED = json.loads((files("schemas") / "avro" / "catalogue.json").read_text("utf-8"))["schemas"]
VERSIONS = [(entry["subject"], entry["version"]) for entry in LISTED]


@pytest.mark.parametrize(("subject", "version"), VERSIONS)
def test_the_framing_is_confluents(subject: str, version: int) -> None:
    """A value begins with 0x00 and its schema's id in four bytes, big-endian, as in the catalogue's file."""
    (schema_id,) = (one["id"] for one in LISTED if (one["subject"], one["version"]) == (subject, version))
    data = CODEC.encode(sample(subject, version), version=version)
    assert data[:5] == b"\x00" + schema_id.to_bytes(4, "big")
    newest = max(one for name, one in VERSIONS if name == subject)
    assert (CODEC.encode(sample(subject, version)) == data) is (version == newest)


@pytest.mark.parametrize(("subject", "version"), VERSIONS)
def test_the_bytes_of_the_samples_never_change(subject: str, version: int) -> None:
    """What a version wrote once it writes for ever: digests and signatures are over these bytes."""
    entry = json.loads(sample_text(subject, version))
    assert CODEC.encode(sample(subject, version), version=version).hex() == entry["encoded"]
    assert CODEC.decode(bytes.fromhex(entry["encoded"])) == sample(subject, version)


@pytest.mark.parametrize(("subject", "version"), VERSIONS)
def test_a_plain_avro_library_reads_the_samples(subject: str, version: int) -> None:
    """Five bytes off, the value is Avro by the schema in the file, with the sample's own values in it."""
    entry = json.loads(sample_text(subject, version))
    schema = json.loads((files("schemas") / "avro" / subject / f"v{version}.avsc").read_text("utf-8"))
    plain: Any = fastavro.schemaless_reader(BytesIO(bytes.fromhex(entry["encoded"])[5:]), schema, None)
    for name, value in entry["value"].items():
        if isinstance(value, int | bool) or (isinstance(value, str) and isinstance(plain[name], str)):
            assert plain[name] == value


def sample_text(subject: str, version: int = 1) -> str:
    return (files("schemas") / "avro" / subject / f"v{version}.sample.json").read_text("utf-8")


def sample(subject: str, version: int = 1) -> Model:
    return SUBJECTS[subject].model_validate_json(json.dumps(json.loads(sample_text(subject, version))["value"]))


VERSIONED = [(subject, version) for subject, version in VERSIONS if (subject, version + 1) in VERSIONS]


@pytest.mark.parametrize(("subject", "version"), VERSIONED)
def test_an_older_version_says_the_whole_or_is_not_written(subject: str, version: int) -> None:
    """Written by an older schema any value comes back equal; or it is refused, naming what has no place there."""

    @settings(wide, max_examples=60)
    @given(a(SUBJECTS[subject]))
    def is_whole(value: Model) -> None:
        try:
            data = CODEC.encode(value, version=version)
        except InvalidFieldError as refused:
            assert f"cannot be said in version {version}" in str(refused)  # noqa: PT017 - not every value is refused
            return
        assert CODEC.version_of(data) == version
        assert CODEC.decode(data) == value

    is_whole()


@settings(wide, max_examples=200)
@given(st.one_of(a(Notice), a(Diffusion)))
@example(a_silver_notice())
@example(a_silver_diffusion())
@example(a_red_notice())
@example(a_red_notice(asked=["assets"]))
def test_what_a_message_needs_is_what_the_schemas_say(message: Notice | Diffusion) -> None:
    """The oldest version that a message needs is the oldest whose schema can say it."""
    can = []
    for version in (1, 2):
        with suppress(InvalidFieldError):
            CODEC.encode(message, version=version)
            can.append(version)
    assert needs(message) == min(can)


def test_the_format_s_version_is_the_newest_of_both() -> None:
    """Notices and diffusions run alike."""
    newest = {subject: max(one for name, one in VERSIONS if name == subject) for subject in ("notice", "diffusion")}
    assert newest == {"notice": FORMAT_VERSION, "diffusion": FORMAT_VERSION}


def test_a_version_that_there_is_not_is_refused() -> None:
    """It is named."""
    with pytest.raises(InvalidFieldError, match="Notice has no version 9"):
        CODEC.encode(a_red_notice(), version=9)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes are too few"),
        (RED[:4], "4 bytes are too few"),
        (b"\x01" + RED[1:], "the magic byte is 0x01"),
        (b"\x00\x00\x00\x00\x07" + RED[5:], "unknown schema id 7"),
        (b"\x00\xff\xff\xff\xff" + RED[5:], "unknown schema id 4294967295"),
        (RED[:5], "ends too early"),
        (RED[:-1], "ends too early"),
        (RED + b"\x00", "1 bytes follow"),
        (RED + bytes(READ_BYTES_MAX), "more than the"),
        (CODEC.encode(an_arrest_diffusion()), "is of Diffusion, where Notice belongs"),
        (RED[:5] + b"\xff" * 200, "not an Avro body"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(data: bytes, said: str) -> None:
    """Framing, id, Avro body, trailing bytes and model are told apart, and no value is quoted."""
    with pytest.raises(RejectedRecordError) as caught:
        CODEC.decode(data, Notice)
    assert caught.value.reason == "undecodable"
    assert said in caught.value.detail
    assert "EXAMPLE" not in caught.value.detail


def test_a_shape_that_the_model_does_not_allow_is_named_by_its_field() -> None:
    """Avro alone would let a digest of three bytes pass; the field is named, its value is not."""
    data = RED.replace(b"zw-n-2026", b"ZW-N-2026").replace(b"\x04zw\x08ipsg", b"\x04ZW\x08IPSG")
    with pytest.raises(RejectedRecordError, match=r"owner: string should match pattern .* issuer: ") as caught:
        CODEC.decode(data)
    assert "IPSG" not in caught.value.detail


@settings(wide, max_examples=400)
@given(st.sampled_from(list(Catalogue.load().subjects())), st.binary(max_size=600))
@example("notice", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 20)
@example("receipts", b"\x04zw\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_random_bytes_never_raise_anything_else(subject: str, body: bytes) -> None:
    """A body of random bytes is a value or `undecodable`, and nothing else, however long it says its parts are."""
    decode_or_reject(b"\x00" + Catalogue.load().newest(subject).id.to_bytes(4, "big") + body)


@settings(wide, max_examples=300)
@given(any_value(), st.data())
def test_corrupted_records_never_raise_anything_else(value: Model, data: st.DataObject) -> None:
    """A true record with bytes changed, cut out or put in is a value or `undecodable`, and nothing else."""
    whole = bytearray(CODEC.encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        length = data.draw(st.integers(0, 8))
        whole[at : at + length] = data.draw(st.binary(max_size=12))
    decode_or_reject(bytes(whole))


def decode_or_reject(data: bytes) -> None:
    with suppress(RejectedRecordError):
        CODEC.decode(data)


def test_a_later_writer_is_read_by_this_program() -> None:
    """A record of a later version, with a symbol and a field that came with it, is read: `unknown`, and without it."""
    later = json.loads(Catalogue.load().newest("notice").text)
    later["fields"].insert(0, {"name": "stolen_art", "type": {"type": "array", "items": "string"}, "default": []})
    (type_field,) = (field for field in later["fields"] if field["name"] == "type")
    type_field["type"]["symbols"].append("gold")
    body = BytesIO()
    fastavro.schemaless_writer(body, later, {**_plain_red(), "type": "gold", "stolen_art": ["a vase"]})

    read = _codec_that_also_reads(later).decode(OTHER_FRAME + body.getvalue(), Notice)

    assert read.type == "unknown"
    assert read.subject == a_red_notice().subject


def test_an_earlier_writer_is_read_by_this_program() -> None:
    """A record written before a field came is read with the field's default."""
    earlier = json.loads(Catalogue.load().newest("notice").text)
    earlier["fields"] = [field for field in earlier["fields"] if field["name"] not in {"judicial", "offences"}]
    body = BytesIO()
    fastavro.schemaless_writer(body, earlier, _plain_red())

    read = _codec_that_also_reads(earlier).decode(OTHER_FRAME + body.getvalue(), Notice)

    assert (read.judicial, read.offences) == (None, ())
    assert read.subject == a_red_notice().subject


OTHER_FRAME = b"\x00" + (2001).to_bytes(4, "big")


def _plain_red() -> dict[str, Any]:
    schema = json.loads(Catalogue.load().newest("notice").text)
    plain: Any = fastavro.schemaless_reader(BytesIO(RED[5:]), schema, None)
    return dict(plain)


def _codec_that_also_reads(other: dict[str, Any]) -> Codec:
    """A codec in whose catalogue another schema has id 2001, while today's is what it reads with."""
    catalogue = Catalogue.load()
    today = catalogue.newest("notice")
    others = [one for subject in catalogue.subjects() if subject != "notice" for one in catalogue.versions(subject)]
    both = [SchemaVersion("notice", 1, 2001, json.dumps(other)), SchemaVersion("notice", 2, today.id, today.text)]
    return Codec(Catalogue([*others, *both]))


def test_a_message_larger_than_a_feed_takes_is_refused() -> None:
    """Oversized text is refused at the door, by the size that it would have on the log."""
    notice = a_red_notice()
    fat = {"original": "é" * 20_000}
    with pytest.raises(InvalidFieldError, match="at most 990000 bytes"):
        CODEC.encode(changed(notice, "judicial.charges", [fat] * 30))


@pytest.mark.parametrize("changes", [{"asked_by": "a\ud800"}, {"number": "\udfff"}])
def test_what_avro_cannot_carry_is_refused(changes: dict[str, str]) -> None:
    """Half a surrogate pair, which JSON lets through, is refused and nothing is written."""
    with pytest.raises(InvalidFieldError, match="Avro cannot carry"):
        CODEC.encode(sample("command").model_copy(update=changes))


def test_a_model_without_a_subject_is_a_programming_error() -> None:
    """Only what has a schema can be written."""
    with pytest.raises(TypeError, match="Subject has no schema"):
        CODEC.encode(a_red_notice().subject)


def test_diffusions_and_notices_are_told_apart_by_their_ids() -> None:
    """A feed's reader asks for either and gets the right class."""
    for message in (a_red_notice(), an_arrest_diffusion()):
        assert CODEC.decode(CODEC.encode(message), Notice, Diffusion) == message


def test_a_record_is_made_again_under_the_ids_of_its_time() -> None:
    """Whichever registry an installation had, what lay beside a record is known by its bytes."""
    catalogue = Catalogue.load()
    none, first = Codec(catalogue), Codec(catalogue, registry(100, before={}))
    second = Codec(catalogue, registry(200, before={id_ + 100: id_ for id_ in IDS}))
    entry, end = sample("ledger-entry", 2), sample("notice-of-end")
    for then in (none, first, second):
        for now in (second, first) if then is not second else (second,):
            assert now.encode_as_beside(end, then.encode(entry)) == then.encode(end)
    assert len({then.encode(end) for then in (none, first, second)}) == 3


IDS = [entry["id"] for entry in LISTED]


def registry(further: int, *, before: dict[int, int]) -> SchemaIds:
    """The ids of a registry that counts on from ours, in an installation that had others before."""
    written = {id_: id_ + further for id_ in IDS}
    return SchemaIds(written=written, read={external: id_ for id_, external in written.items()} | before)
