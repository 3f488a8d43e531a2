"""A small TCP proxy in front of Kafka's nodes: cuts connections, delays, and holds back a chosen request.

It reads the header of each request (api key, correlation id, client id), and of transactions whose they are. The nodes
must advertise its addresses (`EmbeddedCluster(advertised=...)`), or clients would go past it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka.protocol.api import Request
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest

_HOST = "127.0.0.1"

_PRODUCER_AT = 43
"""Where a record batch (format 2) has its producer's id, and then the epoch."""


class Api(IntEnum):
    """Requests that are worth holding back, by the key that Kafka's protocol gives them."""

    PRODUCE = 0
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26


_REQUESTS: dict[int, type[Request[Any]]] = {
    Api.PRODUCE: ProduceRequest,
    Api.INIT_PRODUCER_ID: InitProducerIdRequest,
    Api.ADD_PARTITIONS_TO_TXN: AddPartitionsToTxnRequest,
    Api.END_TXN: EndTxnRequest,
}


class Producer(NamedTuple):
    """Whose a transaction is: of one transactional id, the newer has the higher epoch, and the older is fenced."""

    id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Passing:
    """A request that passes."""

    api: int
    version: int
    correlation_id: int
    client_id: str
    frame: bytes
    """Whole, with its length before it."""

    @classmethod
    def parse(cls, frame: bytes) -> Passing:
        """Read the header."""
        api, version, correlation_id, length = struct.unpack_from(">hhih", frame, 4)
        client_id = frame[14 : 14 + max(length, 0)].decode()
        return cls(api, version, correlation_id, client_id, frame)

    @property
    def asks_for_producer(self) -> bool:
        """Whether it is aiokafka's request for a producer id, which fences whoever had the transactional id before."""
        return self.api == Api.INIT_PRODUCER_ID and self.version == 0

    @property
    def producer(self) -> Producer:
        """Whose it is, of a request of a transaction or a record batch."""
        body = self._structure().decode(BytesIO(self.frame[14 + len(self.client_id.encode()) :]))
        if self.api != Api.PRODUCE:
            return Producer(body.producer_id, body.producer_epoch)
        _, [(_, batch), *_] = body.topics[0]
        return Producer(*struct.unpack_from(">qh", batch, _PRODUCER_AT))

    def answer(self, frame: bytes) -> Any:
        """Read the node's answer to it."""
        return self._structure().RESPONSE_TYPE.decode(BytesIO(frame[8:]))

    def _structure(self) -> Any:
        """Return aiokafka's own definition of it."""
        [structure] = [one for one in _REQUESTS[self.api]._CLASSES if self.version == one.API_VERSION]
        return structure


class Way(StrEnum):
    """What a trap does to its request."""

    HOLD = "hold"
    """It waits until it is delivered."""
    LOSE_ANSWER = "lose answer"
    """It takes effect, and the connection breaks instead of an answer."""


class Trap:
    """Waits for the next request of a kind from a client; made by `Wire.hold` and `Wire.lose_answer`.

    Attributes:
        sprung: the request has come.
        given_up: its client has closed the connection while it was held back.
        taken_over: a successor of its client was given a producer id: by then, or already when the request came.
    """

    def __init__(self, api: Api, client: str, way: Way) -> None:
        self._api = api
        self._client = client
        self.way = way
        self.request: Passing | None = None
        self.sprung = asyncio.Event()
        self.given_up = asyncio.Event()
        self.taken_over = asyncio.Event()
        self.released = asyncio.Event()
        self._send: Callable[[bytes], None] | None = None
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answer.add_done_callback(lambda done: done.cancelled() or done.exception())

    def concerns(self, request: Passing) -> bool:
        """Whether this is the one."""
        return self.request is None and request.api == self._api and self._client in request.client_id

    def spring(self, request: Passing, send: Callable[[bytes], None]) -> None:
        """Note the request, and the way to the node that it was for."""
        self.request, self._send = request, send
        self.sprung.set()

    def take_answer(self, frame: bytes) -> bool:
        """Keep the node's answer, if it is one to this request."""
        if self.request is None or struct.unpack_from(">i", frame, 4)[0] != self.request.correlation_id:
            return False
        if not self._answer.done():
            self._answer.set_result(frame)
        return True

    def lose(self) -> None:
        """The node has closed the connection: no answer will come."""
        if not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the node closed the connection"))
        self.given_up.set()

    async def deliver(self, *, within: float = 60) -> list[int]:
        """Let the request that was held back arrive at its node, on the connection that it was sent on.

        Returns:
            The error codes that the node answers it with, one a partition; 0 means that it took effect.

        Raises:
            ConnectionResetError: the node was killed meanwhile.
        """
        assert self.request is not None
        assert self._send is not None
        self._send(self.request.frame)
        self.released.set()
        async with asyncio.timeout(within):
            return _errors(self.request, await self._answer)


def _errors(request: Passing, frame: bytes) -> list[int]:
    """The error codes in an answer, as aiokafka's own definitions read it."""
    answer = request.answer(frame)
    if request.api == Api.END_TXN:
        return [answer.error_code]
    parts = answer.topics if request.api == Api.PRODUCE else answer.errors
    return [error for _, partitions in parts for _, error, *_ in partitions]


