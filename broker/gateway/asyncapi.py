"""The whole interface as an AsyncAPI 3.0 document, made from the code: topics, schemas, headers, samples.

`docs/asyncapi.yaml` is what this makes of the catalogue that the program ships, and a test holds it to that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import yaml
from typing_extensions import override

from broker.gateway.described import ABOUT, CHANNELS, HEADERS, PARAMETERS, Described
from broker.gateway.examples import examples
from broker.model.change import ChangeKind
from broker.model.command import CommandKind
from broker.model.message import Event
from broker.model.naming import SHARDS_TOPIC, Names, Region
from broker.model.outcome import Verdict
from broker.model.rejection import RejectReason
from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.settings import KafkaSettings
from broker.topics.plan import TopicSpec, plan
from broker.transport.headers import AVRO, ISSUER_DIGEST, MENDS, ORIGIN, REQUIRED

ASYNCAPI = "3.0.0"
AVRO_FORMAT = "application/vnd.apache.avro;version=1.9.0"
_BINDING = {"bindingVersion": "0.5.0"}

_TYPES: dict[str, tuple[str, ...]] = {
    "notice": tuple(f"notice.{event}" for event in Event),
    "diffusion": tuple(f"diffusion.{event}" for event in Event),
    "receipts": ("receipts",),
    "rejection": tuple(f"rejection.{reason}" for reason in RejectReason),
    "outcome": tuple(f"outcome.{verdict}" for verdict in Verdict),
    "notice-of-end": tuple(f"notice-of-end.{event}" for event in Event),
    "directory-change": tuple(f"directory.{kind}" for kind in ChangeKind),
    "command": tuple(f"command.{kind}" for kind in CommandKind),
}
"""What `ce_type` may say of each subject that has headers; nobody writes the `unknown` of them."""

_ADDED = {
    "notice": (MENDS, ORIGIN, ISSUER_DIGEST),
    "diffusion": (MENDS, ORIGIN, ISSUER_DIGEST),
    "outcome": (ORIGIN,),
    "notice-of-end": (ORIGIN,),
    "command": (ORIGIN,),
    "rejection": (ORIGIN,),
}
"""Headers that a record of a subject may have beside those that each has."""


def document(catalogue: Catalogue, *, kafka: KafkaSettings | None = None) -> dict[str, Any]:
    """Return the document, as plain data.

    Args:
        catalogue: the schemas, with the ids that are on the wire.
        kafka: the installation's prefix and limits; otherwise the defaults.
    """
    kafka = kafka or KafkaSettings()
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Noticewire",
            "version": version("noticewire"),
            "description": ABOUT,
        },
        "defaultContentType": AVRO,
        "servers": {"kafka": _server()},
        "channels": dict(_channels(catalogue, kafka)),
        "operations": dict(_operations(catalogue)),
        "components": {
            "schemas": {_named(one): _payload(one) for one in _each(catalogue)}
            | {f"{subject}.headers": headers_schema(subject) for subject in _TYPES},
            "messages": {_named(one): _message(one, catalogue) for one in _each(catalogue)},
        },
    }


def as_yaml(data: dict[str, Any]) -> str:
    """Write the document as it is kept in `docs/` and served."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Writes what stands in several places each time, and texts of several lines as such."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def headers_schema(subject: str) -> dict[str, Any]:
    """Return the JSON schema of the headers of a subject's records, each as its text."""
    names = [name for name in HEADERS if name not in {MENDS, ORIGIN, ISSUER_DIGEST} or name in _ADDED.get(subject, ())]
    properties: dict[str, Any] = {name: {"type": "string", **HEADERS[name]} for name in names}
    types = [f"noticewire.{one}" for one in _TYPES[subject] if not one.endswith(".unknown")]
    properties["ce_type"] = {"type": "string", "enum": types, "description": HEADERS["ce_type"]["description"]}
    return {"type": "object", "required": list(REQUIRED), "properties": properties}


