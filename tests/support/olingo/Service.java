// A shop's OData service on Apache Olingo 5: URLs, $metadata, preferences and documents are Olingo's; rows, pages and
// tokens are here. It has the temper of large services: pages of its own size, links that expire, 429 with Retry-After.
//
//   java -cp 'lib/*' Service.java ROWS [PORT JOURNAL]       prints its port
//
// With a journal, a file of the changes that were made, it can be killed and started again as the service that it was.
//
// Beside /shop there is /control?COMMAND, which answers with a line:
//   put,ID,NAME,BALANCE   remove,ID   edit,SEED,COUNT (random changes)   expire (all links)   busy,COUNT (429s)
//   tracks,BOOL   page,ROWS   rows ("ID NAME BALANCE" lines)   made (how many changes)
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.sql.Timestamp;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.Executors;
import org.apache.olingo.commons.api.data.ContextURL;
import org.apache.olingo.commons.api.data.DeletedEntity;
import org.apache.olingo.commons.api.data.Delta;
import org.apache.olingo.commons.api.data.Entity;
import org.apache.olingo.commons.api.data.Property;
import org.apache.olingo.commons.api.data.ValueType;
import org.apache.olingo.commons.api.edm.EdmEntitySet;
import org.apache.olingo.commons.api.edm.EdmPrimitiveTypeKind;
import org.apache.olingo.commons.api.edm.FullQualifiedName;
import org.apache.olingo.commons.api.edm.provider.CsdlAbstractEdmProvider;
import org.apache.olingo.commons.api.edm.provider.CsdlEntityContainer;
import org.apache.olingo.commons.api.edm.provider.CsdlEntityContainerInfo;
import org.apache.olingo.commons.api.edm.provider.CsdlEntitySet;
import org.apache.olingo.commons.api.edm.provider.CsdlEntityType;
import org.apache.olingo.commons.api.edm.provider.CsdlProperty;
import org.apache.olingo.commons.api.edm.provider.CsdlPropertyRef;
import org.apache.olingo.commons.api.edm.provider.CsdlSchema;
import org.apache.olingo.commons.api.format.ContentType;
import org.apache.olingo.commons.api.http.HttpHeader;
import org.apache.olingo.commons.api.http.HttpMethod;
import org.apache.olingo.server.api.OData;
import org.apache.olingo.server.api.ODataApplicationException;
import org.apache.olingo.server.api.ODataHandler;
import org.apache.olingo.server.api.ODataLibraryException;
import org.apache.olingo.server.api.ODataRequest;
import org.apache.olingo.server.api.ODataResponse;
import org.apache.olingo.server.api.ServiceMetadata;
import org.apache.olingo.server.api.prefer.Preferences;
import org.apache.olingo.server.api.prefer.PreferencesApplied;
import org.apache.olingo.server.api.processor.EntityCollectionProcessor;
import org.apache.olingo.server.api.serializer.EntityCollectionSerializerOptions;
import org.apache.olingo.server.api.uri.UriInfo;
import org.apache.olingo.server.api.uri.UriResourceEntitySet;

class Service {
    static final FullQualifiedName TYPE = new FullQualifiedName("shop", "Customer");
    static final FullQualifiedName BOX = new FullQualifiedName("shop", "Container");
    static final String[] NAMES = {"ID", "Name", "Balance", "Changed"};
    static final EdmPrimitiveTypeKind[] KINDS = {EdmPrimitiveTypeKind.Int64, EdmPrimitiveTypeKind.String,
        EdmPrimitiveTypeKind.Decimal, EdmPrimitiveTypeKind.DateTimeOffset};

    static class Row {
        Entity entity;
        String text;
        Instant changed;
        long version;
        boolean gone;
    }

    // Guarded by the class.
    static final ConcurrentSkipListMap<Long, Row> rows = new ConcurrentSkipListMap<>();
    static long version;
    static long expiredBelow;
    static int busy;
    static boolean tracks = true;
    static int pageRows = 5000;
    static Instant lastChange = Instant.EPOCH;
    static String base;
    static long made;  // changes of rows, since the first ones
    static final StringBuilder unwritten = new StringBuilder();  // of the journal

    // What changes the service: as the journal has it.
    static void apply(String... command) {
        switch (command[0]) {
            case "put" -> store(Long.parseLong(command[1]), command[2], command[3], Instant.parse(command[4]));
            case "remove" -> {
                Row row = rows.get(Long.parseLong(command[1]));
                row.gone = true;
                row.version = ++version;
                made++;
            }
            case "expire" -> expiredBelow = ++version;
            case "tracks" -> tracks = Boolean.parseBoolean(command[1]);
            case "page" -> pageRows = Integer.parseInt(command[1]);
            default -> throw new IllegalArgumentException(command[0]);
        }
    }

