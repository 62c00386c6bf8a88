// What Kafka's own Java client sees, for tests that may not trust the client they are about.
//
// It says on stdout at which port of the loopback it listens, and ends with its stdin. A connection is a test's: one request a line, fields parted
// by tabs, the first of them the brokers of the cluster it is for; one answer a line: `ok` or `error`, a tab, and fields parted by tabs.
// Numbers for partitions are in the order of partitions, parted by commas. Feeds and watches run on threads of their own under a name; all else is
// answered before the connection's next line is read.
//
// Bytes cross in hexadecimal, `-` is null. A record is `offset,timestamp,key,value,name=value,name=value`. `produce`
// and `dump` write and read the batches by hand: the client's header names are strings and lose what isn't UTF-8.
//
// One file, so that one `javac` makes all of it: the requests, a feed, a reader, the verifier, raw batches.

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.zip.CRC32;
import java.util.zip.CRC32C;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.message.FetchRequestData;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.FindCoordinatorRequestData;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceResponseData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.requests.AbstractRequest;
import org.apache.kafka.common.requests.AbstractResponse;
import org.apache.kafka.common.requests.FetchRequest;
import org.apache.kafka.common.requests.FetchResponse;
import org.apache.kafka.common.requests.FindCoordinatorRequest;
import org.apache.kafka.common.requests.FindCoordinatorResponse;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.Utils;

public final class Oracle {
    private static final long WAIT_MS = 60_000;

    private final String brokers;
    private final Admin admin;
    private final Map<String, List<TopicPartition>> known = new ConcurrentHashMap<>();
    private final Map<String, Feed> feeds = new ConcurrentHashMap<>();
    private final Map<String, Watch> watches = new ConcurrentHashMap<>();

    /** By the brokers that they ask. */
    private static final Map<String, Oracle> ORACLES = new ConcurrentHashMap<>();

    public static void main(String[] args) throws Exception {
        ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        start(() -> {
            while (true) {
                Socket socket = server.accept();
                start(() -> serve(socket));
            }
        });
        System.out.println(server.getLocalPort());
        while (System.in.read() >= 0) {}
        System.exit(0);
    }

    private static void start(Callable<Void> work) {
        Thread thread = new Thread(() -> {
            try {
                work.call();
            } catch (Exception e) {
                System.err.println("the connection to a test: " + e);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static Void serve(Socket socket) throws IOException {
        try (socket) {
            socket.setTcpNoDelay(true);
            BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
            OutputStream out = socket.getOutputStream();
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String answer;
                try {
                    String[] request = line.split("\t", 2);
                    answer = "ok\t" + ORACLES.computeIfAbsent(request[0], Oracle::new).answer(request[1].split("\t", -1));
                } catch (Exception e) {
                    answer = "error\t" + e.toString().replaceAll("\\s+", " ");
                }
                out.write((answer + "\n").getBytes(StandardCharsets.UTF_8));
            }
        }
        return null;
    }

    private Oracle(String brokers) {
        this.brokers = brokers;
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        this.admin = Admin.create(settings);
    }

    private String answer(String[] words) throws Exception {
        switch (words[0]) {
            case "create": return create(words);
            case "allow": return allow(words[1], words[2], words[3], words[4]);
            case "delete": return delete(words[1]);
            case "alter": return alter(words[1], words[2]);
            case "partitions":
                admin.createPartitions(Map.of(words[1], NewPartitions.increaseTo(Integer.parseInt(words[2])))).all().get();
                return "";
            case "delete-records": return deleteRecords(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]));
            case "leaders": return commas(leaders(words[1]));
            case "coordinator": return Integer.toString(coordinator(words[1]));
            case "elect": admin.electLeaders(ElectionType.PREFERRED, null).partitions().get(); return "";
            case "brokers": return brokers(Integer.parseInt(words[1]));
            case "begin": return commas(offsets(words[1], OffsetSpec.earliest()));
            case "end": return commas(offsets(words[1], OffsetSpec.latest()));
            case "committed": return commas(committed(words[1], words[2]));
            case "group": return group(words[1]);
            case "open-transactions": return openTransactions(words[1]);
            case "produce": return produce(words);
            case "choose": return choose(words);
            case "transact": return transact(words);
            case "note": return note(words[1], new TopicPartition(words[2], 0));
            case "commit": return commit(words);
            case "join": return join(words[1], words[2]);
            case "dump": return dump(words[1], Integer.parseInt(words[2]));
            case "feed": return feed(words);
            case "fed": return feeds.get(words[1]).acked();
            case "stop-feed": return feeds.get(words[1]).finish();
            case "watch": return watch(words[1], List.of(words).subList(2, words.length));
            case "unwatch": watches.remove(words[1]).end(); return "";
            case "tally": return watches.get(words[1]).tally();
            case "appended": return watches.get(words[1]).appended(Long.parseLong(words[2]), Long.parseLong(words[3]));
            case "missing": return watches.get(words[1]).missing(feeds.get(words[2]));
            default: throw new IllegalArgumentException("unknown request " + words[0]);
        }
    }

    /** Waits until the cluster has so many brokers. */
    private String brokers(int count) throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (admin.describeCluster().nodes().get().size() < count) {
            if (System.currentTimeMillis() > deadline) throw new IllegalStateException("there are not so many brokers");
            Thread.sleep(50);
        }
        return "";
    }

