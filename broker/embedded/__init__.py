"""Apache Kafka on this machine, without root and without containers."""

from broker.embedded.cluster import EmbeddedCluster
from broker.embedded.kafka import EmbeddedKafka

__all__ = ["EmbeddedCluster", "EmbeddedKafka"]
