import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ScheduledFuture;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.ControlRecordType;
import org.apache.kafka.common.record.EndTransactionMarker;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.SimpleRecord;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.RequestLocal;
import org.apache.kafka.server.util.Scheduler;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.Cleaner;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogSegment;
import org.apache.kafka.storage.internals.log.LogToClean;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.SkimpyOffsetMap;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.log.VerificationGuard;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * What compaction/src/clean/round/kafka.txt was recorded with:
 * java -cp "$DEPS/classes:$DEPS/jars/*" Cleaning compaction/src/clean/round/kafka.txt
 *
 * Runs the steps of a file on a log of Apache Kafka with its own Cleaner, and prints the file with what Kafka left
 * after each round: lines that begin with '>'. Those of the input are left out.
 */
public final class Cleaning {
    private static final long RETENTION_MS = 1_000;

    private final UnifiedLog log;
    private final Map<Long, Integer> sequences = new HashMap<>();
    private long now = 1_000_000;
    private long firstDirty = 0;

    private Cleaning(File folder) throws Exception {
        Properties properties = new Properties();
        // Records without a key are from before a topic was compacted; the Cleaner itself does not ask.
        properties.put("cleanup.policy", "delete");
        properties.put("delete.retention.ms", Long.toString(RETENTION_MS));
        log = UnifiedLog.create(new File(folder, "log-0"), new LogConfig(properties), 0, 0, new Never(),
            new BrokerTopicStats(), Time.SYSTEM, 900_000, new ProducerStateManagerConfig(Integer.MAX_VALUE, false),
            Integer.MAX_VALUE, new LogDirFailureChannel(1), true, Optional.of(Uuid.randomUuid()));
    }

    /** Nothing that a log would do later is done. */
    private static final class Never implements Scheduler {
        @Override
        public void startup() {
        }

        @Override
        public void shutdown() {
        }

        @Override
        public ScheduledFuture<?> schedule(String name, Runnable task, long delayMs, long periodMs) {
            return null;
        }

        @Override
        public void resizeThreadPool(int size) {
        }
    }

    public static void main(String[] arguments) throws Exception {
        Cleaning cleaning = null;
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            if (line.startsWith(">")) {
                continue;
            }
            System.out.println(line);
            String[] words = line.split(" ");
            if (line.isEmpty() || words[0].equals("#")) {
                continue;
            }
            if (words[0].equals("log")) {
                cleaning = new Cleaning(Files.createTempDirectory("cleaning").toFile());
            } else {
                cleaning.step(words);
            }
        }
    }

    private void step(String[] words) throws Exception {
        switch (words[0]) {
            case "write" -> write(Long.parseLong(words[1]), false, words);
            case "transact" -> write(Long.parseLong(words[1]), true, words);
            case "commit" -> mark(Long.parseLong(words[1]), ControlRecordType.COMMIT);
            case "abort" -> mark(Long.parseLong(words[1]), ControlRecordType.ABORT);
            case "roll" -> log.roll();
            case "wait" -> now += Long.parseLong(words[1]);
            case "clean" -> clean();
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    private void write(long producer, boolean transactional, String[] words) throws Exception {
        long offset = log.logEndOffset();
        List<SimpleRecord> records = new ArrayList<>();
        for (int i = 2; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            byte[] key = pair[0].isEmpty() ? null : pair[0].getBytes(StandardCharsets.UTF_8);
            byte[] value = pair[1].isEmpty() ? null : pair[1].getBytes(StandardCharsets.UTF_8);
            records.add(new SimpleRecord(offset + i - 2, key, value));
        }
        SimpleRecord[] all = records.toArray(new SimpleRecord[0]);
        if (producer == 0) {
            log.appendAsLeader(MemoryRecords.withRecords(Compression.NONE, all), 0, AppendOrigin.REPLICATION);
            return;
        }
        int sequence = sequences.getOrDefault(producer, 0);
        sequences.put(producer, sequence + all.length);
        MemoryRecords batch = transactional
            ? MemoryRecords.withTransactionalRecords(Compression.NONE, producer, (short) 0, sequence, all)
            : MemoryRecords.withIdempotentRecords(Compression.NONE, producer, (short) 0, sequence, all);
        log.appendAsLeader(batch, 0, AppendOrigin.REPLICATION);
    }

    private void mark(long producer, ControlRecordType type) throws Exception {
        MemoryRecords marker = MemoryRecords.withEndTransactionMarker(log.logEndOffset(), producer, (short) 0,
            new EndTransactionMarker(type, 0));
        log.appendAsLeader(marker, 0, AppendOrigin.COORDINATOR, RequestLocal.noCaching(), VerificationGuard.SENTINEL,
            (short) 1);
    }

    private void clean() throws Exception {
        Cleaner cleaner = new Cleaner(0, new SkimpyOffsetMap(1 << 20), 1 << 20, 1 << 20, 0.9,
            new Throttler(Double.MAX_VALUE, Long.MAX_VALUE, "throttler", "entries", Time.SYSTEM), Time.SYSTEM,
            partition -> { });
        // What the broker does as time passes: markers and aborted transactions count below the high watermark.
        log.updateHighWatermark(log.logEndOffset());
        firstDirty = cleaner.doClean(new LogToClean(log, firstDirty, log.activeSegment().baseOffset(), false), now).getKey();
        for (LogSegment segment : log.logSegments()) {
            for (RecordBatch batch : segment.log().batches()) {
                StringBuilder line = new StringBuilder("> ");
                line.append(batch.baseOffset()).append("..").append(batch.lastOffset());
                line.append(" producer ").append(Math.max(0, batch.producerId()));
                line.append(" sequence ").append(batch.baseSequence());
                line.append(" horizon ").append(batch.deleteHorizonMs().isPresent() ? batch.deleteHorizonMs().getAsLong() : 0);
                line.append(batch.isControlBatch() ? " marker" : "");
                for (Record record : batch) {
                    line.append(' ').append(record.offset());
                    if (!batch.isControlBatch()) {
                        line.append(':').append(text(record.key())).append('=').append(text(record.value()));
                    }
                }
                System.out.println(line);
            }
        }
    }

    private static String text(java.nio.ByteBuffer bytes) {
        return bytes == null ? "" : StandardCharsets.UTF_8.decode(bytes).toString();
    }
}