def _server() -> dict[str, Any]:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "Apache Kafka 4; `endpoints.json` in the data folder says where it and the gateway listen.",
        "variables": {"bootstrap": {"default": KafkaSettings().bootstrap_servers}},
        "bindings": {"kafka": {"schemaRegistryVendor": "confluent", **_BINDING}},
    }


def _each(catalogue: Catalogue) -> Iterator[SchemaVersion]:
    """Yield every version, each subject's newest first."""
    for subject in catalogue.subjects():
        yield from reversed(catalogue.versions(subject))


def _named(one: SchemaVersion) -> str:
    return f"{one.subject}.v{one.version}"


def _ref(*steps: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *steps))}


# ----------------------------------------------------------------------------------------------------------- channels


def _channels(catalogue: Catalogue, kafka: KafkaSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    for spec in plan(["{bureau}"], kafka=kafka):
        kind, _, where = spec.name.partition(".")
        if spec.name != SHARDS_TOPIC and where in {"", "{bureau}", Region.GLOBAL}:  # one region stands for all
            address = Names(kafka.prefix).on_cluster(spec.name.replace(Region.GLOBAL, "{region}"))
            yield kind, _channel(kind, address, spec, catalogue)


def _channel(kind: str, address: str, spec: TopicSpec, catalogue: Catalogue) -> dict[str, Any]:
    described, settings = CHANNELS[kind], spec.settings
    configuration = {
        "cleanup.policy": [settings["cleanup.policy"]],
        **{name: int(settings[name]) for name in ("retention.ms", "retention.bytes", "max.message.bytes")},
    }
    channel: dict[str, Any] = {
        "address": address,
        "title": described.title,
        "description": described.description,
        "messages": {name: _ref("components", "messages", name) for name in _lying_in(described, catalogue)},
        "bindings": {
            "kafka": {"partitions": spec.partitions, "topicConfiguration": configuration, **_BINDING},
        },
    }
    parameters = {name: said for name, said in PARAMETERS.items() if f"{{{name}}}" in address}
    if parameters:
        channel["parameters"] = parameters
    if not described.subjects:
        note = {"payload": {"type": "string"}, "contentType": "text/plain", "description": described.description}
        channel["messages"] = {kind: note}
    return channel


def _lying_in(described: Described, catalogue: Catalogue) -> list[str]:
    return [_named(one) for subject in described.subjects for one in reversed(catalogue.versions(subject))]


def _operations(catalogue: Catalogue) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, described in CHANNELS.items():
        operation: dict[str, Any] = {
            "action": described.action,
            "channel": _ref("channels", kind),
            "summary": described.does,
        }
        if described.answered:
            outcomes = [_named(one) for one in reversed(catalogue.versions("outcome"))]
            operation["reply"] = {
                "channel": _ref("channels", "inbox"),
                "messages": [_ref("channels", "inbox", "messages", name) for name in outcomes],
            }
        yield described.operation, operation


# ----------------------------------------------------------------------------------------------------------- messages


def _payload(one: SchemaVersion) -> dict[str, Any]:
    return {"schemaFormat": AVRO_FORMAT, "schema": json.loads(one.text)}


def _message(one: SchemaVersion, catalogue: Catalogue) -> dict[str, Any]:
    newest = catalogue.newest(one.subject)
    standing = "What is written today." if one is newest else f"Still read; version {newest.version} is written today."
    key = next(described.key for described in CHANNELS.values() if one.subject in described.subjects)
    message: dict[str, Any] = {
        "name": _named(one),
        "title": f"{one.subject}, version {one.version}",
        "summary": json.loads(one.text)["doc"],
        "description": f"{standing} Schema id {one.id}.",
        "contentType": AVRO,
        "payload": _ref("components", "schemas", _named(one)),
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": key},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                **_BINDING,
            }
        },
        "examples": list(examples(one, is_newest=one is newest)),
        "x-schema-id": one.id,
    }
    if one.subject in _TYPES:
        message["headers"] = _ref("components", "schemas", f"{one.subject}.headers")
    return message
