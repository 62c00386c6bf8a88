// Kafka Streams as the contestant of `cargo xtask bench analysis`: counts records per key and minute, exactly once.
//
// Arguments: brokers, application id, input topic, output topic, state folder, what is emitted, the store, then settings as NAME=VALUE.
// What is emitted: `suppress` and `on-close`, one result for each key and minute when the window closes; `updates`, each change that
// leaves the cache. The store: `rocksdb` or `memory`. Results have the same bytes as those of wasmill's std:aggregate. It tells on stdout
// when it runs and when it has restored; a line on stdin, or the end of stdin, ends it.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.WindowStore;

public final class CountPerMinute {
    private static final Duration SIZE = Duration.ofMinutes(1);
    private static final Duration GRACE = Duration.ofSeconds(10);

    public static void main(String[] arguments) throws Exception {
        String input = arguments[2];
        String output = arguments[3];
        String emit = arguments[5];
        boolean inMemory = arguments[6].equals("memory");

        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        // Else `on-close` looks for closed windows once a second only, and the last ones would wait for a record that doesn't come.
        settings.put("__emit.interval.ms.kstreams.windowed.aggregation__", 0L);
        for (int i = 7; i < arguments.length; i++) {
            String[] setting = arguments[i].split("=", 2);
            settings.put(setting[0], setting[1]);
        }

        StreamsBuilder builder = new StreamsBuilder();
        TimeWindowedKStream<Bytes, byte[]> windowed = builder
            .stream(input, Consumed.with(Serdes.Bytes(), Serdes.ByteArray()))
            .groupByKey(Grouped.with(Serdes.Bytes(), Serdes.ByteArray()))
            .windowedBy(TimeWindows.ofSizeAndGrace(SIZE, GRACE));
        if (emit.equals("on-close")) {
            windowed = windowed.emitStrategy(EmitStrategy.onWindowClose());
        }
        Materialized<Bytes, Long, WindowStore<Bytes, byte[]>> store =
            Materialized.<Bytes, Long, WindowStore<Bytes, byte[]>>as("counts")
                .withKeySerde(Serdes.Bytes())
                .withValueSerde(Serdes.Long());
        if (inMemory) {
            store = store.withStoreType(Materialized.StoreType.IN_MEMORY);
        }
        KTable<Windowed<Bytes>, Long> counts = windowed.count(store);
        if (emit.equals("suppress")) {
            counts = counts.suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()));
        }
        counts.toStream()
            .map((key, count) -> KeyValue.pair(key.key(), result(key, count)))
            .to(output, Produced.with(Serdes.Bytes(), Serdes.ByteArray()));

        KafkaStreams streams = new KafkaStreams(builder.build(settings), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.ERROR) {
                Runtime.getRuntime().halt(1);
            }
            System.out.println("state " + now);
        });
        streams.setGlobalStateRestoreListener(new Restores());
        streams.start();
        System.in.read();
        streams.close(Duration.ofSeconds(20));
        System.exit(0);
    }

    /** What std:aggregate writes for the key and the window. */
    private static byte[] result(Windowed<Bytes> key, long count) {
        Span span = Span.at(key.window().start());
        byte[] name = key.key().get();
        byte[] number = Long.toString(count).getBytes(StandardCharsets.US_ASCII);
        byte[] json = new byte[KEY.length + name.length + span.text.length + number.length + 1];
        int at = put(json, 0, KEY);
        at = put(json, at, name);
        at = put(json, at, span.text);
        at = put(json, at, number);
        json[at] = '}';
        return json;
    }

    private static final byte[] KEY = "{\"key\":\"".getBytes(StandardCharsets.US_ASCII);

    private static int put(byte[] into, int at, byte[] bytes) {
        System.arraycopy(bytes, 0, into, at, bytes.length);
        return at + bytes.length;
    }

    /** The text of a window. That of the last one is kept: results come window by window. */
    private static final class Span {
        private static final DateTimeFormatter TIME = new DateTimeFormatterBuilder().appendInstant(3).toFormatter();
        private static volatile Span last = new Span(Long.MIN_VALUE, new byte[0]);

        private final long start;
        private final byte[] text;

        private Span(long start, byte[] text) {
            this.start = start;
            this.text = text;
        }

        static Span at(long start) {
            Span span = last;
            if (span.start != start) {
                String from = TIME.format(Instant.ofEpochMilli(start));
                String to = TIME.format(Instant.ofEpochMilli(start + SIZE.toMillis()));
                String text = "\",\"from\":\"" + from + "\",\"to\":\"" + to + "\",\"orders\":";
                span = new Span(start, text.getBytes(StandardCharsets.US_ASCII));
                last = span;
            }
            return span;
        }
    }

    /** Tells what was restored, of all stores and partitions, from the first start to the end that was the last so far. */
    private static final class Restores implements StateRestoreListener {
        private final AtomicLong began = new AtomicLong();
        private final AtomicLong records = new AtomicLong();

        @Override
        public void onRestoreStart(TopicPartition partition, String store, long from, long to) {
            began.compareAndSet(0, System.nanoTime());
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long upto, long count) {
        }

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long total) {
            long all = records.addAndGet(total);
            System.out.println("restored " + all + " in ms " + (System.nanoTime() - began.get()) / 1_000_000);
        }
    }
}
