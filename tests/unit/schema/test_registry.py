"""An external schema registry: registering, its ids on the wire, and the time when it is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from pydantic import SecretStr, ValidationError

from broker.cli import context
from broker.cli.main import command_line
from broker.errors import MisuseError, RejectedRecordError, UnavailableError
from broker.model.notice import Notice
from broker.schema import registry
from broker.schema.catalogue import Catalogue
from broker.schema.codec import Codec
from broker.schema.registry import load_codec, load_ids, register
from broker.settings import SchemaRegistrySettings
from tests.support.builders import a_red_notice, an_arrest_diffusion
from tests.support.http import serving_http
from tests.support.registries import FIRST_ID, MemoryRegistry

CATALOGUE = Catalogue.load()
OURS = Codec.load()
NOWHERE = SchemaRegistrySettings(url="http://127.0.0.1:9")


@pytest.fixture
def memory() -> MemoryRegistry:
    """A registry, empty."""
    return MemoryRegistry()


@pytest.fixture
def settings(memory: MemoryRegistry) -> Iterator[SchemaRegistrySettings]:
    """How to reach it."""
    with serving_http(memory.app()) as url:
        yield SchemaRegistrySettings(url=url)


def schema_id(value: bytes) -> int:
    """What the framing carries."""
    return int.from_bytes(value[1:5], "big")


def test_registers_everything(memory: MemoryRegistry, settings: SchemaRegistrySettings, tmp_path: Path) -> None:
    """Every version is under its subject and its topics', in order and with our level; again changes nothing."""
    done = register(settings, tmp_path, catalogue=CATALOGUE, prefix="trial-")

    assert {"notice", "outcome", "trial-notices.africa-value", "trial-rejected-value"} <= set(done.subjects)
    assert memory.subjects.keys() == memory.levels.keys() == set(done.subjects)
    assert set(memory.levels.values()) == {"FULL_TRANSITIVE"}
    assert done.unsettled == ()
    for subject in CATALOGUE.subjects():
        texts = [memory.texts[number - FIRST_ID] for number in memory.subjects[subject]]
        assert list(map(json.loads, texts)) == [json.loads(one.text) for one in CATALOGUE.versions(subject)]
    before = (list(memory.texts), dict(memory.subjects))
    assert register(settings, tmp_path, catalogue=CATALOGUE, prefix="trial-") == done
    assert (memory.texts, memory.subjects) == before


def test_its_ids_are_on_the_wire(settings: SchemaRegistrySettings, tmp_path: Path) -> None:
    """What is written carries the registry's id, a stranger's client reads it with that; ours are read as well."""
    ids = register(settings, tmp_path, catalogue=CATALOGUE).ids
    codec, message = load_codec(settings, tmp_path), a_red_notice()
    value = codec.encode(message)

    own = OURS.encode(message)
    assert schema_id(value) == ids.written[schema_id(own)] != schema_id(own)
    assert value[5:] == own[5:]
    assert codec.decode(value, Notice) == codec.decode(own, Notice) == message
    with SchemaRegistryClient({"url": settings.url}) as client:
        read = AvroDeserializer(client)(value)
        assert isinstance(read, dict)
        assert read["number"] == message.number
    with pytest.raises(RejectedRecordError, match="unknown schema id"):
        codec.decode(b"\x00" + (60_000).to_bytes(4, "big") + value[5:])


def test_survives_an_outage(tmp_path: Path) -> None:
    """The registry is asked once: a program that starts while it is away writes and reads as before."""
    memory = MemoryRegistry()
    with serving_http(memory.app()) as url:
        settings = SchemaRegistrySettings(url=url)
        register(settings, tmp_path / "one", catalogue=CATALOGUE)
        value = load_codec(settings, tmp_path / "other").encode(a_red_notice())
        asked = len(memory.asked)
        load_codec(settings, tmp_path / "other")
        assert len(memory.asked) == asked

    codec = load_codec(settings, tmp_path / "other")
    assert schema_id(codec.encode(codec.decode(value, Notice))) == schema_id(value)
    with pytest.raises(UnavailableError, match="does not answer"):
        load_codec(settings, tmp_path / "new")


