"""Topics and configs over librdkafka.

The only package that imports confluent_kafka. Group offsets go through `replicator.wire`, because
`list_consumer_group_offsets` of confluent-kafka 2.16 cannot read Kafka Streams' commit metadata.

Imports `wire`, `core` and `model`. Begin with `topics.py`; `client.py` bounds each call, `faults.py` classifies errors.
"""
