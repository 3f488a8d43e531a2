"""A world in which a record of every kind lies on Kafka: each was put there by the part of the program that does it."""

from __future__ import annotations

from broker.clock import SystemClock
from broker.model.base import new_message_id
from broker.model.change import ChangeKind, Subscription
from broker.model.command import Command, CommandKind
from broker.model.message import Message
from broker.model.naming import Region, Shard, commands
from broker.model.outcome import BROKER
from broker.transport.headers import signed_headers
from broker.trust.signing import RecordKind
from tests.support.builders import a_locate_diffusion, a_red_notice, bureaus
from tests.support.strangers import GARBAGE, Stranger
from tests.support.tracing import accept
from tests.support.world import World

BUREAUS = ("zw", "ke", "fr")


async def a_record_of_every_kind(world: World) -> list[Message]:
    """Put them there, and return the messages that were routed, in order.

    Zimbabwe asks for a notice, which goes to the Secretariat alone; it sends Kenya a diffusion, which Kenya accepts,
    and revises it for France, so that Kenya gets a notice of end; a stranger writes nonsense; Kenya is reminded; and
    the Secretariat changes the directory.
    """
    request = a_red_notice(owner="zw", event="requested")
    sent = a_locate_diffusion(owner="zw", circulation=bureaus("ke"))
    revised = a_locate_diffusion(owner="zw", number=sent.number, event="revised", circulation=bureaus("fr"))
    await world.publish(request)
    [origin] = await world.publish(sent)
    stranger = await Stranger.arrive(world.kafka)
    await stranger.litter("notices.africa", sent.shard.partition, dict(GARBAGE)["random bytes"])
    await stranger.leave()
    await _remind(world, sent, str(origin))
    await world.route(*(Shard(Region.AFRICA, partition) for partition in (0, 1)))
    await accept(world, "ke")
    await world.publish(revised)
    await world.route(sent.shard)
    await world.change("ke", ChangeKind.SUBSCRIPTIONS_SET, subscriptions=(Subscription(),))
    return [request, sent, revised]


async def _remind(world: World, message: Message, origin: str) -> None:
    """Write a command as the tracker does."""
    command = Command(
        command_id=new_message_id(),
        kind=CommandKind.REMINDER,
        number=message.number,
        bureaus=("ke",),
        origin=origin,
        asked_by="tracker",
        asked_at=SystemClock().now(),
    )
    signer = world.keys.signer(BROKER)
    value = world.link.codec.encode(command)
    signature = signer.sign(RecordKind.BROKER, world.installation, value)
    headers = tuple(signed_headers(command, key_id=signer.key_id, signature=signature))
    await world.write(commands(Region.AFRICA), message.number, value, headers)