@dataclass(eq=False)
class _Connection:
    """A client's connection, and the one to the node that belongs to it."""

    wire: Wire
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    node: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    traps: list[Trap] = field(default_factory=list)
    asked: dict[int, Passing] = field(default_factory=dict)
    """Requests for producer ids without an answer yet, by correlation id."""

    async def run(self) -> None:
        """Pass on what comes, until either side closes; the node's side stays open for what is held back."""
        answers = asyncio.create_task(self._answers())
        try:
            await self._requests()
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            self.cut()

    def cut(self) -> None:
        """Close both sides at once, as a network that breaks does."""
        for _, writer in (self.client, self.node):
            writer.transport.abort()

    async def _requests(self) -> None:
        held: Trap | None = None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = Passing.parse(await _frame(self.client[0]))
                await self.wire.passing()
                if request.asks_for_producer:
                    self.asked[request.correlation_id] = request
                trap = self.wire.trap_for(request)
                if trap is not None:
                    self.traps.append(trap)
                    trap.spring(request, self.node[1].write)
                    self.wire.note_sprung(trap)
                    if trap.way is Way.HOLD:
                        held = trap
                        break
                self.node[1].write(request.frame)
                await self.node[1].drain()
        if held is None:
            return
        with contextlib.suppress(ConnectionError):
            while await self.client[0].read(65_536):  # what comes behind it waits, as on any connection
                pass
        held.given_up.set()
        await held.released.wait()
        with contextlib.suppress(OSError):
            await held._answer

    async def _answers(self) -> None:
        try:
            while True:
                frame = await _frame(self.node[0])
                await self.wire.passing()
                caught = [trap for trap in self.traps if trap.take_answer(frame)]
                if any(trap.way is Way.LOSE_ANSWER for trap in caught):
                    break  # its answer is lost, with the connection
                asked = self.asked.pop(struct.unpack_from(">i", frame, 4)[0], None)
                if asked is not None:
                    self.wire.note_answered(asked, frame)
                if not caught:
                    self.client[1].write(frame)
                    await self.client[1].drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        for trap in self.traps:
            trap.lose()
            trap.released.set()
        self.cut()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack(">i", length)[0])


class Wire:
    """One proxy for each node of a cluster; made by `wired`.

    Attributes:
        advertised: where the proxies listen, `host:port` by the node's number.
        cuts: how many connections were cut.
        delay_seconds: how long each request and each answer waits.
    """

    def __init__(self) -> None:
        self.advertised: dict[int, str] = {}
        self.cuts = 0
        self.delay_seconds = 0.0
        self._nodes: dict[int, tuple[str, int]] = {}
        self._connections: dict[_Connection, int] = {}
        self._traps: list[Trap] = []
        self._sprung: list[Trap] = []
        self._producers: dict[str, Producer] = {}
        self._servers: list[asyncio.Server] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, nodes: int) -> None:
        """Listen, on a free port for each node."""
        for node in range(1, nodes + 1):
            server = await asyncio.start_server(partial(self._serve, node), _HOST, 0)
            self._servers.append(server)
            self.advertised[node] = f"{_HOST}:{server.sockets[0].getsockname()[1]}"

    def lead_to(self, node: int, address: str) -> None:
        """Say where a node itself listens."""
        host, _, port = address.partition(":")
        self._nodes[node] = (host, int(port))

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return ",".join(self.advertised.values())

    def hold(self, api: Api, *, client: str) -> Trap:
        """Hold back the next such request of a client (by a part of its client id), until it is delivered."""
        return self._set(Trap(api, client, Way.HOLD))

    def lose_answer(self, api: Api, *, client: str) -> Trap:
        """Let the next such request take effect, and break the connection instead of passing on the answer."""
        return self._set(Trap(api, client, Way.LOSE_ANSWER))

    def note_sprung(self, trap: Trap) -> None:
        """A request went into a trap; its client may be fenced already, and not know it."""
        self._sprung.append(trap)
        self._see_taken_over()

    def note_answered(self, request: Passing, frame: bytes) -> None:
        """A node has answered a request for a producer id."""
        answer = request.answer(frame)
        if answer.error_code == 0:
            given = Producer(answer.producer_id, answer.producer_epoch)
            self._producers[request.client_id] = max(given, self._producers.get(request.client_id, given))
            self._see_taken_over()

    def _see_taken_over(self) -> None:
        for trap in self._sprung:
            assert trap.request is not None
            newest = self._producers.get(trap.request.client_id)
            if newest is not None and trap.request.producer < newest:
                trap.taken_over.set()

    def cut(self, node: int | None = None) -> int:
        """Break all connections to a node, or to all; returns how many."""
        broken = [one for one, at in self._connections.items() if node in (None, at)]
        for connection in broken:
            connection.cut()
        self.cuts += len(broken)
        return len(broken)

    def stall(self) -> None:
        """Let nothing pass, with every connection open."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything pass again."""
        self._flowing.set()

    def disarm(self, trap: Trap) -> None:
        """Take away a trap into which nothing went."""
        with contextlib.suppress(ValueError):
            self._traps.remove(trap)

    async def passing(self) -> None:
        """Wait, where nothing may pass at the moment."""
        await self._flowing.wait()
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)

    def trap_for(self, request: Passing) -> Trap | None:
        """The trap that a request goes into, if there is one."""
        for trap in self._traps:
            if trap.concerns(request):
                self._traps.remove(trap)
                return trap
        return None

    async def close(self) -> None:
        """Break everything, and listen no more."""
        for server in self._servers:
            server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _set(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        return trap

    def _serve(self, node: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(node, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, node: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._nodes[node])
        except OSError:  # the node is away, and so its address refuses
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, writer), upstream)
        self._connections[connection] = node
        try:
            await connection.run()
        finally:
            del self._connections[connection]


@contextlib.asynccontextmanager
async def wired(nodes: int) -> AsyncIterator[Wire]:
    """Open proxies for so many nodes."""
    wire = Wire()
    await wire.open(nodes)
    try:
        yield wire
    finally:
        await wire.close()