    /** `create TOPIC PARTITIONS CONFIG..`; partitions are a number, or the replicas of each as `@1.2,2.1`. */
    private String create(String[] words) throws Exception {
        NewTopic topic;
        if (words[2].startsWith("@")) {
            Map<Integer, List<Integer>> replicas = new HashMap<>();
            for (String ids : words[2].substring(1).split(",")) {
                List<Integer> of = List.of(ids.split("\\.")).stream().map(Integer::valueOf).collect(Collectors.toList());
                replicas.put(replicas.size(), of);
            }
            topic = new NewTopic(words[1], replicas);
        } else {
            topic = new NewTopic(words[1], Optional.of(Integer.parseInt(words[2])), Optional.empty());
        }
        Map<String, String> configs = new HashMap<>();
        for (int i = 3; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            configs.put(pair[0], pair[1]);
        }
        known.remove(words[1]);
        admin.createTopics(List.of(topic.configs(configs))).all().get();
        // The answer says that the controller has it; a client may ask a broker that hasn't heard.
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (true) {
            try {
                offsets(words[1], OffsetSpec.latest());
                return "";
            } catch (Exception e) {
                if (System.currentTimeMillis() > deadline) throw e;
                Thread.sleep(20);
            }
        }
    }

    private String delete(String topic) throws Exception {
        known.remove(topic);
        admin.deleteTopics(List.of(topic)).all().get();
        return "";
    }

    /**
     * From now on nobody but this user may do anything with the resource, and this user only what is allowed. A name that ends with `*` is
     * that of all that begin so.
     */
    private String allow(String user, String type, String name, String operation) throws Exception {
        PatternType pattern = name.endsWith("*") ? PatternType.PREFIXED : PatternType.LITERAL;
        String begin = pattern == PatternType.PREFIXED ? name.substring(0, name.length() - 1) : name;
        ResourcePattern resource = new ResourcePattern(ResourceType.fromString(type), begin, pattern);
        AccessControlEntry entry =
            new AccessControlEntry("User:" + user, "*", AclOperation.fromString(operation), AclPermissionType.ALLOW);
        admin.createAcls(List.of(new AclBinding(resource, entry))).all().get();
        // The controller has it; the broker's own authorizer learns of it a moment later.
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (admin.describeAcls(new AclBindingFilter(resource.toFilter(), entry.toFilter())).values().get().isEmpty()) {
            if (System.currentTimeMillis() > deadline) throw new IllegalStateException("the broker has no such rule");
            Thread.sleep(20);
        }
        return "";
    }

