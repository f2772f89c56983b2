#include "gateways/odata/odata_connector.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gateways/odata/delta_run.h"
#include "gateways/odata/entity_mapper.h"
#include "gateways/odata/load_run.h"
#include "gateways/odata/mapping_cache.h"
#include "gateways/odata/metadata_turns.h"
#include "gateways/odata/odata_client.h"
#include "gateways/odata/odata_metrics.h"
#include "gateways/odata/odata_row.h"
#include "gateways/odata/odata_url.h"
#include "gateways/odata/page_taker.h"
#include "gateways/odata/poll_run.h"
#include "gateways/odata/stream_run.h"
#include "schemas/attribute_type.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/sha256.h"
#include "schemas/base/status.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {
namespace {

constexpr size_t kLinkHostsMax = 16;
// A check asks each set how many rows it has, as long as somebody may be expected to wait.
constexpr std::chrono::seconds kCheckTime{20};
// Where a service does not heed the size of a page, the rest of it is not read.
constexpr uint64_t kCheckRows = 100;

absl::Status Invalid(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", why);
}

absl::Status ValidateEntity(const v1::SourceEntity& entity) {
  if (!schemas::IsValidName(entity.name())) {
    return Invalid(fmt::format("{} is no name of an entity", QuoteForError(entity.name())));
  }
  const bool foreign = !entity.topic().empty() || entity.key_size() > 0 ||
                       entity.attributes_size() > 0 || !entity.primary_key().empty();
  if (foreign) {
    return Invalid(
        fmt::format("{}: a service of kind odata describes its entities itself; topic, "
                    "key and attributes are of other kinds",
                    entity.name()));
  }
  return absl::OkStatus();
}

absl::Status ValidateEntities(const v1::SourceSettings& settings) {
  if (settings.entities().empty() && !settings.all_entities()) {
    return Invalid("a source of kind odata needs entities, or all of the service's");
  }
  std::set<std::string> names;
  for (const v1::SourceEntity& entity : settings.entities()) {
    RETURN_IF_ERROR(ValidateEntity(entity));
    if (!names.insert(entity.name()).second) {
      return Invalid(fmt::format("the entity {} is named twice", entity.name()));
    }
  }
  return absl::OkStatus();
}

const v1::SourceEntity* FindEntity(const v1::SourceSettings& settings, std::string_view name) {
  const auto found = std::ranges::find(settings.entities(), name, &v1::SourceEntity::name);
  return found == settings.entities().end() ? nullptr : &*found;
}

// `first`: the entity that is mapped if not all can be; empty: none is preferred.
EntityMapping MapWanted(const v1::SourceSettings& settings, const Csdl& csdl,
                        std::string_view first) {
  std::vector<WantedEntity> wanted;
  std::set<std::string> listed;  // sets, and names of entities
  for (const v1::SourceEntity& entity : settings.entities()) {
    listed.insert(entity.set().empty() ? entity.name() : entity.set());
    listed.insert(entity.name());
    if (entity.disabled()) {
      continue;
    }
    WantedEntity& added = wanted.emplace_back();
    added.name = entity.name();
    added.set = entity.set();
    added.select.assign(entity.select().begin(), entity.select().end());
    if (!added.select.empty() && !entity.modified().empty()) {
      added.select.push_back(entity.modified());
    }
  }
  if (settings.all_entities()) {
    for (WantedEntity& entity : AllEntities(csdl)) {
      if (!listed.contains(entity.set) && !listed.contains(entity.name)) {
        wanted.push_back(std::move(entity));
      }
    }
  }
  std::ranges::stable_partition(
      wanted, [first](const WantedEntity& entity) { return entity.name == first; });
  return wanted.empty() ? EntityMapping() : MapEntities(csdl, wanted);
}

const MappedEntity* FindMapped(const EntityMapping& mapping, std::string_view name) {
  const auto found = std::ranges::find_if(mapping.entities, [name](const MappedEntity& entity) {
    return entity.definition.name() == name;
  });
  return found == mapping.entities.end() ? nullptr : &*found;
}

// The column of the property that says when a row was changed last.
const MappedColumn* ModifiedColumn(const MappedEntity& entity, std::string_view property) {
  const auto found = std::ranges::find_if(entity.columns, [&](const MappedColumn& column) {
    return column.path.size() == 1 && column.path[0] == property &&
           column.type == EdmType::kDateTimeOffset;
  });
  return found == entity.columns.end() ? nullptr : &*found;
}

absl::Status NoModified(const MappedEntity& entity, std::string_view property) {
  return Error(absl::StatusCode::kFailedPrecondition, "not_in_source",
               fmt::format("{} has no property {} of the type Edm.DateTimeOffset",
                           entity.definition.name(), QuoteForError(property)));
}

// What a load asks for and what its rows become, so that another one is seen: the entity of that
// name may have been deleted and defined anew, its key composed otherwise, a property moved.
// Without regard to the order in which the service lists its properties.
std::string SelectedOf(const Url& root, const MappedEntity& entity, std::string_view modified,
                       schemas::EntityId id) {
  std::vector<std::string> columns;
  for (const MappedColumn& column : entity.columns) {
    columns.push_back(fmt::format("{}={}:{}", column.attribute, fmt::join(column.path, "/"),
                                  static_cast<int>(column.type)));
  }
  std::ranges::sort(columns);
  std::string text = fmt::format("{}\n{}\n{}\n{}\n{}", root.ToString(), entity.set, modified,
                                 id.value(), entity.key_is_composed);
  for (const MappedKeyPart& part : entity.key) {
    text.append("\nkey ").append(entity.columns[part.column].attribute);
  }
  for (const std::string& column : columns) {
    text.append(1, '\n').append(column);
  }
  return fmt::format("{:016x}", DigestWord(Sha256(text), 0));
}

class ODataConnector final : public Connector {
 public:
  ODataConnector(OutboundClient& outbound, const Clock& clock,
                 std::shared_ptr<prometheus::Registry> registry)
      : outbound_(outbound),
        clock_(clock),
        registry_(RegistryOrNew(std::move(registry))),
        metrics_(*registry_),
        mappings_(clock) {}

