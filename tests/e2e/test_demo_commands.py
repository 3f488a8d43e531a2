"""The other commands, as a newcomer tries them beside `noticewire demo --keep`."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.demo import COMMAND, Finished, RunningDemo, environment
from tests.support.eventually import eventually
from tests.support.plain import PlainRecord, read
from tests.support.table import samples_table

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(400)]

_SAMPLES = Path(__file__).parents[2] / "samples"


def a_sample(like: str, on: str, **differing: Any) -> dict[str, Any]:
    """A sample's content, as a message of its own: with an id and a time of issue that the producer gives it."""
    for path in sorted(_SAMPLES.glob("*.yaml")):
        for entry in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if (entry["number"], entry["event"]) == (like, on):
                rest = {name: value for name, value in entry.items() if name not in {"message_id", "issued_at"}}
                return rest | differing
    raise LookupError(like, on)


def a_file(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "messages.yaml"
    path.write_text(yaml.safe_dump_all(entries, allow_unicode=True), encoding="utf-8")
    return path


def entries_of(records: list[PlainRecord], number: str) -> list[dict[str, Any]]:
    """What the ledger holds of a notice, in order."""
    return [record.value for record in records if record.value["number"] == number]


def deliveries(demo: RunningDemo, number: str) -> list[dict[str, Any]]:
    """What `status NUMBER` says."""
    rows: list[dict[str, Any]] = demo.run("status", number, "--json").expect(0).json
    return rows


@pytest.mark.parametrize("number", ["ci-n-2026-002001", "br-d-2026-000901"])
def test_explain_agrees_with_the_ledger(demo: RunningDemo, number: str) -> None:
    """`explain NUMBER` says of each of its messages what the ledger, read plainly, and the table say."""
    explained = demo.run("explain", number, "--json").expect(0).json

    entries = entries_of(demo.history.read("ledger."), number)
    assert len(explained) == len(entries) > 1
    rows = [row for row in samples_table() if row.number == number]
    for one, entry, row in zip(explained, entries, rows, strict=True):
        assert one["place"] == f"{entry['topic']}/{entry['partition']}/{entry['from_offset']}"
        assert (one["event"], one["revision"]) == (entry["event"], entry["revision"]) == (row.event, row.revision)
        assert one["delivered"] == entry["delivered"].split() == sorted(row.to)
        assert one["ended"] == entry["ended"].split() == sorted(row.ended)
        assert one["withheld"] == {reason: codes.split() for reason, codes in entry["withheld"].items()}
        assert one["withheld"] == {reason: sorted(bureaus) for reason, bureaus in row.withheld.items()}


def test_status_of_a_notice_names_each_delivery(demo: RunningDemo) -> None:
    """`status NUMBER` has a row for each bureau and message that the ledger enters, all acknowledged."""
    number = "ci-n-2026-002001"
    rows = deliveries(demo, number)
    found = [(row["revision"], row["event"], row["bureau"], row["how"]) for row in rows]

    expected = [
        (entry["revision"], entry["event"], bureau, how)
        for entry in entries_of(demo.history.read("ledger."), number)
        for how in ("delivered", "ended")
        for bureau in entry[how].split()
    ]
    assert sorted(found) == sorted(expected)
    assert all(row["received_at"] for row in rows)


def test_a_bureau_lists_and_shows_what_it_holds(demo: RunningDemo) -> None:
    """`bureau CODE list` has each notice of its inbox once; `show` has the latest revision whole, and no ended one."""
    inbox = [one for one in demo.history.read("inbox.sn") if one.topic == "inbox.sn" and one.subject != "outcome"]
    listed = {one["number"]: one for one in demo.run("bureau", "sn", "list", "--json").expect(0).json}

    assert {record.value["number"] for record in inbox} <= listed.keys()
    held = next(one for one in listed.values() if one["held"])
    shown = demo.run("bureau", "sn", "show", held["number"]).expect(0).json
    latest = [one for one in inbox if one.value["number"] == held["number"]][-1]
    assert (shown["event"], shown["revision"]) == (latest.value["event"], latest.value["revision"])
    assert shown["message"]["message_id"] == str(latest.value["message_id"])
    ended = next(one for one in listed.values() if not one["held"])
    assert "message" not in demo.run("bureau", "sn", "show", ended["number"]).expect(0).json
    demo.run("bureau", "sn", "show", "zw-n-2019-000001").expect(1)


def listening(demo: RunningDemo, bureau: str, *argv: str) -> subprocess.Popen[str]:
    """Start `bureau CODE listen`, and wait until it has taken over from the demo's client of this bureau."""
    with sqlite3.connect(f"file:{demo.demo.data}/bureaus/{bureau}.db?mode=ro", uri=True) as state:
        (before,) = state.execute("SELECT epoch FROM client").fetchone()
        listener = subprocess.Popen(
            [COMMAND, "bureau", bureau, "listen", *argv, "--data", demo.demo.data],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        eventually(
            lambda: state.execute("SELECT epoch FROM client").fetchone() > (before,) or listener.poll() is not None,
            seconds=90,
            what="the listener takes over",
        )
    state.close()
    return listener


async def test_a_new_diffusion_arrives_and_is_acknowledged(demo: RunningDemo, tmp_path: Path) -> None:
    """What a bureau publishes is shown by another's `listen`, accepted by both whom it names, and on the board."""
    number = "zw-d-2026-900001"
    file = a_file(
        tmp_path,
        a_sample("br-d-2026-000901", "sent", number=number, circulation={"scope": "bureaus", "bureaus": ["ke", "gh"]}),
    )
    before = demo.run("status", "--json").expect(0).json["total"]
    explained = demo.run("explain", file, "--json").expect(0).json
    listener = listening(demo, "ke", "--accept", "--count", "1", "--json")

    published = demo.run("publish", file, "--as", "zw", "--wait", "--json").expect(0).json

    out, err = listener.communicate(timeout=90)
    heard = json.loads(Finished(listener.returncode, out, err).expect(0).out)
    (message,) = published["messages"]
    assert published["summary"] == {"published": 1, "routed": 1}
    assert message["outcome"]["given"] == 2
    assert explained[0]["delivered"] == ["gh", "ke"]
    assert (heard["number"], heard["origin"], heard["kind"]) == (number, message["origin"], "message")
    assert heard["content"]["message_id"] == message["message_id"]
    eventually(
        lambda: [row["stage"] for row in deliveries(demo, number)] == ["accepted", "accepted"],
        seconds=60,
        what="both have accepted it",
    )
    actors = {row["bureau"]: row["actor"] for row in deliveries(demo, number)}
    assert actors["ke"] == "noticewire-cli" != actors["gh"]
    (entry,) = entries_of(await read(demo.kafka, "ledger.africa"), number)
    assert entry["delivered"] == "gh ke"
    after = demo.run("status", "--json").expect(0).json["total"]
    added = {name: after[name] - before[name] for name in ("messages", "due", "received", "outstanding")}
    assert added == {"messages": 1, "due": 2, "received": 2, "outstanding": 0}


async def test_a_subscription_takes_effect(demo: RunningDemo, tmp_path: Path) -> None:
    """A bureau that wants yellow notices only is given no purple one, which its neighbour is; the log shows why."""
    differing = {"number": "be-n-2026-900002", "circulation": {"scope": "all"}}
    file = a_file(tmp_path, *(a_sample("be-n-2026-000601", event, **differing) for event in ("requested", "published")))
    version = demo.run("directory", "show", "mw", "--json").expect(0).json["version"]

    said = demo.run("bureau", "mw", "subscribe", "--region", "africa", "--type", "yellow", "--offence", "thb").expect(0)
    demo.run("publish", file, "--wait").expect(0)

    assert f"in effect, version {version + 1}" in said.out
    entry = entries_of(await read(demo.kafka, "ledger.europe"), "be-n-2026-900002")[-1]
    assert "zm" in entry["delivered"].split()
    assert "mw" not in entry["delivered"].split()
    shown = demo.run("directory", "show", "mw", "--json").expect(0).json
    assert [(one["regions"], one["types"], one["offences"]) for one in shown["subscriptions"]] == [
        (["africa"], ["yellow"], ["thb"])
    ]
    (change,) = (one for one in demo.run("directory", "log", "--json").expect(0).json if one["author"] == "mw")
    assert (change["kind"], change["code"], change["took_effect"]) == ("subscriptions_set", "mw", True)


def test_the_directory_lists_everybody(demo: RunningDemo) -> None:
    """`directory list` has the 226 bureaus and the two services, as founded."""
    listed = demo.run("directory", "list", "--json").expect(0).json

    assert len(listed["bureaus"]) == 228
    assert {one["code"] for one in listed["bureaus"]} >= {"ipsg", "zw", "broker", "audit"}


def test_the_topics_are_as_planned(demo: RunningDemo) -> None:
    """`topics plan` finds no drift on what the demo made."""
    planned = demo.run("topics", "plan", "--json").expect(0).json

    assert planned["drift"] == []
    assert planned["planned"] >= 226 + 6 * 5


async def test_bad_input_is_refused_and_nothing_written(demo: RunningDemo, tmp_path: Path) -> None:
    """Each broken entry is named with its place, field and rule; the feeds hold what they held."""
    feeds = [topic for topic in demo.history.topics if topic.startswith(("notices.", "diffusions."))]
    before = len(await read(demo.kafka, *feeds))
    number = "zw-d-2026-900003"
    file = a_file(
        tmp_path,
        a_sample("br-d-2026-000901", "sent", number=number, circulation={"scope": "bureaus", "bureaus": ["qq"]}),
        a_sample("br-d-2026-000901", "sent", number=number, retained_until="2031-02-30"),
    )

    refused = demo.run("publish", file, "--wait", "--json").expect(1).json

    assert refused["summary"] == {"refused": 2}
    places = sorted((one["place"], one["refused"][0]["field"]) for one in refused["messages"])
    assert places == [(f"{file}[entry 1]", "circulation.bureaus[0]"), (f"{file}[entry 2]", "retained_until")]
    assert all(one["rule"] and one["problem"] for message in refused["messages"] for one in message["refused"])
    assert len(await read(demo.kafka, *feeds)) == before


@pytest.mark.parametrize(
    "argv",
    [["explain", "no-such-file"], ["status", "--colour"], ["bureau", "zw", "subscribe", "--region", "atlantis"]],
    ids=["neither file nor number", "no such option", "no such region"],
)
def test_misuse_ends_with_2(demo: RunningDemo, argv: list[str]) -> None:
    """What a command cannot understand ends with 2 and one clear line, and changes nothing."""
    ended = demo.run(*argv).expect(2)

    assert ended.err.strip()
    assert "Traceback" not in ended.err