    /** Changes a setting of a topic, `name=value`. */
    private String alter(String topic, String setting) throws Exception {
        String[] pair = setting.split("=", 2);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        AlterConfigOp op = new AlterConfigOp(new ConfigEntry(pair[0], pair[1]), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(op))).all().get();
        return "";
    }

    private String deleteRecords(String topic, int partition, long before) throws Exception {
        TopicPartition at = new TopicPartition(topic, partition);
        admin.deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(before))).all().get();
        return "";
    }

    /** Asked once, until the topic is deleted or created again: most requests need it, and tests repeat them until something holds. */
    private List<TopicPartition> partitions(String topic) throws Exception {
        List<TopicPartition> partitions = known.get(topic);
        if (partitions == null) {
            int count = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            partitions = IntStream.range(0, count).mapToObj(p -> new TopicPartition(topic, p)).collect(Collectors.toList());
            known.put(topic, partitions);
        }
        return partitions;
    }

    private List<Long> offsets(String topic, OffsetSpec spec) throws Exception {
        List<TopicPartition> partitions = partitions(topic);
        Map<TopicPartition, OffsetSpec> ask = partitions.stream().collect(Collectors.toMap(p -> p, p -> spec));
        var found = admin.listOffsets(ask, new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).all().get();
        return partitions.stream().map(p -> found.get(p).offset()).collect(Collectors.toList());
    }

    private List<Long> committed(String group, String topic) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> found =
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        List<Long> offsets = new ArrayList<>();
        for (TopicPartition partition : partitions(topic)) {
            OffsetAndMetadata at = found.get(partition);
            offsets.add(at == null ? -1 : at.offset());
        }
        return offsets;
    }

    /** The id of the node that leads each partition. */
    private List<Long> leaders(String topic) throws Exception {
        var found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        return found.partitions().stream().map(p -> p.leader() == null ? -1L : p.leader().id()).collect(Collectors.toList());
    }

    /** The id of the node that coordinates a group, whether or not there is one of this name. */
    private int coordinator(String group) throws Exception {
        short version = 4;
        FindCoordinatorRequestData data = new FindCoordinatorRequestData()
            .setKeyType(FindCoordinatorRequest.CoordinatorType.GROUP.id()).setCoordinatorKeys(List.of(group));
        FindCoordinatorRequest request = new FindCoordinatorRequest.Builder(data).build(version);
        Node any = admin.describeCluster().nodes().get().iterator().next();
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (true) {
            var response = (FindCoordinatorResponse) ask(any, ApiKeys.FIND_COORDINATOR, version, request);
            var found = response.data().coordinators().get(0);
            if (found.errorCode() == 0) return found.nodeId();
            if (System.currentTimeMillis() > deadline) throw Errors.forCode(found.errorCode()).exception();
            Thread.sleep(100);
        }
    }

    /** The group's state, then for each member its partitions, as `orders-0,orders-1`. */
    private String group(String group) throws Exception {
        ConsumerGroupDescription found = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        StringBuilder answer = new StringBuilder(found.groupState().toString());
        found.members().forEach(member -> answer.append('\t').append(member.assignment().topicPartitions().stream()
            .map(TopicPartition::toString).sorted().collect(Collectors.joining(","))));
        return answer.toString();
    }

    /** The transactional ids with this prefix whose transaction has not ended, each with its state. */
    private String openTransactions(String prefix) throws Exception {
        Set<TransactionState> ended =
            Set.of(TransactionState.EMPTY, TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT);
        return admin.listTransactions().all().get().stream()
            .filter(found -> found.transactionalId().startsWith(prefix) && !ended.contains(found.state()))
            .map(found -> found.transactionalId() + " " + found.state()).sorted().collect(Collectors.joining("\t"));
    }

    private String feed(String[] words) throws Exception {
        Feed feed = new Feed(brokers, words[2], partitions(words[2]).size(), Integer.parseInt(words[3]),
            Integer.parseInt(words[4]), Integer.parseInt(words[5]), Long.parseLong(words[6]));
        feeds.put(words[1], feed);
        feed.start();
        return "";
    }

    private String watch(String name, List<String> topics) throws Exception {
        List<TopicPartition> partitions = new ArrayList<>();
        for (String topic : topics) partitions.addAll(partitions(topic));
        Watch watch = new Watch(consumer(), partitions, () -> {
            List<Long> ends = new ArrayList<>();
            for (String topic : topics) ends.addAll(offsets(topic, OffsetSpec.latest()));
            return ends;
        });
        watches.put(name, watch);
        watch.start();
        return "";
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("isolation.level", "read_committed");
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        // A topic that a test deleted stays so.
        settings.put("allow.auto.create.topics", "false");
        settings.put("max.poll.records", "5000");
        // What arrives piece by piece is fetched twenty times a second: a fetch for each piece would load the broker more than the test does.
        settings.put("fetch.min.bytes", "1000000");
        settings.put("fetch.max.wait.ms", "50");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** `produce TOPIC PARTITION RECORD..`, all in one batch; answers with the first record's offset. */
    private String produce(String[] words) throws Exception {
        List<Raw> records = new ArrayList<>();
        for (int i = 3; i < words.length; i++) records.add(Raw.parse(words[i]));
        short version = 12; // the last that names topics
        var partition = new ProduceRequestData.PartitionProduceData().setIndex(Integer.parseInt(words[2]))
            .setRecords(MemoryRecords.readableRecords(Raw.batch(records)));
        var topic = new ProduceRequestData.TopicProduceData().setName(words[1]).setPartitionData(List.of(partition));
        ProduceRequestData data = new ProduceRequestData().setAcks((short) -1).setTimeoutMs((int) WAIT_MS);
        data.topicData().add(topic);
        ProduceResponse response = (ProduceResponse) ask(words[1], Integer.parseInt(words[2]), ApiKeys.PRODUCE, version,
            new ProduceRequest(data, version));
        ProduceResponseData.PartitionProduceResponse result =
            response.data().responses().iterator().next().partitionResponses().get(0);
        Errors.forCode(result.errorCode()).maybeThrow();
        return Long.toString(result.baseOffset());
    }

    /** `choose TOPIC KEY..` sends a record for each key; answers with the partition that the client chose for each. */
    private String choose(String[] words) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int i = 2; i < words.length; i++) {
                sent.add(producer.send(new ProducerRecord<>(words[1], Raw.unhex(words[i]), new byte[0])));
            }
        }
        List<Long> partitions = new ArrayList<>();
        for (Future<RecordMetadata> one : sent) partitions.add((long) one.get().partition());
        return commas(partitions);
    }

    private String note(String group, TopicPartition partition) throws Exception {
        OffsetAndMetadata found =
                admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition);
        return found == null ? "" : found.metadata();
    }

    /** `commit GROUP TOPIC OFFSET NOTE`, of partition 0. */
    private String commit(String[] words) throws Exception {
        OffsetAndMetadata offset = new OffsetAndMetadata(Long.parseLong(words[3]), words.length > 4 ? words[4] : "");
        admin.alterConsumerGroupOffsets(words[1], Map.of(new TopicPartition(words[2], 0), offset)).all().get();
        return "";
    }

    /** A member of a group with the range protocol, which stays. */
    private String join(String group, String topic) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("group.id", group);
        settings.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        CountDownLatch joined = new CountDownLatch(1);
        Thread member = new Thread(() -> {
            ByteArrayDeserializer bytes = new ByteArrayDeserializer();
            try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
                consumer.subscribe(List.of(topic));
                while (true) {
                    consumer.poll(Duration.ofMillis(100));
                    if (!consumer.assignment().isEmpty()) joined.countDown();
                }
            }
        });
        member.setDaemon(true);
        member.start();
        if (!joined.await(WAIT_MS, TimeUnit.MILLISECONDS)) throw new Exception("not joined");
        return "";
    }

    /** `transact commit|abort|open TOPIC PARTITION RECORD..`, as one transaction of a producer of its own. */
    private String transact(String[] words) throws Exception {
        String id = "oracle-" + System.nanoTime();
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", id))) {
            producer.initTransactions();
            producer.beginTransaction();
            for (int i = 4; i < words.length; i++) {
                producer.send(Raw.parse(words[i]).toRecord(words[2], Integer.parseInt(words[3])));
            }
            // Aborted records are in the log too, not only thrown away by the client.
            producer.flush();
            switch (words[1]) {
                case "commit": producer.commitTransaction(); break;
                case "abort": producer.abortTransaction(); break;
                // A close that waits would abort it.
                default: producer.close(Duration.ZERO);
            }
        }
        return "";
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, String> more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("acks", "all");
        settings.put("max.request.size", "20000000");
        settings.putAll(more);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private String dump(String topic, int partition) throws Exception {
        long at = offsets(topic, OffsetSpec.earliest()).get(partition);
        long end = offsets(topic, OffsetSpec.latest()).get(partition);
        List<String> found = new ArrayList<>();
        while (at < end) {
            FetchResponseData.PartitionData answer = fetch(topic, partition, at);
            // The broker sends the records of aborted transactions, too, and says which they are.
            List<FetchResponseData.AbortedTransaction> aborted = new ArrayList<>();
            if (answer.abortedTransactions() != null) aborted.addAll(answer.abortedTransactions());
            Set<Long> aborting = new HashSet<>();
            for (RecordBatch batch : ((MemoryRecords) answer.records()).batches()) {
                batch.ensureValid();
                long last = batch.lastOffset();
                aborted.stream().filter(it -> it.firstOffset() <= last).forEach(it -> aborting.add(it.producerId()));
                aborted.removeIf(it -> it.firstOffset() <= last);
                if (batch.isControlBatch()) aborting.remove(batch.producerId());
                else if (!(batch.isTransactional() && aborting.contains(batch.producerId())))
                    Raw.read((DefaultRecordBatch) batch, at, found);
                at = batch.nextOffset();
            }
        }
        return String.join("\t", found);
    }

    private FetchResponseData.PartitionData fetch(String topic, int partition, long offset) throws Exception {
        short version = 12;
        int max = 64 << 20;
        var at = new FetchRequestData.FetchPartition().setPartition(partition).setFetchOffset(offset)
            .setPartitionMaxBytes(max);
        FetchRequestData data = new FetchRequestData().setMaxWaitMs(1000).setMinBytes(1).setMaxBytes(max)
            .setIsolationLevel(IsolationLevel.READ_COMMITTED.id())
            .setSessionId(0).setSessionEpoch(-1)
            .setTopics(List.of(new FetchRequestData.FetchTopic().setTopic(topic).setPartitions(List.of(at))));
        FetchRequest request = new FetchRequest(data, version);
        FetchResponse response = (FetchResponse) ask(topic, partition, ApiKeys.FETCH, version, request);
        FetchResponseData.PartitionData result = response.data().responses().get(0).partitions().get(0);
        Errors.forCode(result.errorCode()).maybeThrow();
        return result;
    }

    /** A request on a connection of its own to the partition's leader. */
    private AbstractResponse ask(String topic, int partition, ApiKeys api, short version, AbstractRequest request)
        throws Exception {
        // On a busy machine a broker may miss its heartbeats, and lead nothing for a moment.
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (true) {
            var found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
            Node leader = found.partitions().get(partition).leader();
            if (leader != null) return ask(leader, api, version, request);
            if (System.currentTimeMillis() > deadline) throw new IllegalStateException(topic + " has no leader");
            Thread.sleep(50);
        }
    }

    private static AbstractResponse ask(Node node, ApiKeys api, short version, AbstractRequest request) throws Exception {
        RequestHeader header = new RequestHeader(api, version, "oracle", 1);
        ByteBuffer bytes = request.serializeWithHeader(header);
        try (Socket socket = new Socket(node.host(), node.port())) {
            socket.setSoTimeout((int) WAIT_MS);
            DataOutputStream out = new DataOutputStream(socket.getOutputStream());
            out.writeInt(bytes.remaining());
            out.write(Utils.toArray(bytes));
            out.flush();
            DataInputStream in = new DataInputStream(socket.getInputStream());
            byte[] answer = new byte[in.readInt()];
            in.readFully(answer);
            return AbstractResponse.parseResponse(ByteBuffer.wrap(answer), header);
        }
    }

    static String commas(List<Long> numbers) {
        return numbers.stream().map(String::valueOf).collect(Collectors.joining(","));
    }
}

