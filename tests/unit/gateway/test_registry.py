"""The schema registry's protocol: each resource, each error, as Confluent's reference has them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from broker.gateway.app import build
from broker.schema.catalogue import Catalogue, SchemaVersion

V1 = "application/vnd.schemaregistry.v1+json"
AVRO = Path(__file__).parents[3] / "schemas" / "avro"
NOTICE = [(AVRO / "notice" / f"v{number}.avsc").read_text("utf-8") for number in (1, 2)]
OTHER = json.dumps({"type": "record", "name": "noticewire.Notice", "fields": [{"name": "weight", "type": "long"}]})
PREFIX = "trial-"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The gateway; it keeps nothing between requests."""
    return build(catalogue=Catalogue.load(), prefix=PREFIX)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever asks it."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


def asked(text: str, **more: Any) -> dict[str, Any]:
    """What a client sends of a schema."""
    return {"json": {"schema": text, "schemaType": "AVRO", "references": [], **more}, "headers": {"content-type": V1}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/schemas/types", ["AVRO"]),
        ("/schemas/ids/1001", {"schema": NOTICE[0]}),
        ("/schemas/ids/1011?subject=inbox.zw-value&format=resolved&fetchMaxId=false", {"schema": NOTICE[1]}),
        ("/schemas/ids/1011/schema", json.loads(NOTICE[1])),
        ("/subjects/notice/versions", [1, 2]),
        ("/subjects/notice/versions/1/schema", json.loads(NOTICE[0])),
        ("/subjects/notice/versions/1/referencedby", []),
        ("/subjects?subjectPrefix=trial-dir", ["trial-directory-value"]),
        ("/config", {"compatibilityLevel": "FULL_TRANSITIVE"}),
        ("/config/notice", {"compatibilityLevel": "FULL_TRANSITIVE"}),
        ("/config/nobody?defaultToGlobal=true", {"compatibilityLevel": "FULL_TRANSITIVE"}),
        ("/mode", {"mode": "READONLY"}),
        ("/mode/trial-rejected-value", {"mode": "READONLY"}),
    ],
)
async def test_reads(client: httpx.AsyncClient, path: str, expected: Any) -> None:
    """What there is, is answered in the protocol's own media type."""
    answer = await client.get(path)

    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, V1, expected)


@pytest.mark.parametrize(
    ("name", "version", "number", "schema_id"),
    [
        ("notice", "1", 1, 1001),
        ("notice", "latest", 2, 1011),
        ("notice", "-1", 2, 1011),
        ("trial-notices.asia-pacific-value", "latest", 2, 1011),
        ("trial-diffusions.global-value", "1", 1, 1002),
        ("trial-acks.africa-value", "1", 1, 1003),
        ("trial-ledger.europe-value", "1", 1, 1004),
        ("trial-commands.americas-value", "1", 1, 1009),
        ("trial-rejected-value", "1", 1, 1005),
        ("trial-directory-value", "1", 1, 1008),
    ],
)
async def test_topics_are_subjects(
    client: httpx.AsyncClient, name: str, version: str, number: int, schema_id: int
) -> None:
    """A topic that holds one subject has it under `<topic>-value`, where serializers look, with the same ids."""
    answer = (await client.get(f"/subjects/{name}/versions/{version}")).json()

    assert (answer["subject"], answer["version"], answer["id"]) == (name, number, schema_id)
    assert name in (await client.get(f"/schemas/ids/{schema_id}/subjects")).json()
    assert {"subject": name, "version": number} in (await client.get(f"/schemas/ids/{schema_id}/versions")).json()
    assert name in (await client.get("/subjects")).json()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/schemas/ids/7", 40403),
        ("/schemas/ids/x/schema", 40403),
        ("/schemas/ids/99999999999999999999/versions", 40403),
        ("/schemas/ids/-1001/subjects", 40403),
        ("/subjects/nobody/versions", 40401),
        ("/subjects/notices.africa-value/versions/latest", 40401),
        ("/subjects/trial-inbox.zw-value/versions/latest", 40401),
        ("/subjects/notice/versions/99", 40402),
        ("/subjects/notice/versions/99/schema", 40402),
        ("/subjects/notice/versions/0", 42202),
        ("/subjects/notice/versions/newest", 42202),
        ("/subjects/notice/versions/2147483648", 42202),
        ("/config/nobody", 40408),
        ("/mode/nobody", 40409),
        ("/associations/resources/-/trial-notices.africa", 404),
        ("/nowhere", 404),
    ],
)
async def test_says_what_is_not_there(client: httpx.AsyncClient, path: str, code: int) -> None:
    """What there is not has the protocol's error code, and its status is the code's first three digits."""
    answer = await client.get(path)

    assert (answer.status_code, answer.json()["error_code"]) == (int(str(code)[:3]), code)
    assert answer.json()["message"]


@pytest.mark.parametrize("name", ["notice", "trial-notices.africa-value"])
async def test_finds_a_schema_however_it_is_written(client: httpx.AsyncClient, name: str) -> None:
    """A schema is found by its parsing canonical form: other spacing, order, words and defaults change nothing."""
    whole = json.loads(NOTICE[0])
    bare = {"fields": whole["fields"], "name": "noticewire.Notice", "type": "record"}
    for at, text in enumerate((NOTICE[1], NOTICE[0], json.dumps(whole), json.dumps(bare, sort_keys=True))):
        answer = await client.post(f"/subjects/{name}?normalize=True&deleted=False", **asked(text))

        assert answer.status_code == 200
        found = answer.json()
        assert (found["subject"], found["version"]) == (name, 1 if at else 2)
        assert found["schema"] == NOTICE[0 if at else 1]
        registered = await client.post(f"/subjects/{name}/versions?normalize=False", **asked(text))
        assert (registered.status_code, registered.json()) == (200, {"id": found["id"]})


