"""Apache's own Avro library and fastavro read what we write, in every version, and write the same bytes."""

from __future__ import annotations

import json
import re
from functools import cache
from io import BytesIO
from itertools import product
from typing import Any
from uuid import UUID

import avro.io
import avro.schema
import fastavro
import pytest
from avro.errors import SchemaResolutionException
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from broker.model.base import Model
from broker.schema.catalogue import SHIPPED, Catalogue, SchemaVersion
from broker.schema.codec import SUBJECTS, Codec
from tests.support.evolution import PARCELS, as_read, named_types
from tests.support.strategies import a

CATALOGUE, CODEC = Catalogue.load(), Codec.load()
VERSIONS = [version for subject in CATALOGUE.subjects() for version in CATALOGUE.versions(subject)]
OLDER = [version for version in VERSIONS if version != CATALOGUE.newest(version.subject)]
MADE_UP = [SchemaVersion("parcel", number, number, json.dumps(one)) for number, one in enumerate(PARCELS, start=1)]
PAIRS = [pair for subject in CATALOGUE.subjects() for pair in product(CATALOGUE.versions(subject), repeat=2)]
PAIRS = [(writer, reader) for writer, reader in [*PAIRS, *product(MADE_UP, repeat=2)] if writer != reader]

few = settings(
    suppress_health_check=list(HealthCheck),
    deadline=None,
    max_examples=8,
    phases=[Phase.generate],  # shrinking a whole notice takes minutes
)


# ------------------------------------------------------------------------------------------------------- two libraries


@cache
def apaches(text: str) -> Any:
    return avro.schema.parse(text)


@cache
def fastavros(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text), named_schemas={})


def apache_reads(data: bytes, writer: SchemaVersion, reader: SchemaVersion) -> Any:
    body = BytesIO(data)
    value = avro.io.DatumReader(apaches(writer.text), apaches(reader.text)).read(avro.io.BinaryDecoder(body))
    assert body.tell() == len(data)
    return value


def apache_writes(value: Any, version: SchemaVersion) -> bytes:
    out = BytesIO()
    avro.io.DatumWriter(apaches(version.text)).write(value, avro.io.BinaryEncoder(out))
    return out.getvalue()


def fastavro_reads(data: bytes, writer: SchemaVersion, reader: SchemaVersion) -> Any:
    body = BytesIO(data)
    value = fastavro.schemaless_reader(body, fastavros(writer.text), fastavros(reader.text))
    assert body.tell() == len(data)
    return value


def fastavro_writes(value: Any, version: SchemaVersion) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavros(version.text), value)
    return out.getvalue()


def alike(value: Any) -> Any:
    """A value with each UUID as text: Apache's library leaves them so."""
    if isinstance(value, dict):
        return {key: alike(one) for key, one in value.items()}
    if isinstance(value, list):
        return [alike(one) for one in value]
    return str(value) if isinstance(value, UUID) else value


# ---------------------------------------------------------------------------------------------------- the same version


def in_both(framed: bytes, version: SchemaVersion) -> None:
    """Both libraries read framed bytes to the end, to one value, and write that value to the very same bytes."""
    assert framed[:5] == b"\x00" + version.id.to_bytes(4, "big")
    data = framed[5:]
    by_apache, by_fastavro = apache_reads(data, version, version), fastavro_reads(data, version, version)
    assert alike(by_apache) == alike(by_fastavro)
    assert apache_writes(by_apache, version) == data
    assert fastavro_writes(by_fastavro, version) == data


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_samples_have_one_encoding(version: SchemaVersion) -> None:
    """Each version's sample is read by both libraries, and written by both to the bytes that are kept in the file."""
    sample = SHIPPED.joinpath(version.subject, f"v{version.version}.sample.json").read_text("utf-8")
    framed = bytes.fromhex(json.loads(sample)["encoded"])
    in_both(framed, version)
    assert isinstance(CODEC.decode(framed), SUBJECTS[version.subject])