/** What a feed's record holds: where it was sent, its number there, and a sum over all of it. */
final class Identity {
    final int partition;
    final long seq;
    final String key;

    private Identity(int partition, long seq, String key) {
        this.partition = partition;
        this.seq = seq;
        this.key = key;
    }

    static byte[] value(int partition, long seq, String key, String pad) {
        String place = "{\"partition\":" + partition + ",\"seq\":" + seq;
        String head = place + ",\"key\":\"" + key + "\",\"pad\":\"" + pad + "\"";
        return (head + ",\"hash\":\"" + sum(head) + "\"}").getBytes(StandardCharsets.US_ASCII);
    }

    /** Null if these bytes are not as {@link #value} made them, or not under their key. */
    static Identity of(byte[] recordKey, byte[] value) {
        if (recordKey == null || value == null) return null;
        String text = new String(value, StandardCharsets.ISO_8859_1);
        int hash = text.lastIndexOf(",\"hash\":\"");
        if (hash < 0 || !text.endsWith(",\"hash\":\"" + sum(text.substring(0, hash)) + "\"}")) return null;
        int seqAt = text.indexOf(",\"seq\":");
        int keyAt = text.indexOf(",\"key\":\"");
        int keyEnd = text.indexOf("\",\"pad\"");
        String key = text.substring(keyAt + 8, keyEnd);
        if (!key.equals(new String(recordKey, StandardCharsets.ISO_8859_1))) return null;
        int partition = Integer.parseInt(text.substring(13, seqAt));
        return new Identity(partition, Long.parseLong(text.substring(seqAt + 7, keyAt)), key);
    }

