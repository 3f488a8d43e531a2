"""Three Apache Kafka nodes on this machine, for tests that take one away; each is broker and controller in one.

The data folder holds a folder for each node (see `EmbeddedKafka`) and `cluster.json`: its id, and which ports the nodes
know each other by.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.embedded.kafka import EmbeddedKafka, brokers_of, choose_port, new_cluster_id
from broker.embedded.properties import HOST, PORTS_PER_NODE, Seat
from broker.errors import UnavailableError

_HEAP_MB = 400
"""Each; three of them run beside everything else."""

_TOGETHER_SECONDS = 60.0
"""How long the nodes, each of which serves, may take to hear of each other."""


def _quiet(_: str) -> None:
    """Report no progress."""


class EmbeddedCluster:
    """A cluster in which one node of three may be away: topics have three replicas, two of which must have a record.

    All of it ends when this process ends. Synchronous: from asyncio, call the methods with `asyncio.to_thread`.

    Args:
        data: its folder, made if it is not there.
        nodes: how many; they are numbered from 1.
        heap_mb: each JVM's largest heap, in MiB.
        advertised: `host:port` that a node tells clients, by its number, instead of its own: a proxy's.
        progress: is told what goes on, a line at a time.
        cache: where the jars are kept; by default the folder that all checkouts share.
        settings: Kafka's own settings, for every node.

    Attributes:
        nodes: by number.
    """

    def __init__(
        self,
        data: Path,
        *,
        nodes: int = 3,
        heap_mb: int = _HEAP_MB,
        advertised: Mapping[int, str] | None = None,
        progress: Callable[[str], None] = _quiet,
        cache: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        numbers = range(1, nodes + 1)
        self._cluster_id, self._ports = _plan(data, numbers)
        self._advertised = dict(advertised or {})
        self.nodes = {
            node: EmbeddedKafka(
                data / f"node-{node}",
                heap_mb=heap_mb,
                progress=progress,
                cache=cache,
                settings=settings,
                seat=Seat(
                    node=node,
                    ports=self._ports,
                    cluster_id=self._cluster_id,
                    advertised=self._advertised.get(node),
                ),
            )
            for node in numbers
        }

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect, all nodes; the same after `kill` and `restart`."""
        return ",".join(self._advertised.get(node, self.own_address(node)) for node in self.nodes)

    def own_address(self, node: int) -> str:
        """Where a node itself listens for clients: what a proxy in front of it connects to."""
        return f"{HOST}:{self._ports[node]}"

    def start(self) -> None:
        """Start every node that does not run, and return when all of them are registered and serve.

        Raises:
            UnavailableError: one did not start (with the end of its log). None runs then.
        """
        try:
            self._at_once(EmbeddedKafka.start)  # none is ready without most of the others
            self._await_all()
        except BaseException:
            self._at_once(EmbeddedKafka.kill)
            raise

    def stop(self) -> None:
        """Stop every node; idempotent."""
        self._at_once(EmbeddedKafka.stop)

    def kill(self, node: int) -> None:
        """SIGKILL to one node; the others go on, if they are more than half."""
        self.nodes[node].kill()

    def restart(self, node: int) -> None:
        """Start a node that was killed or stopped, on the same data and ports; returns when it is registered again.

        Raises:
            UnavailableError: it did not start.
        """
        self.nodes[node].start()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _at_once(self, work: Callable[[EmbeddedKafka], None]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            done = [pool.submit(work, kafka) for kafka in self.nodes.values()]
        for one in done:
            one.result()

    def _await_all(self) -> None:
        deadline = time.monotonic() + _TOGETHER_SECONDS
        while lacking := self._lacking():
            if time.monotonic() > deadline:
                message = f"the nodes of the cluster have not found each other: these lack those: {lacking}"
                raise UnavailableError(message)
            time.sleep(0.1)

    def _lacking(self) -> dict[int, list[int]]:
        """Which others a node has not heard of, by its number."""
        found = {node: sorted(self.nodes.keys() - brokers_of(self.own_address(node))) for node in self.nodes}
        return {node: others for node, others in found.items() if others}


def _plan(data: Path, numbers: Iterable[int]) -> tuple[str, dict[int, int]]:
    """What the nodes call the cluster and where they find each other: as the folder says, or chosen now."""
    file = data / "cluster.json"
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        return known["id"], {int(node): port for node, port in known["ports"].items()}
    ports: dict[int, int] = {}
    for node in numbers:
        port = choose_port()
        while any(abs(port - other) < PORTS_PER_NODE for other in ports.values()):
            port = choose_port()
        ports[node] = port
    cluster_id = new_cluster_id()
    data.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"id": cluster_id, "ports": ports}), encoding="utf-8")
    return cluster_id, ports
