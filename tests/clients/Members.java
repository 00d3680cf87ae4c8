import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Members of groups in the Apache Kafka Java client, behind the text format of members.py beside it.
 *
 * <p>A setting `test.regex` subscribes by a regular expression that the broker resolves.
 */
public final class Members {
    public static void main(String[] args) throws Exception {
        List<Member> members = new ArrayList<>();
        for (int i = 2; i < args.length; i++) {
            members.add(new Member(args[0], args[1], args[i]));
        }
        members.forEach(Thread::start);
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in));
        String order = orders.readLine();
        if (order == null) {
            Runtime.getRuntime().halt(1); // nobody is left who could want anything
        }
        members.forEach(Member::leave);
        for (Member member : members) {
            member.join(30_000);
        }
        System.exit(0);
    }

    private static void say(String line) {
        synchronized (System.out) {
            System.out.println(line);
            System.out.flush();
        }
    }

    private static final class Member extends Thread implements ConsumerRebalanceListener {
        private final String name;
        private final String topic;
        private final String regex;
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final TreeSet<Integer> owned = new TreeSet<>();
        /** Where it is to go on, by partition. */
        private final Map<Integer, Long> processed = new TreeMap<>();
        private String generation = "";
        private volatile boolean leaving;

        Member(String bootstrap, String topic, String description) {
            String[] parts = description.split(";");
            Properties settings = new Properties();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("group.id", parts[1]);
            settings.put("client.id", parts[0]);
            settings.put("enable.auto.commit", "false");
            settings.put("auto.offset.reset", "earliest");
            settings.put("metadata.max.age.ms", "2000");
            for (int i = 2; i < parts.length; i++) {
                String[] pair = parts[i].split("=", 2);
                settings.put(pair[0], pair[1]);
            }
            this.name = parts[0];
            this.topic = topic;
            this.regex = (String) settings.remove("test.regex");
            this.consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }

        void leave() {
            leaving = true;
            consumer.wakeup();
        }

        @Override
        public void run() {
            if (regex == null) {
                consumer.subscribe(List.of(topic), this);
            } else {
                consumer.subscribe(new SubscriptionPattern(regex), this);
            }
            while (!leaving) {
                try {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                        say("M " + name + " " + System.currentTimeMillis() + " " + record.partition() + " "
                            + record.offset());
                        processed.put(record.partition(), record.offset() + 1);
                    }
                    commit();
                    note();
                } catch (WakeupException e) {
                    break;
                } catch (RuntimeException e) {
                    say("E " + name + " " + System.currentTimeMillis() + " " + e);
                }
            }
            try {
                commit();
                consumer.close();
            } catch (RuntimeException e) {
                say("E " + name + " " + System.currentTimeMillis() + " at the end: " + e);
            }
        }

        /**
         * Commits what it processed; what fails because a rebalance is under way goes again before partitions do. The
         * consumer's own positions are not asked for: that blocks as long as a partition has none, also if it is
         * about to be revoked, which only this thread can take note of.
         */
        private void commit() {
            while (!processed.isEmpty()) {
                try {
                    consumer.commitSync(processed.entrySet().stream().collect(Collectors.toMap(
                        p -> new TopicPartition(topic, p.getKey()), p -> new OffsetAndMetadata(p.getValue()))));
                    return;
                } catch (WakeupException e) {
                    leaving = true;
                } catch (CommitFailedException | RebalanceInProgressException | RetriableException e) {
                    say("F " + name + " " + System.currentTimeMillis() + " " + e.getClass().getSimpleName());
                    return;
                }
            }
        }

        private void note() {
            String now = consumer.groupMetadata().generationId() + " " + consumer.groupMetadata().memberId();
            if (!now.equals(generation)) {
                generation = now;
                say("G " + name + " " + System.currentTimeMillis() + " " + now);
            }
        }

        private void changed(long at) {
            String all = owned.stream().map(String::valueOf).collect(Collectors.joining(","));
            say("O " + name + " " + at + " " + (all.isEmpty() ? "-" : all));
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            long at = System.currentTimeMillis();
            partitions.forEach(p -> owned.add(p.partition()));
            changed(at);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit();
            partitions.forEach(p -> {
                owned.remove(p.partition());
                processed.remove(p.partition());
            });
            changed(System.currentTimeMillis());
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            partitions.forEach(p -> {
                owned.remove(p.partition());
                processed.remove(p.partition());
            });
            changed(System.currentTimeMillis());
        }
    }
}