    static void make(String... command) {
        apply(command);
        unwritten.append(String.join(",", command)).append('\n');
    }

    static void put(long id, String name, String balance) {
        // Each change has a time of its own, so that whoever polls sees all.
        Instant now = Instant.now().truncatedTo(ChronoUnit.MICROS);
        make("put", "" + id, name, balance, (now.isAfter(lastChange) ? now : lastChange.plusNanos(1000)).toString());
    }

    static void store(long id, String name, String balance, Instant changed) {
        lastChange = changed;
        made++;
        Row row = new Row();
        row.version = ++version;
        row.changed = lastChange;
        row.text = id + " " + name + " " + balance;
        row.entity = new Entity();
        Object[] values = {id, name, new BigDecimal(balance), Timestamp.from(lastChange)};
        for (int i = 0; i < NAMES.length; i++) {
            row.entity.addProperty(new Property(null, NAMES[i], ValueType.PRIMITIVE, values[i]));
        }
        row.entity.setId(URI.create("Customers(" + id + ")"));
        rows.put(id, row);
    }

    static void remove(long id) {
        Row row = rows.get(id);
        if (row != null && !row.gone) {
            make("remove", "" + id);
        }
    }

    static void edit(long seed, int count) {
        Random random = new Random(seed);
        long last = rows.isEmpty() ? 1 : rows.lastKey();
        for (int i = 0; i < count; i++) {
            long id = 1 + (long) (random.nextDouble() * (last + 10));
            if (random.nextInt(4) == 0) {
                remove(id);
            } else {
                put(id, "Edited" + random.nextInt(1000), random.nextInt(100000) + "." + (10 + random.nextInt(90)));
            }
        }
    }

    static class Provider extends CsdlAbstractEdmProvider {
        @Override
        public CsdlEntityType getEntityType(FullQualifiedName name) {
            if (!name.equals(TYPE)) {
                return null;
            }
            List<CsdlProperty> properties = new ArrayList<>();
            for (int i = 0; i < NAMES.length; i++) {
                CsdlProperty property = new CsdlProperty().setName(NAMES[i]).setType(KINDS[i].getFullQualifiedName())
                    .setNullable(i > 0);
                if (i == 2) {
                    property.setPrecision(12).setScale(2);
                }
                if (i == 3) {
                    property.setPrecision(6);
                }
                properties.add(property);
            }
            return new CsdlEntityType().setName("Customer").setProperties(properties)
                .setKey(List.of(new CsdlPropertyRef().setName("ID")));
        }

        @Override
        public CsdlEntitySet getEntitySet(FullQualifiedName container, String name) {
            return name.equals("Customers") ? new CsdlEntitySet().setName(name).setType(TYPE) : null;
        }

        @Override
        public CsdlEntityContainer getEntityContainer() {
            return new CsdlEntityContainer().setName("Container").setEntitySets(List.of(getEntitySet(BOX, "Customers")));
        }

        @Override
        public CsdlEntityContainerInfo getEntityContainerInfo(FullQualifiedName name) {
            return name == null || name.equals(BOX) ? new CsdlEntityContainerInfo().setContainerName(BOX) : null;
        }

        @Override
        public List<CsdlSchema> getSchemas() {
            return List.of(new CsdlSchema().setNamespace("shop").setEntityTypes(List.of(getEntityType(TYPE)))
                .setEntityContainer(getEntityContainer()));
        }
    }

    // Where a page begins and what it is of: kept in tokens, "since-asOf-after-tracked".
    static class Place {
        long since;             // a delta of what is newer; 0: all rows
        long asOf = version;    // of the first page
        long after = Long.MIN_VALUE;
        boolean tracked;
    }

    static class Reader implements EntityCollectionProcessor {
        OData odata;
        ServiceMetadata metadata;

        @Override
        public void init(OData odata, ServiceMetadata metadata) {
            this.odata = odata;
            this.metadata = metadata;
        }

        Place placeOf(UriInfo uri, Preferences prefer) throws ODataApplicationException {
            Place place = new Place();
            place.tracked = tracks && prefer.hasTrackChanges();
            try {
                if (uri.getDeltaTokenOption() != null) {
                    place.since = Long.parseLong(uri.getDeltaTokenOption().getValue());
                    place.tracked = true;
                    checkAge(place.since);
                }
                if (uri.getSkipTokenOption() != null) {
                    String[] parts = uri.getSkipTokenOption().getValue().split("-");
                    place.since = Long.parseLong(parts[0]);
                    place.asOf = Long.parseLong(parts[1]);
                    place.after = Long.parseLong(parts[2]);
                    place.tracked = parts[3].equals("t");
                    checkAge(place.asOf);
                }
            } catch (RuntimeException e) {
                throw new ODataApplicationException("the token is none of this service's", 400, Locale.ROOT);
            }
            return place;
        }

