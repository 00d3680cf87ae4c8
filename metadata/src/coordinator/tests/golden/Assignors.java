// Writes assignors.txt: what Apache Kafka's assignors answer for groups that change step by step. Run with Kafka
// 4.2.0's jars: java -cp 'libs/*' Assignors.java > assignors.txt
//
// Members and assignments are in sorted maps and topic ids are small, so that Kafka looks at them in their order.
import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.*;
import org.apache.kafka.coordinator.group.assignor.*;
import org.apache.kafka.coordinator.group.modern.*;

public class Assignors {
    static final Random random = new Random(42);

    static String show(Map<Uuid, Set<Integer>> partitions) {
        List<String> all = new ArrayList<>();
        for (var topic : new TreeMap<>(partitions).entrySet())
            for (int partition : new TreeSet<>(topic.getValue()))
                all.add(topic.getKey().getLeastSignificantBits() + "-" + partition);
        return String.join(",", all);
    }

    public static void main(String[] arguments) {
        for (int group = 0; group < 24; group++) {
            boolean homogeneous = group % 2 == 0;
            PartitionAssignor assignor = group % 4 < 2 ? new UniformAssignor() : new RangeAssignor();
            TreeMap<Long, Integer> topics = new TreeMap<>();
            TreeMap<String, TreeSet<Long>> subscribed = new TreeMap<>();
            TreeMap<String, String> instances = new TreeMap<>();
            Map<String, Map<Uuid, Set<Integer>>> before = new TreeMap<>();
            for (int step = 0; step < 8; step++) {
                int what = step < 2 ? step : random.nextInt(6);
                if (what == 0 || topics.isEmpty())
                    for (int i = 1 + random.nextInt(3); i > 0; i--)
                        topics.merge(1L + random.nextInt(6), 1 + random.nextInt(9), Math::max);
                if (what == 1 || what == 2)
                    for (int i = 1 + random.nextInt(3); i > 0; i--) {
                        String member = "m" + random.nextInt(9);
                        subscribed.put(member, new TreeSet<>());
                        if (random.nextInt(4) == 0) instances.put(member, "i" + random.nextInt(100) + member);
                    }
                if (what == 3 && subscribed.size() > 1) {
                    String gone = new ArrayList<>(subscribed.keySet()).get(random.nextInt(subscribed.size()));
                    subscribed.remove(gone);
                    before.remove(gone);
                }
                if (what == 4) topics.replaceAll((id, count) -> count + random.nextInt(3));
                for (var member : subscribed.entrySet()) {
                    if (homogeneous) member.setValue(new TreeSet<>(topics.keySet()));
                    else if (member.getValue().isEmpty() || what == 5)
                        for (long topic : topics.keySet())
                            if (random.nextInt(2) == 0) member.getValue().add(topic);
                }
                TreeMap<String, MemberSubscriptionAndAssignmentImpl> members = new TreeMap<>();
                Map<Uuid, Map<Integer, String>> inverted = new HashMap<>();
                List<String> lines = new ArrayList<>();
                for (var member : subscribed.entrySet()) {
                    Set<Uuid> ids = new TreeSet<>();
                    for (long topic : member.getValue()) ids.add(new Uuid(0, topic));
                    var had = before.getOrDefault(member.getKey(), Map.of());
                    had.forEach((topic, all) -> all.forEach(partition ->
                        inverted.computeIfAbsent(topic, x -> new HashMap<>()).put(partition, member.getKey())));
                    String instance = instances.get(member.getKey());
                    members.put(member.getKey(), new MemberSubscriptionAndAssignmentImpl(
                        Optional.empty(), Optional.ofNullable(instance), ids, new Assignment(had)));
                    StringJoiner named = new StringJoiner(",");
                    member.getValue().forEach(topic -> named.add("" + topic));
                    lines.add("member " + member.getKey() + " " + (instance == null ? "-" : instance)
                        + " [" + named + "] [" + show(had) + "]");
                }
                SubscribedTopicDescriber describer = new SubscribedTopicDescriber() {
                    public int numPartitions(Uuid topic) { return topics.get(topic.getLeastSignificantBits()); }
                    public Set<String> racksForPartition(Uuid topic, int partition) { return Set.of(); }
                };
                var type = homogeneous ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS;
                var target = assignor.assign(new GroupSpecImpl(members, type, inverted), describer).members();
                StringJoiner counts = new StringJoiner(",");
                topics.forEach((topic, count) -> counts.add(topic + "x" + count));
                System.out.println("assign " + assignor.name() + " " + (homogeneous ? "same" : "mixed") + " [" + counts + "]");
                before = new TreeMap<>();
                int index = 0;
                for (String member : subscribed.keySet()) {
                    var gets = target.containsKey(member) ? target.get(member).partitions() : Map.<Uuid, Set<Integer>>of();
                    before.put(member, new TreeMap<>(gets));
                    System.out.println(lines.get(index++) + " [" + show(gets) + "]");
                }
            }
        }
    }
}