    private static String sum(String text) {
        CRC32 crc = new CRC32();
        crc.update(text.getBytes(StandardCharsets.ISO_8859_1));
        return Long.toHexString(1L << 32 | crc.getValue()).substring(1);
    }
}

/** Sends numbered records at a steady rate, each key to one partition, until its count is reached or it is stopped. */
final class Feed extends Thread {
    /** No output of a process under test may hold it: tests/it/support/canary.rs. */
    private static final String CANARY = "qanary5e1f";
    private final KafkaProducer<byte[], byte[]> producer;
    private final String topic;
    private final int partitions;
    private final int rate;
    private final int keys;
    private final String pad;
    private final long count;
    final AtomicLongArray acked;
    private volatile boolean stopping;
    private volatile Exception failure;

    Feed(String brokers, String topic, int partitions, int rate, int keys, int bytes, long count) {
        super("feed");
        setDaemon(true);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("linger.ms", "20");
        // It outlasts the longest silence of a broker that a test makes.
        settings.put("max.block.ms", "300000");
        settings.put("delivery.timeout.ms", "300000");
        this.producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        this.topic = topic;
        this.partitions = partitions;
        this.rate = rate;
        this.keys = keys;
        this.pad = bytes == 0 ? "" : CANARY + "x".repeat(Math.max(0, bytes - CANARY.length()));
        this.count = count == 0 ? Long.MAX_VALUE : count;
        this.acked = new AtomicLongArray(partitions);
    }