        void checkAge(long asOf) throws ODataApplicationException {
            if (asOf < expiredBelow) {
                throw new ODataApplicationException("the token is gone", 410, Locale.ROOT);
            }
        }

        // "Changed ge 2026-01-31T10:00:00.000000Z" is all that is understood of a filter.
        Instant changedFrom(UriInfo uri) {
            if (uri.getFilterOption() == null) {
                return null;
            }
            String text = uri.getFilterOption().getExpression().toString();
            return Instant.parse(text.replaceAll(".*?(\\d{4}-\\d\\d-\\d\\dT[0-9:.]+Z).*", "$1"));
        }

        @Override
        public void readEntityCollection(ODataRequest request, ODataResponse response, UriInfo uri, ContentType type)
            throws ODataApplicationException, ODataLibraryException {
            synchronized (Service.class) {
                read(request, response, uri, type);
            }
        }

        void read(ODataRequest request, ODataResponse response, UriInfo uri, ContentType type)
            throws ODataApplicationException, ODataLibraryException {
            EdmEntitySet set = ((UriResourceEntitySet) uri.getUriResourceParts().get(0)).getEntitySet();
            Preferences prefer = odata.createPreferences(request.getHeaders(HttpHeader.PREFER));
            Integer asked = prefer.getMaxPageSize();
            int size = asked == null ? pageRows : Math.min(pageRows, asked);
            Place place = placeOf(uri, prefer);
            Instant from = changedFrom(uri);
            boolean delta = place.since > 0;
            Delta page = new Delta();
            long last = 0;
            boolean more = false;
            for (Map.Entry<Long, Row> entry : rows.tailMap(place.after, false).entrySet()) {
                Row row = entry.getValue();
                if (delta ? row.version <= place.since : row.gone || (from != null && row.changed.isBefore(from))) {
                    continue;
                }
                if (from == null && page.getEntities().size() + page.getDeletedEntities().size() == size) {
                    more = true;
                    break;
                }
                last = entry.getKey();
                if (row.gone) {
                    DeletedEntity deleted = new DeletedEntity();
                    deleted.setId(URI.create("Customers(" + last + ")"));
                    deleted.setReason(DeletedEntity.Reason.deleted);
                    page.getDeletedEntities().add(deleted);
                } else {
                    page.getEntities().add(row.entity);
                }
            }
            if (more) {
                String select = uri.getSelectOption() == null ? "" : "&$select=" + uri.getSelectOption().getText();
                page.setNext(URI.create(base + "Customers?$skiptoken=" + place.since + "-" + place.asOf + "-" + last + "-"
                    + (place.tracked ? "t" : "n") + select));
            } else if (place.tracked) {
                page.setDeltaLink(URI.create(base + "Customers?$deltatoken=" + place.asOf));
            }
            if (uri.getCountOption() != null && uri.getCountOption().getValue()) {
                page.setCount((int) rows.values().stream().filter(row -> !row.gone).count());
            }
            EntityCollectionSerializerOptions options = EntityCollectionSerializerOptions.with().id(base + "Customers")
                .count(uri.getCountOption()).select(uri.getSelectOption())
                .contextURL(ContextURL.with().serviceRoot(URI.create(base)).entitySet(set)
                    .selectList(odata.createUriHelper().buildContextURLSelectList(set.getEntityType(), null,
                        uri.getSelectOption())).build()).build();
            List<String> versions = request.getHeaders("OData-MaxVersion");
            response.setContent(delta
                ? odata.createEdmDeltaSerializer(type, versions == null ? List.of("4.0") : versions)
                    .entityCollection(metadata, set.getEntityType(), page, options).getContent()
                : odata.createSerializer(type).entityCollection(metadata, set.getEntityType(), page, options).getContent());
            response.setStatusCode(200);
            response.setHeader(HttpHeader.CONTENT_TYPE, type.toContentTypeString());
            PreferencesApplied.Builder applied = PreferencesApplied.with();
            if (asked != null) {
                applied.maxPageSize(size);
            }
            if (tracks && prefer.hasTrackChanges()) {
                applied.trackChanges();
            }
            String text = applied.build().toValueString();
            if (!text.isEmpty()) {
                response.setHeader(HttpHeader.PREFERENCE_APPLIED, text);
            }
        }
    }