@pytest.mark.parametrize("subject", SUBJECTS)
def test_any_message_has_one_encoding(subject: str) -> None:
    """Whatever we write both libraries read, and what they write of it has our bytes, and is read by us as it was."""
    newest = CATALOGUE.newest(subject)

    @few
    @given(a(SUBJECTS[subject]))
    def holds(value: Model) -> None:
        framed = CODEC.encode(value)
        in_both(framed, newest)
        assert CODEC.decode(framed) == value

    holds()


# ------------------------------------------------------------------------------------------- each version by each other


def messages(newest: SchemaVersion) -> st.SearchStrategy[Any]:
    """Any message of a subject as plain data of its newest version."""
    if newest in MADE_UP:
        return st.fixed_dictionaries(
            {
                "number": st.text(max_size=5),
                "size": st.none() | st.fixed_dictionaries({"width": st.integers(-(2**63), 2**63 - 1)}),
                "weight": st.integers(-(2**63), 2**63 - 1),
                "colour": st.sampled_from(["unknown", "red", "blue", "silver", "gold"]),
                "stops": st.lists(st.fixed_dictionaries({"place": st.text(max_size=5)}), max_size=2),
            }
        )
    return a(SUBJECTS[newest.subject]).map(lambda value: fastavro_reads(CODEC.encode(value)[5:], newest, newest))


@pytest.mark.parametrize(("writer", "reader"), PAIRS, ids=str)
def test_each_version_is_read_by_each_other(writer: SchemaVersion, reader: SchemaVersion) -> None:
    """What one version wrote a reader with another gets whole: by both libraries, and as the specification has it.

    Except that Apache's Python reader (1.12.2, unlike its checker) refuses a symbol that is not in the reader's enum,
    where the specification reads the enum's default. An older version's record is a newest message less what that
    version does not have.
    """
    newest = MADE_UP[-1] if writer in MADE_UP else CATALOGUE.newest(writer.subject)
    schemas = {version: json.loads(version.text) for version in (newest, writer, reader)}

    @few
    @given(messages(newest))
    def is_read(message: Any) -> None:
        value = as_read(message, schemas[newest], schemas[writer])
        data = fastavro_writes(value, writer)
        assert apache_writes(alike(value), writer) == data

        expected = as_read(value, schemas[writer], schemas[reader])

        assert alike(fastavro_reads(data, writer, reader)) == alike(expected)
        try:
            assert alike(apache_reads(data, writer, reader)) == alike(expected)
        except SchemaResolutionException as refused:
            symbol = re.match(r"Symbol (\w+) not present in Reader's Schema", str(refused))
            assert symbol is not None
            assert f'"{symbol[1]}"' in writer.text
            assert f'"{symbol[1]}"' not in reader.text

    is_read()


@pytest.mark.parametrize(("writer", "reader"), PAIRS, ids=str)
def test_every_symbol_has_a_defined_result(writer: SchemaVersion, reader: SchemaVersion) -> None:
    """Each symbol of each enum is read as itself, or as `unknown` by a version in which it did not exist."""
    writers, readers = (named_types(json.loads(version.text)) for version in (writer, reader))
    enums = [name for name in writers if name in readers and readers[name]["type"] == "enum"]
    assert enums
    for name in enums:
        for symbol in writers[name]["symbols"]:
            out = BytesIO()
            fastavro.schemaless_writer(out, writers[name], symbol)
            out.seek(0)
            read: Any = fastavro.schemaless_reader(out, writers[name], readers[name])
            assert read == (symbol if symbol in readers[name]["symbols"] else "unknown")


@pytest.mark.parametrize("version", OLDER, ids=str)
def test_this_program_reads_every_older_version(version: SchemaVersion) -> None:
    """Whatever an older version wrote comes out of our codec as the newest version has it."""
    newest = CATALOGUE.newest(version.subject)
    model = SUBJECTS[version.subject]
    schemas = {one: json.loads(one.text) for one in (newest, version)}

    @few
    @given(messages(newest))
    def is_read(message: Any) -> None:
        value = as_read(message, schemas[newest], schemas[version])
        framed = b"\x00" + version.id.to_bytes(4, "big") + fastavro_writes(value, version)

        assert CODEC.decode(framed, model) == model.model_validate(as_read(value, schemas[version], schemas[newest]))

    is_read()