async def test_the_same_text_comes_before_the_same_form() -> None:
    """Of two versions with one canonical form, that of the text is found; of another text, the newest."""
    texts = [json.dumps({"type": "record", "name": "One", "fields": [], "doc": doc}) for doc in ("first", "second")]
    versions = [SchemaVersion("one", number, 10 + number, text) for number, text in enumerate(texts, 1)]
    transport = httpx.ASGITransport(build(catalogue=Catalogue(versions)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        for text, expected in ((texts[0], 11), (texts[1], 12), (texts[1].replace("second", "third"), 12)):
            assert (await client.post("/subjects/one", **asked(text))).json()["id"] == expected


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/subjects/notice", asked(OTHER), 40403),
        ("/subjects/nobody", asked(OTHER), 40401),
        ("/subjects/notice", asked("{"), 42201),
        ("/subjects/notice", asked('{"type": "record"}'), 42201),
        ("/subjects/notice", asked("[" * 100_000 + "]" * 100_000), 42201),
        ("/subjects/notice", asked('{"type": "array", "items": ' * 9_000 + '"int"' + "}" * 9_000), 42201),
        ("/subjects/notice", asked(OTHER, schemaType="PROTOBUF"), 42201),
        ("/subjects/notice/versions", asked("17"), 42201),
        ("/compatibility/subjects/notice/versions/latest", asked("17"), 42201),
        ("/compatibility/subjects/notice/versions/9", asked(OTHER), 40402),
        ("/compatibility/subjects/notice/versions/x", asked(OTHER), 42202),
        ("/compatibility/subjects/nobody/versions/1", asked(OTHER), 40401),
        ("/subjects/notice", {"content": "{", "headers": {"content-type": V1}}, 422),
        ("/subjects/notice", {"json": {"schem": ""}}, 422),
        ("/subjects/notice", {"json": {"schema": 7}}, 422),
    ],
)
async def test_says_what_is_wrong_with_a_question(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], code: int
) -> None:
    """A schema that is none, or not there, and a body that is no question have the protocol's error codes."""
    answer = await client.post(path, **body)

    assert (answer.status_code, answer.json()["error_code"]) == (int(str(code)[:3]), code)
    assert answer.headers["content-type"] == V1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/subjects/notice/versions"),
        ("POST", "/subjects/brand-new/versions"),
        ("DELETE", "/subjects/notice"),
        ("DELETE", "/subjects/notice/versions/1?permanent=true"),
        ("PUT", "/config"),
        ("DELETE", "/config"),
        ("PUT", "/config/notice"),
        ("DELETE", "/config/notice"),
        ("PUT", "/mode"),
        ("PUT", "/mode/notice"),
        ("DELETE", "/mode/notice"),
    ],
)
async def test_changes_nothing(client: httpx.AsyncClient, method: str, path: str) -> None:
    """Whatever would change something is not permitted (42205), and has not changed anything."""
    before = [
        (await client.get(each)).json() for each in ("/subjects", "/config", "/mode", "/subjects/notice/versions")
    ]
    answer = await client.request(method, path, **asked(OTHER))

    assert (answer.status_code, answer.json()["error_code"]) == (422, 42205)
    assert "read-only" in answer.json()["message"]
    after = [(await client.get(each)).json() for each in ("/subjects", "/config", "/mode", "/subjects/notice/versions")]
    assert after == before


async def test_compatibility(client: httpx.AsyncClient) -> None:
    """A version is compatible with each of its subject, another schema is not, and why is said where it is asked."""
    less = json.loads(NOTICE[1])
    less["fields"] = [one for one in less["fields"] if one["name"] != "owner"]  # reads the others, which cannot read it
    for version in ("/1", "/latest", ""):
        path = f"/compatibility/subjects/trial-notices.africa-value/versions{version}"
        assert (await client.post(path, **asked(NOTICE[0]))).json() == {"is_compatible": True}
        for text, field in ((OTHER, "weight"), (json.dumps(less), "owner")):
            bad = (await client.post(f"{path}?verbose=true", **asked(text))).json()
            assert bad["is_compatible"] is False
            assert any(field in message for message in bad["messages"])


@pytest.mark.parametrize(
    ("wish", "media_type"),
    [
        ("application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json", V1),
        ("application/vnd.schemaregistry+json;q=0.9, */*", "application/vnd.schemaregistry+json"),
        ("application/json", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", V1),
    ],
)
async def test_speaks_as_asked(client: httpx.AsyncClient, wish: str, media_type: str) -> None:
    """Answers and errors come in the first of the protocol's media types that the client takes."""
    for path in ("/schemas/types", "/schemas/ids/7"):
        answer = await client.get(path, headers={"accept": wish})
        assert answer.headers["content-type"] == media_type


async def test_refuses_other_media_types(client: httpx.AsyncClient) -> None:
    """Who takes none of the protocol's media types is told so, with 406."""
    answer = await client.get("/schemas/types", headers={"accept": "application/xml"})

    assert (answer.status_code, answer.json()["error_code"]) == (406, 406)