    static void serve(HttpExchange exchange, OData odata, ServiceMetadata metadata) throws IOException {
        synchronized (Service.class) {
            if (busy > 0 && !exchange.getRequestURI().getPath().endsWith("$metadata")) {
                busy--;
                exchange.getResponseHeaders().put("Retry-After", List.of("1"));
                exchange.sendResponseHeaders(429, -1);
                exchange.close();
                return;
            }
        }
        ODataRequest request = new ODataRequest();
        request.setMethod(HttpMethod.valueOf(exchange.getRequestMethod()));
        request.setProtocol("HTTP/1.1");
        request.setBody(exchange.getRequestBody());
        exchange.getRequestHeaders().forEach(request::addHeader);
        URI uri = exchange.getRequestURI();
        String path = uri.getRawPath().substring("/shop".length());
        String root = base.substring(0, base.length() - 1);
        request.setRawBaseUri(root);
        request.setRawODataPath(path);
        request.setRawQueryPath(uri.getRawQuery());
        request.setRawRequestUri(root + path + (uri.getRawQuery() == null ? "" : "?" + uri.getRawQuery()));
        ODataHandler handler = odata.createRawHandler(metadata);
        handler.register(new Reader());
        ODataResponse response = handler.process(request);
        response.getAllHeaders().forEach((name, values) -> exchange.getResponseHeaders().put(name, values));
        byte[] body = response.getContent() == null ? new byte[0] : response.getContent().readAllBytes();
        exchange.sendResponseHeaders(response.getStatusCode(), body.length == 0 ? -1 : body.length);
        if (body.length > 0) {
            exchange.getResponseBody().write(body);
        }
        exchange.close();
    }

    // The rows that were there at first, and what the journal says of them since. Returns the journal, to go on with. A
    // line that a kill has cut was told to nobody.
    static OutputStream open(long first, String journal) throws IOException {
        Path path = journal == null ? null : Path.of(journal);
        String text = path != null && Files.exists(path) ? Files.readString(path) : "";
        text = text.substring(0, text.lastIndexOf('\n') + 1);
        String[] lines = text.isEmpty() ? new String[0] : text.split("\n");
        Instant begun = lines.length > 0 ? Instant.parse(lines[0]) : Instant.now().truncatedTo(ChronoUnit.MICROS);
        for (long id = 1; id <= first; id++) {
            store(id, "Name" + id, id + ".25", begun.plusNanos(id * 1000));
        }
        made = 0;
        for (int i = 1; i < lines.length; i++) {
            apply(lines[i].split(","));
        }
        if (path == null) {
            return OutputStream.nullOutputStream();
        }
        Files.writeString(path, text.isEmpty() ? begun + "\n" : text);
        return Files.newOutputStream(path, StandardOpenOption.APPEND);
    }

    static synchronized String control(String[] command, OutputStream journal) throws IOException {
        switch (command[0]) {
            case "put" -> put(Long.parseLong(command[1]), command[2], command[3]);
            case "remove" -> remove(Long.parseLong(command[1]));
            case "edit" -> edit(Long.parseLong(command[1]), Integer.parseInt(command[2]));
            case "expire", "tracks", "page" -> make(command);
            case "busy" -> busy = Integer.parseInt(command[1]);
            case "made" -> {
                return made + "\n";
            }
            case "rows" -> {
                StringBuilder text = new StringBuilder();
                rows.values().stream().filter(row -> !row.gone).forEach(row -> text.append(row.text).append('\n'));
                return text.toString();
            }
            default -> throw new IllegalArgumentException(command[0]);
        }
        // Before anybody is shown what was changed.
        journal.write(unwritten.toString().getBytes());
        unwritten.setLength(0);
        return "done\n";
    }

    public static void main(String[] arguments) throws Exception {
        boolean kept = arguments.length > 1;
        OutputStream journal = open(Long.parseLong(arguments[0]), kept ? arguments[2] : null);
        OData odata = OData.newInstance();
        ServiceMetadata metadata = odata.createServiceMetadata(new Provider(), List.of());
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", kept ? Integer.parseInt(arguments[1]) : 0), 50);
        base = "http://127.0.0.1:" + server.getAddress().getPort() + "/shop/";
        server.createContext("/shop", exchange -> serve(exchange, odata, metadata));
        server.createContext("/control", exchange -> {
            byte[] answer = control(exchange.getRequestURI().getQuery().split(","), journal).getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        System.out.println(server.getAddress().getPort());
    }
}
