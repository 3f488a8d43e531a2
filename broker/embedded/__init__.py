"""Apache Kafka on this machine, without root and without containers."""