def test_a_new_version_is_learned(memory: MemoryRegistry, settings: SchemaRegistrySettings, tmp_path: Path) -> None:
    """After an upgrade only registering is needed; until then the program says so, and does not start."""
    before = Catalogue(one for one in CATALOGUE if one.version == 1)
    register(settings, tmp_path, catalogue=before)
    old = load_ids(settings, tmp_path, catalogue=before)

    with pytest.raises(MisuseError, match=r"version 2 of notice is not in the schema registry.*schema register"):
        load_codec(settings, tmp_path)
    new = register(settings, tmp_path, catalogue=CATALOGUE).ids
    assert old.written.items() < new.written.items()
    assert load_ids(settings, tmp_path, catalogue=CATALOGUE) == new
    assert memory.subjects["notice"] == [new.written[1001], new.written[1011]]


def test_another_registry_takes_over(settings: SchemaRegistrySettings, tmp_path: Path) -> None:
    """Records with a former registry's ids stay readable, also when none is used any more."""
    register(settings, tmp_path, catalogue=CATALOGUE)
    message = an_arrest_diffusion()
    first = load_codec(settings, tmp_path).encode(message)
    with serving_http(MemoryRegistry(first_id=500).app()) as url:
        later = SchemaRegistrySettings(url=url)
        register(later, tmp_path, catalogue=CATALOGUE)
        codec = load_codec(later, tmp_path)
    without = load_codec(SchemaRegistrySettings(), tmp_path)

    second = codec.encode(message)
    assert schema_id(second) >= 500 > schema_id(first)
    assert schema_id(without.encode(message)) == schema_id(OURS.encode(message))
    for each in (codec, without):
        assert each.decode(first) == each.decode(second) == message


@pytest.mark.parametrize("first_id", [1002, 8], ids=["the catalogue's", "a former registry's"])
def test_ids_that_stand_for_something_else(settings: SchemaRegistrySettings, tmp_path: Path, first_id: int) -> None:
    """A registry whose ids stand for other schemas already is refused: old records would be read as something else."""
    register(settings, tmp_path, catalogue=CATALOGUE)
    kept = (tmp_path / registry.IDS).read_text()
    with (
        serving_http(MemoryRegistry(first_id=first_id).app()) as url,
        pytest.raises(MisuseError, match="already stands for"),
    ):
        register(SchemaRegistrySettings(url=url), tmp_path, catalogue=CATALOGUE)
    assert (tmp_path / registry.IDS).read_text() == kept


def test_login(tmp_path: Path) -> None:
    """User and password are sent, and shown nowhere; a registry that refuses them is named as the cause."""
    with serving_http(MemoryRegistry(login="noticewire:s3cret").app()) as url:
        right = SchemaRegistrySettings(url=url, username="noticewire", password=SecretStr("s3cret"))
        assert register(right, tmp_path, catalogue=CATALOGUE).ids.written
        wrong = SchemaRegistrySettings(url=url, username="noticewire", password=SecretStr("another"))
        with pytest.raises(MisuseError, match="401 Unauthorized") as refused:
            register(wrong, tmp_path / "other", catalogue=CATALOGUE)
    assert "s3cret" not in repr(right)
    assert "another" not in str(refused.value)
    with pytest.raises(ValidationError):
        SchemaRegistrySettings(url="http://noticewire:s3cret@registry:8081")


def test_command(
    memory: MemoryRegistry,
    settings: SchemaRegistrySettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`noticewire schema register` shows the ids, and of which subjects the level could not be set."""
    memory.is_strict = True
    monkeypatch.setattr("sys.argv", ["noticewire", "schema", "register", "--data", str(tmp_path)])
    words = ["schema"]
    assert context.run(command_line(words)) == context.MISUSE
    assert "NOTICEWIRE_SCHEMA_REGISTRY__URL" in capsys.readouterr().err

    monkeypatch.setenv("NOTICEWIRE_SCHEMA_REGISTRY__URL", settings.url or "")
    assert context.run(command_line(words)) == context.DONE
    shown = capsys.readouterr().out
    assert f"{'notice':<18} {1:>7} {memory.subjects['notice'][0]:>6}" in shown.splitlines()
    assert "not of these" in shown


def test_what_is_no_registry(tmp_path: Path) -> None:
    """An address at which nobody answers, or somebody else, is told from a registry that refuses."""
    with pytest.raises(UnavailableError):
        register(NOWHERE, tmp_path, catalogue=CATALOGUE)
    with pytest.raises(MisuseError, match=r"schema_registry\.url"):
        register(SchemaRegistrySettings(url="http://registry:port"), tmp_path, catalogue=CATALOGUE)
    assert not (tmp_path / registry.IDS).exists()
    (tmp_path / registry.IDS).write_text("{}")
    with pytest.raises(MisuseError, match=registry.IDS):
        load_codec(NOWHERE, tmp_path)
