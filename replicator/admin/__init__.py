"""Topics and configs over librdkafka.

The only package that imports confluent_kafka. Group offsets go through `replicator.wire`, because
`list_consumer_group_offsets` of confluent-kafka 2.16 cannot read Kafka Streams' commit metadata.
"""
