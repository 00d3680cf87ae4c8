// Writes the files java-*.bin beside this one: one record batch per codec, as Apache Kafka's own
// client library makes it. To write them again, with kafka-clients, lz4-java, snappy-java, zstd-jni
// and slf4j-api in libs/:
//   java -cp 'libs/*' format/tests/golden/WriteBatches.java format/tests/golden
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;

public class WriteBatches {
    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Records with nulls, empties and duplicate header keys, then `repetitive` that compress well. */
    static byte[] batch(CompressionType type, int repetitive) {
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 20),
            RecordBatch.MAGIC_VALUE_V2, Compression.of(type).build(), TimestampType.CREATE_TIME,
            0L, RecordBatch.NO_TIMESTAMP, 4711L, (short) 3, 42, false, -1);
        Header[] headers = {
            new RecordHeader("h", bytes("1")), new RecordHeader("h", bytes("2")),
            new RecordHeader("h", (byte[]) null), new RecordHeader("", new byte[0]),
        };
        builder.append(1700000000000L, (byte[]) null, null, headers);
        builder.append(1700000000500L, new byte[0], new byte[0]);
        builder.append(5L, bytes("k"), bytes("v"));
        for (int i = 0; i < repetitive; i++)
            builder.append(1700000000000L + i, bytes("key-" + i), bytes("value ".repeat(100) + i));
        ByteBuffer batch = builder.build().buffer();
        byte[] out = new byte[batch.remaining()];
        batch.get(out);
        return out;
    }

    public static void main(String[] args) throws Exception {
        for (CompressionType type : CompressionType.values()) {
            // More than one block of snappy (32 KiB) and lz4 (64 KiB).
            int repetitive = type == CompressionType.NONE ? 0 : 200;
            Files.write(Path.of(args[0], "java-" + type.name + ".bin"), batch(type, repetitive));
        }
    }
}
