"""A bureau's program as it was written against version 1 of the format, and has not been touched since.

It has its own copies of the schemas and knows no other; nothing of Noticewire is imported. It reads its inbox, verifies
who signed, writes a line for each message, and acknowledges it as received and accepted.

    program.py SERVERS PREFIX BUREAU PRIVATE_KEY PUBLIC_KEYS INSTALLATION COUNT
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import time
import uuid
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import fastavro
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

HERE = Path(__file__).parent
SCHEMAS = {
    schema_id: fastavro.parse_schema(json.loads((HERE / f"{name}.avsc").read_text(encoding="utf-8")), named_schemas={})
    for schema_id, name in ((1001, "notice"), (1002, "diffusion"))
}
RECEIPTS = fastavro.parse_schema(json.loads((HERE / "receipts.avsc").read_text(encoding="utf-8")), named_schemas={})
RECEIPTS_ID = 1003
FROM_THE_BROKER = {1006, 1007}
"""Outcomes and notices of end: not what this program is for."""


def signed(kind: str, installation: str, value: bytes) -> bytes:
    """What a signature covers."""
    return b"".join(part.encode() + b"\n" for part in ("noticewire/1", kind, installation)) + value


def read(record: Any, keys: dict[str, str], installation: str) -> tuple[dict[str, Any], str] | None:
    """Return a message and who signed it; None for what is no message."""
    schema_id = int.from_bytes(record.value[1:5], "big")
    if schema_id in FROM_THE_BROKER:
        return None
    message = fastavro.schemaless_reader(io.BytesIO(record.value[5:]), SCHEMAS[schema_id], None)
    assert isinstance(message, dict)
    headers = {name: content.decode() for name, content in record.headers}
    signer = headers["key-id"].rpartition(".")[0]
    assert signer in {message["issuer"], "broker"}, "signed by its issuer, or vouched for by the broker"
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(keys[headers["key-id"]]))
    kind = "broker" if signer == "broker" else "message"
    public.verify(b64decode(headers["signature"]), signed(kind, installation, record.value))
    return message, signer


def receipts(bureau: str, message: dict[str, Any], record: Any) -> bytes:
    """Return two receipts, framed."""
    now_ms = int(time.time() * 1000)
    body = io.BytesIO()
    one = {
        "number": message["number"],
        "message_id": message["message_id"],
        "origin": dict(record.headers)["origin"].decode(),
        "digest": hashlib.sha256(record.value).digest(),
        "actor_kind": "program",
        "actor": "version-1",
    }
    both = [one | {"stage": stage, "given_at": now_ms + at} for at, stage in enumerate(("received", "accepted"))]
    fastavro.schemaless_writer(body, RECEIPTS, {"bureau": bureau, "receipts": both})
    return b"\0" + RECEIPTS_ID.to_bytes(4, "big") + body.getvalue()


def headers_of(bureau: str, value: bytes, key: Ed25519PrivateKey, key_id: str, installation: str) -> list[Any]:
    """Return the headers of a record of receipts."""
    latest_ms = max(one["given_at"] for one in _parsed(value)["receipts"])
    texts = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_type": "noticewire.receipts",
        "ce_source": f"/bureaus/{bureau}",
        "ce_time": latest_ms.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ce_subject": bureau,
        "content-type": "application/vnd.confluent.avro",
        "key-id": key_id,
        "signature": b64encode(key.sign(signed("receipts", installation, value))).decode(),
    }
    return [(name, text.encode()) for name, text in texts.items()]


def _parsed(value: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), RECEIPTS, None)


def main() -> None:
    """Handle so many messages, and end."""
    servers, prefix, bureau, key_file, key_list, installation, count = sys.argv[1:]
    keys = json.loads(Path(key_list).read_text(encoding="utf-8"))
    key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    asyncio.run(handle(servers, prefix, bureau, key, keys, installation, int(count)))


async def handle(  # noqa: PLR0917 - as on the command line
    servers: str, prefix: str, bureau: str, key: Ed25519PrivateKey, keys: dict[str, str], installation: str, count: int
) -> None:
    """Read the inbox, say what came, and acknowledge it."""
    key_id = next(one for one in keys if one.startswith(f"{bureau}."))
    consumer = AIOKafkaConsumer(
        f"{prefix}inbox.{bureau}",
        bootstrap_servers=servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
    async with consumer, producer:
        handled = 0
        async for record in consumer:
            found = read(record, keys, installation)
            if found is None:
                continue
            message, signer = found
            said = {"number": message["number"], "event": message["event"], "title": message["texts"][0]["title"]}
            print(json.dumps(said | {"signer": signer}), flush=True)  # noqa: T201 - its output
            region, partition = dict(record.headers)["origin"].decode().split("/")[:2]
            value = receipts(bureau, message, record)
            await producer.send_and_wait(
                f"{prefix}acks.{region.partition('.')[2]}",
                key=bureau.encode(),
                value=value,
                partition=int(partition),
                headers=headers_of(bureau, value, key, key_id, installation),
            )
            handled += 1
            if handled == count:
                return


main()
