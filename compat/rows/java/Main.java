// Runs the list of Debian's Java driver (3.6) once: java -cp … Main.java '{"uri": …, "admin_uri": …, "rows": […]}'. Prints one
// JSON object a line: first {"version"}, then {"row", "needs"} with value or error.
import com.mongodb.*;
import com.mongodb.client.*;
import com.mongodb.client.gridfs.*;
import com.mongodb.client.model.*;
import com.mongodb.session.ClientSession;
import java.io.*;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.*;
import java.util.concurrent.TimeUnit;
import java.util.regex.*;
import java.util.stream.*;
import javax.net.ssl.*;
import org.bson.*;

public class Main {
    interface Work { Object run(Trial t) throws Exception; }

    static final List<Object[]> ROWS = new ArrayList<>();
    static final Set<String> VOLATILE = Set.of("$clusterTime", "operationTime", "topologyVersion", "localTime", "connectionId", "lastWrite", "electionId");
    static Document asked;

    static void row(String name, String needs, Work work) { ROWS.add(new Object[] {name, needs, work}); }

    static final class Trial implements AutoCloseable {
        final MongoClient client = connect(asked.getString("uri"), false);
        final String name;
        final MongoDatabase db;
        final MongoCollection<Document> things;

        Trial(String name) { this.name = name; db = client.getDatabase(name); things = db.getCollection("things"); }

        public void close() { client.close(); }

        void fill(int number) {
            things.insertMany(IntStream.range(0, number).mapToObj(n -> new Document("_id", n).append("n", n).append("group", n % 5)).collect(Collectors.toList()));
        }
    }

    // This driver knows `ssl`, and takes its authorities from an SSLContext.
    static MongoClient connect(String uri, boolean retry) {
        Matcher file = Pattern.compile("tlsCAFile=([^&]+)&?").matcher(uri);
        MongoClientOptions.Builder options = MongoClientOptions.builder().serverSelectionTimeout(20000).retryWrites(retry);
        if (file.find()) {
            options.sslContext(trusting(URLDecoder.decode(file.group(1), StandardCharsets.UTF_8)));
            uri = file.replaceAll("").replace("tls=true", "ssl=true").replaceAll("directConnection=[a-z]+&?", "");
        }
        return new MongoClient(new MongoClientURI(uri, options));
    }

