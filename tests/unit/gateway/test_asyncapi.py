"""The AsyncAPI document: it is what the code says, AsyncAPI's own schema takes it, and records are as it says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker

from broker.cli.main import command_line
from broker.gateway.app import build
from broker.gateway.asyncapi import document
from broker.schema.catalogue import Catalogue
from broker.schema.ids import SchemaIds
from broker.settings import KafkaSettings
from broker.topics.plan import plan
from broker.transport import headers

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "docs" / "asyncapi.yaml"
WITHOUT_HEADERS = {"ledger-entry"}


@cache
def made() -> dict[str, Any]:
    return document(Catalogue.load())


@cache
def asyncapi_schema() -> Draft7Validator:
    """AsyncAPI's own; its licence is noted in the file."""
    return Draft7Validator(json.loads((ROOT / "tests" / "data" / "asyncapi-3.0.0.json").read_text("utf-8")))


def messages() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from made()["components"]["messages"].items()


def test_the_kept_document_is_what_the_code_says(tmp_path: Path) -> None:
    """Otherwise: `noticewire schema asyncapi --output docs/asyncapi.yaml`."""
    command_line(["schema"])(["schema", "asyncapi", "--output", str(tmp_path / "made.yaml")], standalone_mode=False)
    text = (tmp_path / "made.yaml").read_text("utf-8")
    assert KEPT.read_text("utf-8") == text, "rewrite it: noticewire schema asyncapi --output docs/asyncapi.yaml"
    assert yaml.load(text, yaml.CSafeLoader) == made()


def test_asyncapi_s_own_schema_takes_the_document() -> None:
    """Version 3.0.0, with its definitions of Kafka's bindings and of Avro."""
    assert list(asyncapi_schema().iter_errors(made())) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("channels", "notices", "bindings", "kafka", "partitions"), 0),
        (("operations", "deliver", "action"), "publish"),
        (("components", "schemas", "notice.v2", "schema", "fields", 0, "type"), {"type": 7}),
        (("components", "messages", "notice.v2", "examples", 0), {"name": "neither headers nor payload"}),
    ],
)
def test_asyncapi_s_own_schema_can_say_no(path: tuple[str | int, ...], value: Any) -> None:
    """It looks into bindings, operations, Avro and examples."""
    broken = copy.deepcopy(made())
    at: Any = broken
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert not asyncapi_schema().is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    """The schema does not follow them."""

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    found = set(references(made()))
    assert len(found) > 30
    for reference in found:
        at: Any = made()
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def test_every_topic_of_the_plan_has_a_channel() -> None:
    """By region or bureau where it has one; `shards` is empty for ever, and no interface."""
    addresses = {channel["address"] for channel in made()["channels"].values()}
    planned = {spec.name for spec in plan(["zw"], kafka=KafkaSettings())} - {"shards"}
    regions = made()["channels"]["notices"]["parameters"]["region"]["enum"]
    assert planned == {address.format(region=region, bureau="zw") for address in addresses for region in regions}


def test_every_version_of_every_subject_is_a_message() -> None:
    """With its id, its schema as it stands in the file, and a channel to lie in."""
    catalogue = json.loads((ROOT / "schemas" / "avro" / "catalogue.json").read_text("utf-8"))["schemas"]
    assert {(f"{one['subject']}.v{one['version']}", one["id"]) for one in catalogue} == {
        (name, message["x-schema-id"]) for name, message in messages()
    }
    lying = {name for channel in made()["channels"].values() for name in channel["messages"]}
    for one in catalogue:
        name = f"{one['subject']}.v{one['version']}"
        schema = made()["components"]["schemas"][name]
        assert schema["schemaFormat"] == "application/vnd.apache.avro;version=1.9.0"
        assert schema["schema"] == json.loads((ROOT / "schemas" / "avro" / one["file"]).read_text("utf-8"))
        fastavro.parse_schema(schema["schema"])
        assert name in lying


def test_the_examples_headers_are_what_the_document_says_of_headers() -> None:
    """What `signed_headers` writes passes the JSON schema of its subject's headers; a header that is missing fails."""
    checked = 0
    for name, message in messages():
        subject = name.partition(".")[0]
        assert ("headers" in message) == (subject not in WITHOUT_HEADERS)
        assert message["examples"]
        if "headers" not in message:
            continue
        schema = made()["components"]["schemas"][f"{subject}.headers"]
        validator = Draft7Validator(schema, format_checker=FormatChecker())
        for example in message["examples"]:
            assert list(validator.iter_errors(example["headers"])) == [], name
            assert set(example["headers"]) <= set(schema["properties"])
            assert not validator.is_valid({**example["headers"], "ce_type": "noticewire.something"})
            checked += 1
    assert checked >= 25


def test_every_header_that_is_read_is_described() -> None:
    """A header that the code learns to read must be told of."""
    described = {
        name
        for key, schema in made()["components"]["schemas"].items()
        if key.endswith(".headers")
        for name in schema["properties"]
    }
    assert described == headers._KNOWN


async def test_the_gateway_serves_the_document_and_a_page_that_needs_nothing_else() -> None:
    """YAML, JSON, and HTML that loads nothing, for an installation with a prefix."""
    transport = httpx.ASGITransport(build(catalogue=Catalogue.load(), prefix="trial-"))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        in_yaml, in_json = await client.get("/asyncapi.yaml"), await client.get("/asyncapi.json")
        page = await client.get("/docs/asyncapi")
    assert in_yaml.headers["content-type"] == "application/vnd.aai.asyncapi+yaml;version=3.0.0"
    assert yaml.load(in_yaml.text, yaml.CSafeLoader) == in_json.json()
    assert in_json.json()["channels"]["inbox"]["address"] == "trial-inbox.{bureau}"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in page.text
    assert 'src="' not in page.text
    links = {part.partition('"')[0] for part in page.text.split('href="')[1:]}
    assert {link for link in links if not link.startswith("#")} == {"../asyncapi.yaml", "../asyncapi.json"}
    ids = {part.partition('"')[0] for part in page.text.split('id="')[1:]}
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    for name, _ in messages():
        assert f'id="message-{name}"' in page.text


async def test_the_served_document_has_the_ids_that_are_on_the_wire() -> None:
    """An external registry's, where there is one."""
    ids = SchemaIds(written={1001: 7}, read={7: 1001})
    transport = httpx.ASGITransport(build(catalogue=Catalogue.load(), ids=ids))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        served = (await client.get("/asyncapi.json")).json()["components"]["messages"]
    assert (served["notice.v1"]["x-schema-id"], served["notice.v2"]["x-schema-id"]) == (7, 1011)
