import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Apache Kafka Java client behind the same plain text format as client.py beside it. */
public final class Client {
    private static final HexFormat HEX = HexFormat.of();
    private static final PrintWriter OUT = new PrintWriter(
        new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.US_ASCII)));

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[1]);
        for (String pair : Arrays.asList(args).subList(4, args.length)) {
            String[] parts = pair.split("=", 2);
            settings.put(parts[0], parts[1]);
        }
        int code = switch (args[0]) {
            case "produce" -> produce(args[2], Path.of(args[3]), settings);
            case "consume" -> consume(args[2], Long.parseLong(args[3]), settings);
            default -> throw new IllegalArgumentException(args[0]);
        };
        OUT.flush();
        System.exit(code);
    }

    private static int produce(String topic, Path path, Properties settings) throws Exception {
        settings.putIfAbsent("delivery.timeout.ms", "300000");
        settings.putIfAbsent("max.block.ms", "120000");
        double rate = Double.parseDouble((String) settings.getOrDefault("test.rate", "0"));
        settings.remove("test.rate");
        AtomicInteger failed = new AtomicInteger();
        try (KafkaProducer<byte[], byte[]> producer =
                 new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
             BufferedReader lines = Files.newBufferedReader(path)) {
            long start = System.nanoTime();
            String line;
            for (int i = 0; (line = lines.readLine()) != null; i++) {
                while (rate > 0 && i / rate > (System.nanoTime() - start) / 1e9) {
                    Thread.sleep(5);
                }
                int index = i;
                producer.send(parse(topic, line), (metadata, error) -> {
                    synchronized (OUT) {
                        if (error == null) {
                            OUT.println(index + " " + metadata.partition() + " " + metadata.offset());
                        } else {
                            failed.incrementAndGet();
                            OUT.println("E " + index + " " + error);
                        }
                        OUT.flush();
                    }
                });
            }
        }
        return failed.get() == 0 ? 0 : 1;
    }

    private static int consume(String topic, long count, Properties settings) {
        settings.putIfAbsent("auto.offset.reset", "none");
        settings.putIfAbsent("enable.auto.commit", "false");
        double idle = Double.parseDouble((String) settings.getOrDefault("test.idle", "30"));
        settings.remove("test.idle");
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic, Duration.ofSeconds(60)).stream()
                .map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long seen = 0;
            long last = System.nanoTime();
            while (seen < count && (System.nanoTime() - last) / 1e9 < idle) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    print(record);
                    seen++;
                    last = System.nanoTime();
                }
                OUT.flush();
            }
        }
        return 0;
    }

    private static ProducerRecord<byte[], byte[]> parse(String topic, String line) {
        String[] fields = line.split(" ");
        List<Header> headers = fields[2].equals("-") ? List.of()
            : Arrays.stream(fields[2].split(",")).map(item -> {
                String[] pair = item.split(":");
                String name = new String(HEX.parseHex(pair[0]), StandardCharsets.UTF_8);
                return (Header) new RecordHeader(name, decode(pair[1]));
            }).toList();
        return new ProducerRecord<>(topic, null, decode(fields[0]), decode(fields[1]), headers);
    }

    private static void print(ConsumerRecord<byte[], byte[]> record) {
        String headers = Arrays.stream(record.headers().toArray())
            .map(h -> HEX.formatHex(h.key().getBytes(StandardCharsets.UTF_8)) + ":" + encode(h.value()))
            .collect(Collectors.joining(","));
        OUT.println(record.partition() + " " + record.offset() + " " + encode(record.key()) + " "
            + encode(record.value()) + " " + (headers.isEmpty() ? "-" : headers));
    }

    private static byte[] decode(String field) {
        return switch (field) {
            case "-" -> null;
            case "=" -> new byte[0];
            default -> HEX.parseHex(field);
        };
    }

    private static String encode(byte[] bytes) {
        return bytes == null ? "-" : bytes.length == 0 ? "=" : HEX.formatHex(bytes);
    }
}