    static SSLContext trusting(String file) {
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(store);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            return context;
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    static Object plain(Object value) {
        if (value instanceof Map) {
            Document found = new Document();
            ((Map<?, ?>) value).forEach((key, each) -> { if (!VOLATILE.contains(key)) found.append((String) key, plain(each)); });
            return found;
        }
        if (value instanceof Iterable) return StreamSupport.stream(((Iterable<?>) value).spliterator(), false).map(Main::plain).collect(Collectors.toList());
        if (value == null || value instanceof String || value instanceof Integer || value instanceof Long || value instanceof Double || value instanceof Boolean) return value;
        return value.getClass().getSimpleName();
    }

    static Document fault(Throwable error) {
        String message = String.valueOf(error.getMessage()).replaceAll("The full response is .*", "").replaceAll("Executor error during [a-z]+ command :: caused by :: ", "").replaceAll("cursor id \\d+", "cursor id N").replaceAll("serverValue:\\d+", "serverValue:N").replaceAll("localValue:\\d+", "localValue:N");
        Document found = new Document("error", error.getClass().getSimpleName()).append("message", message);
        if (error instanceof MongoException) found.append("code", ((MongoException) error).getCode());
        return found;
    }

    static Object caught(Work work) {
        try { return plain(work.run(null)); } catch (Exception error) { return fault(error); }
    }

    static List<Document> all(MongoIterable<Document> found) { return found.into(new ArrayList<>()); }

    static void lists() {
        row("connect: ping, topology", "any", t -> List.of(t.client.getDatabase("admin").runCommand(new Document("buildInfo", 1)).getString("version"), t.client.getConnectPoint() == null ? t.client.getAllAddress().size() : 1));
        row("hello, field by field", "any", t -> t.db.runCommand(new Document("isMaster", 1)));
        row("CRUD", "any", t -> {
            t.fill(250);
            long many = t.things.updateMany(Filters.eq("group", 2), Updates.set("x", 1)).getModifiedCount();
            Object upsert = t.things.updateOne(Filters.eq("_id", -1), Updates.set("y", 1), new UpdateOptions().upsert(true)).getUpsertedId();
            long deleted = t.things.deleteMany(Filters.eq("group", 3)).getDeletedCount();
            Document changed = t.things.findOneAndUpdate(Filters.eq("_id", 1), Updates.inc("n", 5), new FindOneAndUpdateOptions().returnDocument(ReturnDocument.AFTER));
            return List.of(many, upsert != null, deleted, changed, all(t.things.find(Filters.lt("n", 9)).sort(Sorts.ascending("_id")).batchSize(2)), t.things.distinct("group", Integer.class).into(new ArrayList<>()).size());
        });
        row("bulk writes with errors", "any", t -> {
            t.fill(3);
            var done = t.things.bulkWrite(List.of(new InsertOneModel<>(new Document("_id", 50)), new DeleteOneModel<>(Filters.eq("_id", 1))));
            return List.of(done.getInsertedCount(), done.getDeletedCount(), caught(x -> { t.things.insertMany(List.of(new Document("_id", 0), new Document("_id", 99))); return 1; }));
        });
        row("aggregation, $out, indexes", "any", t -> {
            t.fill(50);
            List<Document> sums = all(t.things.aggregate(List.of(Aggregates.group("$group", Accumulators.sum("sum", "$n")), Aggregates.sort(Sorts.ascending("_id")))));
            all(t.things.aggregate(List.of(Aggregates.match(Filters.lt("n", 3)), Aggregates.out("written"))));
            String index = t.things.createIndex(Indexes.ascending("n"));
            return List.of(sums, all(t.db.getCollection("written").find()).size(), index, all(t.things.listIndexes()).size());
        });
        row("change streams", "set", t -> {
            t.fill(1);
            try (var stream = t.things.watch().maxAwaitTime(300, TimeUnit.MILLISECONDS).iterator()) {
                t.things.insertOne(new Document("_id", "a"));
                var event = stream.next();
                return List.of(event.getOperationType().getValue(), event.getFullDocument());
            }
        });
        row("sessions, causally consistent", "set", t -> {
            try (ClientSession session = t.client.startSession(ClientSessionOptions.builder().causallyConsistent(true).build())) {
                t.things.insertOne(session, new Document("_id", 1));
                return List.of(all(t.things.find(session)), session.getOperationTime() != null);
            }
        });
        row("retryable writes: one retry after a lost connection", "set", t -> {
            t.fill(1);
            try (MongoClient client = connect(asked.getString("uri"), true); MongoClient root = connect(asked.getString("admin_uri"), false)) {
                MongoCollection<Document> things = client.getDatabase(t.name).getCollection("things");
                Document point = new Document("configureFailPoint", "failCommand").append("mode", new Document("times", 1)).append("data", new Document("failCommands", List.of("insert")).append("closeConnection", true));
                root.getDatabase("admin").runCommand(point);
                Object done = caught(x -> { things.insertOne(new Document("_id", "again")); return "done"; });
                root.getDatabase("admin").runCommand(point.append("mode", "off"));
                return List.of(done, all(t.things.find()).size());
            }
        });
        row("unacknowledged writes", "any", t -> {
            MongoCollection<Document> loose = t.things.withWriteConcern(WriteConcern.UNACKNOWLEDGED);
            for (int n = 0; n < 200; n++) loose.insertOne(new Document("_id", n));
            int seen = 0;
            for (int tries = 0; tries < 100 && seen < 200; tries++) { seen = all(t.things.find()).size(); Thread.sleep(20); }
            return seen;
        });
        row("GridFS, a big document, a big result", "any", t -> {
            GridFSBucket bucket = GridFSBuckets.create(t.db);
            var id = bucket.uploadFromStream("file", new ByteArrayInputStream(new byte[2_000_000]));
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            bucket.downloadToStream(id, out);
            t.things.insertOne(new Document("_id", 1).append("filler", new byte[16 * 1024 * 1024 - 60]));
            t.things.insertMany(IntStream.range(2, 100).mapToObj(n -> new Document("_id", n).append("filler", "z".repeat(200_000))).collect(Collectors.toList()));
            return List.of(out.size(), all(t.things.find()).size());
        });
        row("error documents", "any", t -> {
            t.fill(3);
            return List.of(
                caught(x -> { t.things.insertOne(new Document("_id", 1)); return 1; }),
                caught(x -> all(t.things.find(new Document("$nonsense", 1)))),
                caught(x -> t.db.runCommand(new Document("find", "things").append("nonsense", 1))),
                caught(x -> all(t.things.find(new Document("$where", "sleep(200) || true")).maxTime(100, TimeUnit.MILLISECONDS))));
        });
        row("read preferences", "any", t -> {
            t.fill(2);
            Document found = new Document();
            for (ReadPreference each : List.of(ReadPreference.primary(), ReadPreference.primaryPreferred(), ReadPreference.secondaryPreferred(), ReadPreference.nearest()))
                found.append(each.getName(), caught(x -> t.client.getDatabase("admin").runCommand(new Document("ping", 1), each)));
            return found;
        });
        row("connectionStatus, listDatabases", "any", t -> {
            t.fill(1);
            Document info = t.client.getDatabase("admin").runCommand(new Document("connectionStatus", 1)).get("authInfo", Document.class);
            return List.of(info.get("authenticatedUsers", List.class).size(), t.client.listDatabaseNames().into(new ArrayList<>()).contains(t.name));
        });
    }

    public static void main(String[] arguments) {
        java.util.logging.LogManager.getLogManager().reset();
        asked = Document.parse(arguments[0]);
        lists();
        System.out.println(new Document("version", "3.6.3").toJson());
        List<?> wanted = asked.get("rows", List.class);
        for (Object[] each : ROWS) {
            String name = (String) each[0];
            if (wanted != null && wanted.stream().noneMatch(start -> name.startsWith((String) start))) continue;
            Document said = new Document("row", name).append("needs", each[1]);
            long began = System.currentTimeMillis();
            String letters = name.toLowerCase().replaceAll("[^a-z0-9]", "_");
            try (Trial t = new Trial("compat_" + letters.substring(0, Math.min(40, letters.length())))) {
                t.db.drop();
                said.append("value", plain(((Work) each[2]).run(t)));
                t.db.drop();
            } catch (Throwable error) {
                said.append("error", fault(error)).append("trace", String.valueOf(error.getStackTrace()[0]));
            }
            System.out.println(said.append("seconds", (System.currentTimeMillis() - began) / 1000.0).toJson());
        }
        System.exit(0);
    }
}
