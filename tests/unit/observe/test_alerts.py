"""Alerts whose faults need no Kafka; and alerts, metrics, dashboard and guide held to each other."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from prometheus_client import CollectorRegistry

from broker.cli import up
from broker.cli.services.observing import Watch, watched
from broker.cli.supervisor import BACK_OFF_SECONDS, KEEPS_DYING, Supervisor
from broker.cli.system import RunningKafka
from broker.embedded import leash
from broker.endpoints import KafkaEndpoint
from broker.model.ledger import WithheldReason
from broker.model.rejection import RejectReason
from broker.observe import counting
from broker.observe.health import LOOP_SECONDS_MAX, Health
from broker.observe.metrics import Metrics, SharingMetrics, SupervisorMetrics
from tests.support.alerting import DEPLOY, Scrapes, makes_fire, rules
from tests.support.eventually import eventually

TESTS = Path(__file__).parents[2]
OPERATE = TESTS.parent / "docs" / "operate.md"
ENDS = [sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"]


class Disk(NamedTuple):
    """What shutil says of a disk."""

    total: int
    used: int
    free: int


class Time:
    """A clock that a test turns."""

    seconds = 1_000.0

    def __call__(self) -> float:
        """What the hands say."""
        return self.seconds


Fires = dict[str, list[dict[str, str]]]
Scrape = Callable[[str | None], Awaitable[Fires]]


@pytest.fixture
def scraped() -> Scrape:
    """Scrape a watch, again and again, into one history."""
    scrapes, at = Scrapes(), 0.0

    async def scrape(address: str | None) -> Fires:
        nonlocal at
        at += 15
        await asyncio.to_thread(scrapes.scrape, at, up=address)
        return scrapes.firing()

    return scrape


@makes_fire("NoticewireServiceRestarted", "NoticewireServiceKeepsDying", "NoticewireDiskFilling")
async def test_supervisor_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scraped: Scrape) -> None:
    """A death raises one alert, a service that keeps dying another, a disk with less than a tenth free a third."""
    time, said = Time(), list[str]()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(100, 50, 50))
    supervisor = Supervisor(said.append, patience_seconds=10, now=time)
    node = up._Node(RunningKafka(endpoint=KafkaEndpoint(bootstrap_servers="127.0.0.1:1")), said.append)
    watch = up._watch(supervisor, node, tmp_path)
    with supervisor.running():
        tracker = supervisor.add("tracker", lambda: leash.spawn(ENDS))
        async with watched(watch, None) as listener:

            async def dies() -> Fires:
                process = tracker.process
                assert process is not None
                eventually(lambda: process.poll() is not None, seconds=20, what="it has ended")
                supervisor.check()
                time.seconds += BACK_OFF_SECONDS[-1]
                supervisor.check()
                watch.beat()
                return await scraped(listener.address)

            watch.beat()
            assert await scraped(listener.address) == {}
            fires = await dies()
            assert [one["name"] for one in fires["NoticewireServiceRestarted"]] == ["tracker"]
            assert "NoticewireServiceKeepsDying" not in fires
            for _ in range(KEEPS_DYING):
                fires = await dies()
            assert [one["name"] for one in fires["NoticewireServiceKeepsDying"]] == ["tracker"]
            assert "tracker keeps dying" in watch.health.unready()

            assert "NoticewireDiskFilling" not in fires
            monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(100, 91, 9))
            watch.beat()
            assert "NoticewireDiskFilling" in await scraped(listener.address)


@pytest.mark.parametrize("seconds", [3600, -3600])
@makes_fire("NoticewireClockJumped")
async def test_clock(scraped: Scrape, seconds: int) -> None:
    """A clock that jumps by an hour, either way, raises the alert; one that is slewed does not."""
    now, wall = Time(), Time()
    watch = Watch(metrics=Metrics("router", Health()), asks_kafka=False, problems=tuple, now=now, wall=wall)
    async with watched(watch, None) as listener:
        for _ in range(100):
            now.seconds += 0.5
            wall.seconds += 0.50025  # NTP's fastest
            watch.beat()
            assert await scraped(listener.address) == {}
        wall.seconds += seconds
        watch.beat()
        assert list(await scraped(listener.address)) == ["NoticewireClockJumped"]


@makes_fire("NoticewireServiceWedged")
async def test_wedged(scraped: Scrape) -> None:
    """An event loop that stands still is told of by the service itself, while it stands still."""
    time = Time()
    watch = Watch(metrics=Metrics("router", Health(now=time)), asks_kafka=False, problems=tuple)
    async with watched(watch, None) as listener:
        watch.beat()
        assert await scraped(listener.address) == {}
        time.seconds += LOOP_SECONDS_MAX + 1
        scrapes = Scrapes()
        asking = threading.Thread(target=scrapes.scrape, args=(0.0,), kwargs={"up": listener.address})
        asking.start()
        asking.join(20)  # the loop stands still here
        assert set(scrapes.firing()) == {"NoticewireServiceWedged", "NoticewireServiceNotReady"}


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    """The guide says of each alert what it means and what to do, under the heading that the alert names."""
    sections = dict(re.findall(r"^### (Noticewire\w+)\n(.*?)(?=^#|\Z)", OPERATE.read_text(), re.MULTILINE | re.DOTALL))
    alerts = {rule["alert"]: rule for rule in rules()}

    assert set(sections) == set(alerts)
    for name, text in sections.items():
        assert "**Means.**" in text, name
        assert "**Do.**" in text, name
        assert alerts[name]["annotations"]["runbook"] == f"docs/operate.md#{name.lower()}"
        assert alerts[name]["labels"]["severity"] in {"critical", "warning", "info"}
        assert f"({alerts[name]['labels']['severity']})" in text, name


def test_each_alert_is_made_to_fire() -> None:
    """Each alert is declared by a test that makes it fire, and none is that is not there."""
    assert {alert for file in TESTS.rglob("test_*.py") for alert in declared_in(file)} == {
        rule["alert"] for rule in rules()
    }


def declared_in(file: Path) -> Iterator[str]:
    """The alerts that the tests of a file make fire, by their decorators."""
    text = file.read_text()
    for test in ast.parse(text).body if "@makes_fire(" in text else ():
        if isinstance(test, ast.AsyncFunctionDef) and test.name.startswith("test_"):
            for decorator in test.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "makes_fire":
                    yield from map(ast.literal_eval, decorator.args)


async def test_a_declaration_is_held_to() -> None:
    """A test that declares an alert fails if it does not make it fire, and if it fires without a fault too."""

    @makes_fire("NoticewireServiceDown")
    async def scrapes(*addresses: str | None) -> None:
        for at, address in enumerate(addresses):
            history = Scrapes()
            await asyncio.to_thread(history.scrape, float(at), up=address)
            history.firing()

    async with watched(Watch(metrics=Metrics("up", Health()), asks_kafka=False, problems=tuple), None) as listener:
        with pytest.raises(AssertionError, match="never fired"):
            await scrapes(listener.address)
        with pytest.raises(AssertionError, match="fired always"):
            await scrapes(None)
        await scrapes(listener.address, None)


def metrics_of_ours() -> set[str]:
    """Every series that some process of ours shows, with the suffixes that Prometheus adds."""
    metrics = Metrics("router", Health())
    SharingMetrics(metrics)
    counting.RouterMetrics(metrics, withheld_reasons=WithheldReason, reject_reasons=RejectReason)
    counting.TrackerMetrics(tracker := Metrics("tracker", Health()), stages=(), reasons=(), decline_reasons=())
    counting.ArchiveMetrics(audit := Metrics("audit", Health()))
    counting.DoorMetrics(door := CollectorRegistry())
    SupervisorMetrics(metrics)
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    return {
        family.name + suffix
        for registry in (metrics.registry, tracker.registry, audit.registry, door)
        for family in registry.collect()
        if family.name.startswith("noticewire_")
        for suffix in suffixes[family.type]
    }


def test_alerts_and_dashboard_know_the_metrics() -> None:
    """Alerts use no metric that is not there, and the dashboard shows each one that is."""
    known = metrics_of_ours()
    dashboard = json.loads((DEPLOY / "grafana" / "noticewire.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    used = {
        name for expr in [*shown, *(rule["expr"] for rule in rules())] for name in re.findall(r"noticewire_\w+", expr)
    }

    assert used <= known
    whole = " ".join(shown)
    families = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in known}
    assert [name for name in sorted(families) if name not in whole] == []


def test_the_dashboard_can_be_drawn() -> None:
    """Each panel has a title, a unit, a place that no other one has, and asks the data source that is chosen."""
    dashboard = json.loads((DEPLOY / "grafana" / "noticewire.json").read_text())
    places = set[tuple[int, int]]()
    for panel in dashboard["panels"]:
        assert panel["title"]
        grid = panel["gridPos"]
        taken = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not places & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        places |= taken
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_files_are_what_prometheus_reads() -> None:
    """The example names the rules; its targets are what `up --observe-port 9600` opens; promtool, if here, agrees."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    assert config["global"] == {"scrape_interval": "5s", "evaluation_interval": "5s"}  # a promise of 30 s rests on it
    (job,) = config["scrape_configs"]
    wanted = ["up", *dict(up._wanted(1))]
    assert job["job_name"] == "noticewire"
    assert [(one["targets"], one["labels"]["name"]) for one in job["static_configs"]] == [
        ([f"127.0.0.1:{9600 + at}"], name) for at, name in enumerate(wanted)
    ]
    promtool = shutil.which("promtool")
    if promtool is not None:
        subprocess.run([promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml"], check=True)
