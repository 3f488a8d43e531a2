from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.settings import KafkaSettings, Settings


def test_what_is_given_outranks_the_environment_and_that_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, then NOTICEWIRE_ variables, then noticewire.toml, each for the values that it names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noticewire.toml").write_text(
        'data = "from-file"\n[kafka]\nprefix = "file-"\nbootstrap_servers = "file:1"\ntransaction_timeout = "PT20S"\n'
    )
    monkeypatch.setenv("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", "environment:2")
    monkeypatch.setenv("NOTICEWIRE_DATA", "from-environment")

    settings = Settings(data=Path("given"))

    assert settings.data == Path("given")
    assert settings.kafka.bootstrap_servers == "environment:2"
    assert settings.kafka.prefix == "file-"
    assert settings.kafka.transaction_timeout == timedelta(seconds=20)


def test_unknown_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting is an error, in the environment and in the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTICEWIRE_KAFKA__BOOTSTRAP", "x")
    with pytest.raises(ValidationError, match="bootstrap"):
        Settings()
    monkeypatch.delenv("NOTICEWIRE_KAFKA__BOOTSTRAP")

    (tmp_path / "noticewire.toml").write_text("colour = 1\n")
    with pytest.raises(ValidationError, match="colour"):
        Settings()


def test_a_prefix_must_fit_in_a_name() -> None:
    """A prefix that no topic name could carry is refused."""
    with pytest.raises(ValidationError, match="prefix"):
        KafkaSettings(prefix="Ä ")