    @Override
    public void run() {
        long[] sent = new long[partitions];
        long total = 0;
        long start = System.nanoTime();
        try {
            while (!stopping && failure == null && total < count) {
                long due = Math.min(count, (System.nanoTime() - start) * rate / 1_000_000_000L);
                for (; total < due; total++) {
                    String key = "k" + (total % keys) + CANARY;
                    byte[] keyBytes = key.getBytes(StandardCharsets.US_ASCII);
                    int partition = Utils.toPositive(Utils.murmur2(keyBytes)) % partitions;
                    byte[] value = Identity.value(partition, sent[partition]++, key, pad);
                    producer.send(new ProducerRecord<>(topic, partition, keyBytes, value), (metadata, e) -> {
                        if (e != null) failure = e;
                        else acked.incrementAndGet(partition);
                    });
                }
                Thread.sleep(2);
            }
            producer.flush();
        } catch (Exception e) {
            failure = e;
        }
        producer.close();
    }

    /** Whether it is over, and the records acknowledged in each partition. */
    String acked() throws Exception {
        if (failure != null) throw failure;
        return (isAlive() ? "running" : "over") + "\t" + Oracle.commas(counts());
    }

    String finish() throws Exception {
        stopping = true;
        join();
        return acked();
    }

    List<Long> counts() {
        return IntStream.range(0, partitions).mapToObj(acked::get).collect(Collectors.toList());
    }
}

/** Reads topics from their beginning and goes on, keeping count of what a feed's records became. */
final class Watch extends Thread {
    interface Ends {
        List<Long> now() throws Exception;
    }

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final List<TopicPartition> partitions;
    private final Ends ends;
    private final Tally tally = new Tally();
    private final long[] next;
    private Exception failure;
    private volatile boolean ended;

    Watch(KafkaConsumer<byte[], byte[]> consumer, List<TopicPartition> partitions, Ends ends) {
        super("watch");
        setDaemon(true);
        this.consumer = consumer;
        this.partitions = partitions;
        this.ends = ends;
        this.next = new long[partitions.size()];
    }

    @Override
    public void run() {
        try {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (!ended) {
                var records = consumer.poll(Duration.ofMillis(100));
                synchronized (this) {
                    for (ConsumerRecord<byte[], byte[]> record : records) {
                        TopicPartition at = new TopicPartition(record.topic(), record.partition());
                        tally.see(at, record.timestamp(), record.key(), record.value());
                    }
                    for (int i = 0; i < next.length; i++) next[i] = consumer.position(partitions.get(i));
                    notifyAll();
                }
            }
        } catch (Exception e) {
            synchronized (this) {
                failure = e;
                notifyAll();
            }
        }
        consumer.close(CloseOptions.timeout(Duration.ZERO));
    }

