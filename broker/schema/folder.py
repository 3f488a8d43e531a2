"""Is a folder of schemas whole: every file listed, every version with a record that its schema reads?

The layout is that of `schemas/avro`: `catalogue.json`, and for each subject a folder with `v<n>.avsc` and
`v<n>.sample.json` for each version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from broker.errors import MisuseError
from broker.schema.catalogue import CATALOGUE_FILE, Catalogue, SchemaVersion
from broker.schema.compatibility import check
from broker.schema.rules import Breach, Rule

_FRAME_BYTES = 5


def check_folder(folder: Traversable) -> list[Breach]:
    """Return everything that is wrong with a folder of schemas; nothing if it may be merged.

    Raises:
        MisuseError: the folder has no catalogue, or Apache's package `avro` is not installed.
    """
    if not (folder / CATALOGUE_FILE).is_file():
        raise MisuseError(f"{folder} has no {CATALOGUE_FILE}: a folder like schemas/avro is wanted")
    try:
        catalogue = Catalogue.load(folder)
    except MisuseError as error:
        return [_breach(Rule.CATALOGUE, str(error), f"mend {CATALOGUE_FILE}, or the file that it names")]
    versions = [version for subject in catalogue.subjects() for version in catalogue.versions(subject)]
    return [
        *_files(folder, versions),
        *(breach for version in versions for breach in _sample(folder, version)),
        *check(catalogue),
    ]


def _files(folder: Traversable, versions: list[SchemaVersion]) -> Iterator[Breach]:
    """Compare what is listed with what is there."""
    expected = {f"{one.subject}/v{one.version}.{kind}" for one in versions for kind in ("avsc", "sample.json")}
    listed = json.loads((folder / CATALOGUE_FILE).read_text("utf-8"))["schemas"]
    for entry in listed:
        if entry["file"] not in expected:
            version = f"{entry['subject']} v{entry['version']}"
            wanted = f"{entry['subject']}/v{entry['version']}.avsc"
            yield _breach(Rule.CATALOGUE, f"{version} is listed as {entry['file']}", f"call the file {wanted}")
    for inner in sorted((one for one in folder.iterdir() if one.is_dir()), key=lambda one: one.name):
        for file in sorted(one.name for one in inner.iterdir()):
            path = f"{inner.name}/{file}"
            if file.endswith((".avsc", ".json")) and path not in expected:
                yield _breach(
                    Rule.CATALOGUE,
                    f"{path} is not listed in {CATALOGUE_FILE}, so no program knows it",
                    f"add its subject, version and file to {CATALOGUE_FILE}, with an id that no other has; or remove"
                    " the file",
                )


def _sample(folder: Traversable, version: SchemaVersion) -> Iterator[Breach]:
    """Read the record that is kept beside a version, and write it again.

    Because the very bytes must come out again, an edit of a released schema is seen here, too.
    """
    name = f"{version.subject}/v{version.version}.sample.json"
    try:
        data = bytes.fromhex(json.loads(folder.joinpath(*name.split("/")).read_text("utf-8"))["encoded"])
    except FileNotFoundError:
        yield _of_sample(version, f"there is no {name}", "write one: a value, and its bytes in hex as `encoded`")
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield _of_sample(version, f"{name} cannot be read: {error!r}", "it is JSON with the bytes in hex as `encoded`")
        return
    problem = _unread(data, version)
    if problem is not None:
        instead = f"a released schema is never edited: if {version} was, put it back and make a new version; else write"
        yield _of_sample(version, f"{name}: {problem}", f"{instead} the sample anew")


def _unread(data: bytes, version: SchemaVersion) -> str | None:
    """Return why a schema does not read a framed record to the byte; None if it does."""
    frame = b"\x00" + version.id.to_bytes(4, "big")
    if data[:_FRAME_BYTES] != frame:
        return f"begins with {data[:_FRAME_BYTES].hex()}, where id {version.id} has {frame.hex()}"
    body, again = BytesIO(data[_FRAME_BYTES:]), BytesIO()
    try:
        schema: Any = parse_schema(json.loads(version.text), named_schemas={})
        value: Any = schemaless_reader(body, schema, None, return_record_name=True)
        schemaless_writer(again, schema, value)
    except Exception as error:  # noqa: BLE001 - fastavro raises whatever it likes on bytes of another schema
        return f"the schema does not read it ({type(error).__name__}: {error})"
    if again.getvalue() != data[_FRAME_BYTES:]:
        return f"the schema reads {body.tell()} of {len(data) - _FRAME_BYTES} bytes, and writes others"
    return None


def _breach(rule: Rule, problem: str, instead: str) -> Breach:
    return Breach(subject="", versions=(), path="", rule=rule, problem=problem, instead=instead)


def _of_sample(version: SchemaVersion, problem: str, instead: str) -> Breach:
    return Breach(
        subject=version.subject,
        versions=(version.version,),
        path="",
        rule=Rule.SAMPLE,
        problem=problem,
        instead=instead,
    )
