import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;

/** Sums numbers by their last digit: over a repartition topic and a state store, exactly once. */
public class Job {
  public static void main(String[] args) throws Exception {
    String bootstrap = args[0], application = args[1], input = args[2], output = args[3], state = args[4];
    Properties config = new Properties();
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
    config.put(StreamsConfig.STATE_DIR_CONFIG, state);
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100");
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "2");
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
    config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
    config.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.String().getClass());
    config.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.String().getClass());
    config.put("consumer.auto.offset.reset", "earliest");
    config.put("consumer.session.timeout.ms", "6000");
    config.put("producer.transaction.timeout.ms", "10000");

    StreamsBuilder builder = new StreamsBuilder();
    builder.<String, String>stream(input)
        .map((key, value) -> KeyValue.pair(value.substring(value.length() - 1), value))
        .groupByKey(Grouped.as("digits"))
        .aggregate(
            () -> "0/0",
            (key, value, sum) -> {
              String[] parts = sum.split("/");
              return (Long.parseLong(parts[0]) + 1) + "/" + (Long.parseLong(parts[1]) + Long.parseLong(value));
            },
            Materialized.as("sums"))
        .toStream()
        .to(output);
    KafkaStreams streams = new KafkaStreams(builder.build(), config);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.setStateListener((now, before) -> System.out.println(now));
    streams.start();
  }
}