    /** Has it read no more. */
    void end() {
        ended = true;
    }

    /** Waits until all that the topics hold now is read. */
    private void catchUp() throws Exception {
        List<Long> end = ends.now();
        long deadline = System.currentTimeMillis() + 60_000;
        while (IntStream.range(0, next.length).anyMatch(p -> next[p] < end.get(p))) {
            if (failure != null) throw failure;
            if (System.currentTimeMillis() > deadline) throw new IOException("the topic could not be read to its end");
            wait(1000);
        }
    }

    synchronized String tally() throws Exception {
        catchUp();
        return tally.report();
    }

    /** How many records the broker appended in these milliseconds (a topic with LogAppendTime). */
    synchronized String appended(long from, long to) throws Exception {
        catchUp();
        return Long.toString(tally.appended.subMap(from, true, to, true).values().stream().mapToLong(n -> n).sum());
    }

    synchronized String missing(Feed feed) throws Exception {
        catchUp();
        return tally.missing(feed.counts());
    }
}

/** The verifier: what is new, repeated, out of order, not the feed's, or left with an old value at the end. */
final class Tally {
    /** Where a key's records are, its newest, and the one that stands last, repeats included. */
    private static final class Key {
        final TopicPartition at;
        long newest = -1;
        long last = -1;

        Key(TopicPartition at) {
            this.at = at;
        }
    }

    private final Map<Integer, BitSet> seen = new TreeMap<>();
    private final Map<String, Key> keys = new HashMap<>();
    final TreeMap<Long, Long> appended = new TreeMap<>();
    private long fresh;
    private long repeats;
    private long disorder;
    private long foreign;

    void see(TopicPartition at, long timestamp, byte[] key, byte[] value) {
        appended.merge(timestamp, 1L, Long::sum);
        Identity id = Identity.of(key, value);
        if (id == null) {
            foreign++;
            return;
        }
        Key of = keys.computeIfAbsent(id.key, k -> new Key(at));
        of.last = id.seq;
        BitSet fed = seen.computeIfAbsent(id.partition, p -> new BitSet());
        if (fed.get((int) id.seq)) {
            repeats++;
            return;
        }
        fed.set((int) id.seq);
        fresh++;
        // A key's records in two partitions have no order at all.
        if (!of.at.equals(at) || of.newest >= id.seq) disorder++;
        of.newest = Math.max(of.newest, id.seq);
    }

    /** Fresh, repeats, disorder, foreign, stale; then by input partition one above the highest number seen. */
    String report() {
        int partitions = seen.keySet().stream().mapToInt(p -> p + 1).max().orElse(0);
        List<Long> heights = new ArrayList<>();
        for (int p = 0; p < partitions; p++) heights.add(seen.containsKey(p) ? (long) seen.get(p).length() : 0L);
        long stale = keys.values().stream().filter(key -> key.last < key.newest).count();
        return fresh + "\t" + repeats + "\t" + disorder + "\t" + foreign + "\t" + stale + "\t" + Oracle.commas(heights);
    }

    /** How many of the feed's records are not there, then the first of them. */
    String missing(List<Long> fed) {
        long missing = 0;
        List<String> first = new ArrayList<>();
        for (int p = 0; p < fed.size(); p++) {
            BitSet of = seen.getOrDefault(p, new BitSet());
            long end = fed.get(p);
            missing += end - of.get(0, (int) end).cardinality();
            for (int at = of.nextClearBit(0); at < end && first.size() < 10; at = of.nextClearBit(at + 1)) {
                first.add(p + "/" + at);
            }
        }
        return missing + "\t" + String.join(",", first);
    }
}

/** A record's bytes as they lie in a batch. */
final class Raw {
    private long timestamp;
    private byte[] key;
    private byte[] value;
    private final List<byte[][]> headers = new ArrayList<>();

    static Raw parse(String text) {
        String[] fields = text.split(",", -1);
        Raw raw = new Raw();
        raw.timestamp = Long.parseLong(fields[1]);
        raw.key = unhex(fields[2]);
        raw.value = unhex(fields[3]);
        for (int i = 4; i < fields.length; i++) {
            String[] pair = fields[i].split("=", -1);
            raw.headers.add(new byte[][] {unhex(pair[0]), unhex(pair[1])});
        }
        return raw;
    }