  [[nodiscard]] std::string_view kind() const override { return "odata"; }
  [[nodiscard]] bool by_entity() const override { return true; }
  [[nodiscard]] absl::Status Validate(const v1::SourceSettings& settings, const OrgId& org,
                                      bool tenant) const override;
  [[nodiscard]] absl::StatusOr<SourceOffer> Check(const SourceContext& context,
                                                  const std::function<bool()>& stopping) override;
  absl::Status Run(const SourceContext& context, RowSink& sink) override;

 private:
  using Mapping = std::shared_ptr<const EntityMapping>;

  static std::string MappingKey(const SourceContext& context);
  absl::StatusOr<Mapping> FetchMapping(const SourceContext& context, ODataClient& client,
                                       const std::function<bool()>& stopping);
  // What the cache has of the context's entity, if it is not to be fetched.
  Mapping FindMapping(const SourceContext& context);
  absl::Status CheckEntity(ODataClient& client, const MappedEntity& mapped,
                           SourceOffer::Entity& entity);
  absl::Status RunEntity(const SourceContext& context, RowSink& sink, ODataClient& client,
                         const MappedEntity& entity);

  OutboundClient& outbound_;
  const Clock& clock_;
  const std::shared_ptr<prometheus::Registry> registry_;
  ODataMetrics metrics_;
  MappingCache mappings_;
  MetadataTurns turns_;
};

absl::Status ODataConnector::Validate(const v1::SourceSettings& settings, const OrgId& /*org*/,
                                      bool /*tenant*/) const {
  RETURN_IF_ERROR(outbound_.Allows(settings.url()));
  RETURN_IF_ERROR(ServiceRoot(settings.url()).status());
  RETURN_IF_ERROR(ValidateAuth(settings.auth()));
  if (!settings.auth().token_url().empty()) {
    RETURN_IF_ERROR_CTX(outbound_.Allows(settings.auth().token_url()), "auth.token_url");
  }
  const bool foreign = !settings.brokers().empty() || !settings.transactions().empty() ||
                       settings.has_tenants() || settings.snapshot_keeps() ||
                       !settings.kafka().empty();
  if (foreign) {
    return Invalid("brokers, transactions, tenants, snapshots and kafka are of other kinds");
  }
  const std::string& version = settings.odata_version();
  if (!version.empty() && version != "4.0" && version != "4.01") {
    return Invalid("odata_version is 4.0 or 4.01");
  }
  if (static_cast<size_t>(settings.link_hosts_size()) > kLinkHostsMax) {
    return Invalid(fmt::format("there are more than {} link_hosts", kLinkHostsMax));
  }
  for (const std::string& host : settings.link_hosts()) {
    const auto url = Url::Parse("https://" + host);
    if (!url.ok() || url->host != host) {
      return Invalid(
          fmt::format("{} of link_hosts is no name of a host in lower case", QuoteForError(host)));
    }
    RETURN_IF_ERROR_CTX(outbound_.Allows(url->ToString()), "link_hosts");
  }
  return ValidateEntities(settings);
}

std::string ODataConnector::MappingKey(const SourceContext& context) {
  // The settings are all that a mapping depends on beside the service. Two serialisations of equal
  // settings may differ; then the metadata is read once more.
  const std::string settings = context.settings.SerializeAsString();
  return fmt::format("{}/{}/{:016x}", context.org.value(), context.settings.name(),
                     DigestWord(Sha256(settings), 0));
}

ODataConnector::Mapping ODataConnector::FindMapping(const SourceContext& context) {
  Mapping mapping = mappings_.Find(MappingKey(context));
  const bool lacks =
      mapping != nullptr && mapping->cut && FindMapped(*mapping, context.stream) == nullptr;
  return lacks ? nullptr : mapping;
}

absl::StatusOr<ODataConnector::Mapping> ODataConnector::FetchMapping(
    const SourceContext& context, ODataClient& client, const std::function<bool()>& stopping) {
  ASSIGN_OR_RETURN(const MetadataTurns::Turn turn, turns_.Take(context.org, stopping));
  // Another run of the source may have read it while this one waited.
  if (!context.stream.empty()) {
    if (Mapping found = FindMapping(context); found != nullptr) {
      return found;
    }
  }
  ASSIGN_OR_RETURN(const Csdl csdl, client.GetMetadata());
  auto mapping =
      std::make_shared<const EntityMapping>(MapWanted(context.settings, csdl, context.stream));
  mappings_.Put(MappingKey(context), mapping);
  return mapping;
}

absl::Status ODataConnector::CheckEntity(ODataClient& client, const MappedEntity& mapped,
                                         SourceOffer::Entity& entity) {
  const PageRequest request{.track = true, .rows = 1, .rows_max = kCheckRows};
  absl::StatusOr<ODataPage> page;
  for (const bool count : {true, false}) {  // there are services that do not count
    ASSIGN_OR_RETURN(const Url url, Url::Parse(LoadUrl(client.root(), mapped, count, false)));
    page = client.GetPage(url, request, [](std::string_view, bool) { return absl::OkStatus(); });
    if (!IsLinkRefused(page.status())) {
      break;
    }
  }
  RETURN_IF_ERROR(page.status());
  entity.rows = page->end.count;
  entity.tracks_changes = page->tracks_changes || page->end.delta_link.has_value();
  return absl::OkStatus();
}

absl::StatusOr<SourceOffer> ODataConnector::Check(const SourceContext& context,
                                                  const std::function<bool()>& stopping) {
  const SteadyTime until = clock_.SteadyNow() + kCheckTime;
  ASSIGN_OR_RETURN(const auto client,
                   ODataClient::Create(outbound_, clock_, context.settings, context.secrets,
                                       stopping, [](std::chrono::milliseconds) { return false; }));
  ASSIGN_OR_RETURN(const Mapping mapping, FetchMapping(context, *client, stopping));
  SourceOffer offer;
  for (const MappingRefusal& refused : mapping->refused) {
    offer.refused.push_back({refused.name, refused.code, refused.reason});
  }
  for (const MappedEntity& mapped : mapping->entities) {
    SourceOffer::Entity entity;
    entity.definition = mapped.definition;
    for (const MappingRefusal& refused : mapped.refused) {
      entity.refused.push_back({refused.name, refused.code, refused.reason});
    }
    const v1::SourceEntity* const settings = FindEntity(context.settings, mapped.definition.name());
    absl::Status status;
    if (settings != nullptr && !settings->modified().empty() &&
        ModifiedColumn(mapped, settings->modified()) == nullptr) {
      status = NoModified(mapped, settings->modified());
    } else if (clock_.SteadyNow() < until) {
      status = CheckEntity(*client, mapped, entity);
    }
    if (ErrorCode(status) == "source_resting" || ErrorCode(status) == "source_unreachable") {
      status = absl::OkStatus();  // it is there, but how many rows it has is not known
    }
    if (status.code() == absl::StatusCode::kFailedPrecondition) {
      offer.refused.push_back(
          {mapped.definition.name(), ErrorCode(status), std::string(Message(status))});
      continue;
    }
    RETURN_IF_ERROR(status);
    offer.entities.push_back(std::move(entity));
  }
  return offer;
}

absl::Status ODataConnector::RunEntity(const SourceContext& context, RowSink& sink,
                                       ODataClient& client, const MappedEntity& entity) {
  const v1::SourceEntity* const listed = FindEntity(context.settings, context.stream);
  const v1::SourceEntity settings = listed == nullptr ? v1::SourceEntity() : *listed;
  const MappedColumn* modified = nullptr;
  if (!settings.modified().empty()) {
    modified = ModifiedColumn(entity, settings.modified());
    if (modified == nullptr) {
      return NoModified(entity, settings.modified());
    }
  }
  ASSIGN_OR_RETURN(const auto schema, sink.Define(context.org, entity.definition));
  ASSIGN_OR_RETURN(const auto rows, ODataRowReader::Create(entity, schema));
  PageTaker taker(
      client, sink, *rows, metrics_,
      {context.stream, schema,
       modified == nullptr ? std::nullopt : std::optional(schema->Find(modified->attribute)->id)});
  StreamRun run{client,
                sink,
                taker,
                clock_,
                metrics_,
                entity,
                settings,
                {context.settings.link_hosts().begin(), context.settings.link_hosts().end()},
                SelectedOf(client.root(), entity, settings.modified(), schema->id())};
  v1::ODataCursor cursor;
  const std::string& text = context.cursor.empty() ? context.former_cursor : context.cursor;
  const bool parsed = cursor.ParseFromString(text);
  if (!parsed) {
    cursor.Clear();
  }
  const bool read = parsed && !context.cursor.empty();
  if (!read || cursor.selected() != run.selected) {
    BeginLoad(run, cursor, read ? "selection" : "begin");
  } else if (cursor.phase() == v1::ODataCursor::PHASE_LOAD && cursor.link().empty()) {
    BeginLoad(run, cursor, "again");
  } else if (IsLoadDue(run, cursor)) {
    BeginLoad(run, cursor, "rejected");
  }
  taker.SetRefused(cursor);
  if (cursor.phase() == v1::ODataCursor::PHASE_DELTA) {
    RETURN_IF_ERROR(RunDelta(run, cursor));
  } else if (cursor.phase() == v1::ODataCursor::PHASE_POLL ||
             cursor.phase() == v1::ODataCursor::PHASE_RECONCILE) {
    RETURN_IF_ERROR(RunPoll(run, cursor));
  }
  // Also where the phase before has come to that.
  if (cursor.phase() == v1::ODataCursor::PHASE_LOAD ||
      cursor.phase() == v1::ODataCursor::PHASE_RECONCILE) {
    RETURN_IF_ERROR(RunLoad(run, cursor));
  }
  return sink.Flush();
}

absl::Status ODataConnector::Run(const SourceContext& context, RowSink& sink) {
  ASSIGN_OR_RETURN(
      const auto client,
      ODataClient::Create(
          outbound_, clock_, context.settings, context.secrets, [&] { return sink.stopping(); },
          [&](std::chrono::milliseconds wait) { return sink.Pause(wait); }));
  const std::string key = MappingKey(context);
  Mapping mapping = FindMapping(context);
  if (mapping == nullptr) {
    ASSIGN_OR_RETURN(mapping, FetchMapping(context, *client, [&] { return sink.stopping(); }));
  }
  const MappedEntity* const found = FindMapped(*mapping, context.stream);
  if (found == nullptr) {
    mappings_.Forget(key);  // it may come
    const auto refused = std::ranges::find(mapping->refused, context.stream, &MappingRefusal::name);
    return refused == mapping->refused.end()
               ? Error(absl::StatusCode::kFailedPrecondition, "not_in_source",
                       fmt::format("the source has no entity {}", context.stream))
               : Error(absl::StatusCode::kFailedPrecondition, refused->code, refused->reason);
  }
  absl::Status status = RunEntity(context, sink, *client, *found);
  if (status.code() == absl::StatusCode::kFailedPrecondition) {
    mappings_.Forget(key);  // the service may have changed since
  }
  return status;
}

}  // namespace

std::unique_ptr<Connector> MakeODataConnector(OutboundClient& outbound, const Clock& clock,
                                              std::shared_ptr<prometheus::Registry> registry) {
  return std::make_unique<ODataConnector>(outbound, clock, std::move(registry));
}

}  // namespace sluice::gateways