    /** As the client sends it; its header names are strings. */
    ProducerRecord<byte[], byte[]> toRecord(String topic, int partition) {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, partition, timestamp, key, value);
        for (byte[][] header : headers) record.headers().add(new String(header[0], StandardCharsets.UTF_8), header[1]);
        return record;
    }

    /** A record batch of version 2, uncompressed. */
    static ByteBuffer batch(List<Raw> records) throws IOException {
        long base = records.get(0).timestamp;
        long max = records.stream().mapToLong(r -> r.timestamp).max().orElse(base);
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(body);
        out.writeShort(0); // attributes: no compression, create time
        out.writeInt(records.size() - 1); // last offset delta
        out.writeLong(base);
        out.writeLong(max);
        out.writeLong(-1); // producer
        out.writeShort(-1); // producer epoch
        out.writeInt(-1); // sequence
        out.writeInt(records.size());
        for (int i = 0; i < records.size(); i++) records.get(i).write(out, base, i);
        byte[] bytes = body.toByteArray();
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        ByteBuffer batch = ByteBuffer.allocate(21 + bytes.length);
        batch.putLong(0).putInt(9 + bytes.length).putInt(-1).put((byte) 2).putInt((int) crc.getValue()).put(bytes);
        batch.flip();
        return batch;
    }

    private void write(DataOutputStream to, long base, int delta) throws IOException {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(body);
        out.writeByte(0);
        varint(out, timestamp - base);
        varint(out, delta);
        bytes(out, key);
        bytes(out, value);
        varint(out, headers.size());
        for (byte[][] header : headers) {
            bytes(out, header[0]);
            bytes(out, header[1]);
        }
        varint(to, body.size());
        to.write(body.toByteArray());
    }

    static void read(DefaultRecordBatch batch, long from, List<String> to) throws IOException {
        try (DataInputStream in = new DataInputStream(batch.recordInputStream(BufferSupplier.create()))) {
            for (int i = 0; i < batch.countOrNull(); i++) {
                unvarint(in); // length
                in.readByte(); // attributes
                long created = batch.baseTimestamp() + unvarint(in);
                boolean isAppended = batch.timestampType() == TimestampType.LOG_APPEND_TIME;
                long timestamp = isAppended ? batch.maxTimestamp() : created;
                long offset = batch.baseOffset() + unvarint(in);
                StringBuilder text = new StringBuilder();
                text.append(offset).append(',').append(timestamp);
                text.append(',').append(unbytes(in)).append(',').append(unbytes(in));
                long headers = unvarint(in);
                for (long h = 0; h < headers; h++) text.append(',').append(unbytes(in)).append('=').append(unbytes(in));
                if (offset >= from) to.add(text.toString());
            }
        }
    }

    private static void bytes(DataOutputStream out, byte[] bytes) throws IOException {
        varint(out, bytes == null ? -1 : bytes.length);
        if (bytes != null) out.write(bytes);
    }

    private static String unbytes(DataInputStream in) throws IOException {
        int length = (int) unvarint(in);
        if (length < 0) return "-";
        byte[] bytes = new byte[length];
        in.readFully(bytes);
        return hex(bytes);
    }

    private static void varint(DataOutputStream out, long number) throws IOException {
        long bits = (number << 1) ^ (number >> 63);
        for (; (bits & ~0x7fL) != 0; bits >>>= 7) out.writeByte((int) (bits & 0x7f | 0x80));
        out.writeByte((int) bits);
    }

    private static long unvarint(DataInputStream in) throws IOException {
        long bits = 0;
        for (int shift = 0; ; shift += 7) {
            int next = in.readUnsignedByte();
            bits |= (long) (next & 0x7f) << shift;
            if (next < 0x80) return (bits >>> 1) ^ -(bits & 1);
        }
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder(bytes.length * 2);
        for (byte b : bytes) text.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        return text.toString();
    }

    static byte[] unhex(String text) {
        if (text.equals("-")) return null;
        byte[] bytes = new byte[text.length() / 2];
        for (int i = 0; i < bytes.length; i++) bytes[i] = (byte) Integer.parseInt(text.substring(2 * i, 2 * i + 2), 16);
        return bytes;
    }
}
