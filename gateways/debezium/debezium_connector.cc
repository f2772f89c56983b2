#include "gateways/debezium/debezium_connector.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "gateways/debezium/debezium_metrics.h"
#include "gateways/debezium/debezium_run.h"
#include "gateways/debezium/record_reader.h"
#include "gateways/debezium/table_mapper.h"
#include "gateways/debezium/tenant_router.h"
#include "schemas/attribute_type.h"
#include "schemas/base/ascii.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/entity_definition.h"

namespace sluice::gateways {
namespace {

constexpr int kTablesMax = 1'000;
constexpr size_t kTopicNameMax = 249;  // Kafka's
constexpr size_t kPropertyBytesMax = 64 << 10;
constexpr std::string_view kOrgPlace = "{org}";

absl::Status Invalid(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", why);
}
absl::Status NotAllowed(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "source_not_allowed", why);
}

// Properties of librdkafka that a source may set, and their values where not every one will do.
// Others read files, load libraries and run commands.
struct AllowedProperty {
  std::string_view name;
  std::vector<std::string_view> values;
};
const std::vector<AllowedProperty>& AllowedProperties() {
  static const auto* const kAllowed = new std::vector<AllowedProperty>{
      {"security.protocol", {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"}},
      {"sasl.mechanism", {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}},
      {"sasl.username", {}},
      {"ssl.ca.pem", {}},
      {"ssl.certificate.pem", {}},
      {"ssl.endpoint.identification.algorithm", {"none", "https"}},
  };
  return *kAllowed;
}

// Names of secrets, and the properties that they are.
constexpr auto kSecretProperties = std::to_array<std::pair<std::string_view, std::string_view>>(
    {{"sasl_password", "sasl.password"},
     {"ssl_key", "ssl.key.pem"},
     {"ssl_key_password", "ssl.key.password"}});

absl::Status CheckProperties(const v1::SourceSettings& settings) {
  for (const auto& [name, value] : settings.kafka()) {
    const auto found = std::ranges::find(AllowedProperties(), name, &AllowedProperty::name);
    if (found == AllowedProperties().end()) {
      return NotAllowed(fmt::format("the Kafka property {} can't be set", QuoteForError(name)));
    }
    if (value.size() > kPropertyBytesMax ||
        (!found->values.empty() &&
         std::ranges::find(found->values, value) == found->values.end())) {
      return NotAllowed(
          fmt::format("the Kafka property {} can't be {}", name, QuoteForError(value)));
    }
  }
  return absl::OkStatus();
}

bool IsTopicName(std::string_view name) {
  return !name.empty() && name.size() <= kTopicNameMax && name != "." && name != ".." &&
         std::ranges::all_of(
             name, [](char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; });
}

std::vector<std::string> SplitBrokers(std::string_view list) {
  std::vector<std::string> brokers;
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (const std::string_view one = TrimBlanks(list.substr(0, comma)); !one.empty()) {
      brokers.emplace_back(one);
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return brokers;
}

bool Matches(std::string pattern, const OrgId& org, std::string_view topic) {
  if (const size_t at = pattern.find(kOrgPlace); at != std::string::npos) {
    pattern.replace(at, kOrgPlace.size(), org.value());
  }
  if (!pattern.ends_with('*')) {
    return topic == pattern;
  }
  pattern.pop_back();
  return topic.starts_with(pattern);
}

class DebeziumConnector final : public Connector {
 public:
  DebeziumConnector(DebeziumOptions options, eventlog::RecordSourceFactory factory,
                    const Clock& clock, std::shared_ptr<prometheus::Registry> registry)
      : options_(std::move(options)),
        factory_(std::move(factory)),
        clock_(clock),
        metrics_(std::move(registry)) {}

  std::string_view kind() const override { return "debezium"; }
  bool by_entity() const override { return false; }

  absl::Status Validate(const v1::SourceSettings& settings, const OrgId& org,
                        bool tenant) const override {
    RETURN_IF_ERROR(CheckBrokers(settings));
    RETURN_IF_ERROR(CheckProperties(settings));
    RETURN_IF_ERROR(CheckEntities(settings));
    if (!settings.transactions().empty()) {
      RETURN_IF_ERROR(CheckTopic(settings, settings.transactions()));
    }
    if (settings.has_tenants()) {
      if (tenant) {
        return NotAllowed("only an administrator of all may have a source of many organisations");
      }
      if (settings.tenants().column().empty()) {
        return Invalid("tenants.column names no column");
      }
      RETURN_IF_ERROR(CheckTenantRule(settings.tenants()));
    }
    return tenant ? CheckTenantTopics(settings, org) : absl::OkStatus();
  }

  absl::StatusOr<SourceOffer> Check(const SourceContext& context,
                                    const std::function<bool()>& stopping) override {
    ASSIGN_OR_RETURN(const auto source, Open(context));
    EnvelopeReader reader;
    SourceOffer offer;
    for (const v1::SourceEntity& entity : context.settings.entities()) {
      if (entity.disabled()) {
        continue;
      }
      ASSIGN_OR_RETURN(const auto partitions, source->Partitions(entity.topic()));
      std::optional<TableChange> newest;
      if (!partitions.empty()) {
        ASSIGN_OR_RETURN(newest,
                         ReadNewestChange(*source, entity.topic(), partitions, reader, stopping));
      }
      TableMapper mapper(entity, fmt::format("debezium:{}", context.settings.name()));
      const auto definition = mapper.Define(nullptr, newest.value_or(TableChange()));
      if (!newest.has_value() && !definition.ok()) {
        offer.refused.push_back(
            {entity.name(), "no_messages",
             fmt::format("{} has no rows yet: it is defined by the first", entity.topic())});
      } else if (!definition.ok()) {
        offer.refused.push_back({entity.name(), ErrorCode(definition.status()),
                                 std::string(Message(definition.status()))});
      } else {
        SourceOffer::Entity& offered = offer.entities.emplace_back();
        offered.definition = definition->entity;
        offered.tracks_changes = true;
        for (const RefusedColumn& column : definition->refused) {
          offered.refused.push_back({column.name, column.code, column.reason});
        }
      }
    }
    return offer;
  }

  absl::Status Run(const SourceContext& context, RowSink& sink) override {
    ASSIGN_OR_RETURN(const auto source, Open(context));
    return DebeziumRun(context, sink, *source, clock_, metrics_).Run();
  }

 private:
  absl::StatusOr<std::unique_ptr<eventlog::RecordSource>> Open(const SourceContext& context) const {
    // The list may have become shorter since the source was defined.
    RETURN_IF_ERROR(CheckBrokers(context.settings));
    RETURN_IF_ERROR(CheckProperties(context.settings));
    eventlog::RecordSourceOptions options;
    options.brokers = BrokersOf(context.settings);
    options.properties = {context.settings.kafka().begin(), context.settings.kafka().end()};
    for (const auto& [secret, property] : kSecretProperties) {
      if (const auto found = context.secrets.find(secret); found != context.secrets.end()) {
        options.properties[std::string(property)] = found->second.Reveal();
      }
    }
    return factory_(options);
  }

  const std::string& BrokersOf(const v1::SourceSettings& settings) const {
    return settings.brokers().empty() ? options_.log_brokers : settings.brokers();
  }

  absl::Status CheckBrokers(const v1::SourceSettings& settings) const {
    const std::vector<std::string> wanted = SplitBrokers(BrokersOf(settings));
    if (wanted.empty()) {
      return Invalid("brokers is empty, and the log is not in Kafka");
    }
    const std::vector<std::string> own = SplitBrokers(options_.log_brokers);
    for (const std::string& broker : wanted) {
      if (std::ranges::find(own, broker) == own.end() &&
          std::ranges::find(options_.allowed_brokers, broker) == options_.allowed_brokers.end()) {
        return NotAllowed(
            fmt::format("{} is none of sources.kafka_brokers", QuoteForError(broker)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckTopic(const v1::SourceSettings& settings, const std::string& topic) const {
    if (!IsTopicName(topic)) {
      return Invalid(fmt::format("{} is no topic's name", QuoteForError(topic)));
    }
    // Also under other brokers: one cluster has many addresses.
    const bool has_prefix =
        !options_.topic_prefix.empty() && topic.starts_with(options_.topic_prefix);
    const bool is_own = std::ranges::any_of(eventlog::kAllTopics, [&](eventlog::Topic own) {
      return topic == fmt::format("{}{}", options_.topic_prefix, eventlog::TopicName(own));
    });
    return has_prefix || is_own ? NotAllowed(fmt::format("{} is a topic of the log's own ({})",
                                                         QuoteForError(topic), settings.name()))
                                : absl::OkStatus();
  }

  absl::Status CheckEntities(const v1::SourceSettings& settings) const {
    if (settings.entities().empty()) {
      return Invalid("entities names no topic: a Debezium source needs each table's");
    }
    if (settings.entities_size() > kTablesMax) {
      return Invalid(
          fmt::format("{} tables are more than {}", settings.entities_size(), kTablesMax));
    }
    std::set<std::string> topics;
    std::set<std::string> names;
    for (const v1::SourceEntity& entity : settings.entities()) {
      if (!schemas::IsValidName(entity.name())) {
        return Invalid(fmt::format("{} is no name of an entity", QuoteForError(entity.name())));
      }
      RETURN_IF_ERROR_CTX(CheckTopic(settings, entity.topic()), entity.name());
      if (!topics.insert(entity.topic()).second || entity.topic() == settings.transactions()) {
        return Invalid(
            fmt::format("{}: the topic {} is there twice", entity.name(), entity.topic()));
      }
      if (!names.insert(entity.name()).second) {
        return Invalid(fmt::format("the entity {} is there twice", entity.name()));
      }
      if (!entity.attributes().empty()) {
        RETURN_IF_ERROR_CTX(CheckDeclaration(entity), entity.name());
      }
    }
    return absl::OkStatus();
  }

  // As it will be defined, with a key from the messages where none is declared.
  static absl::Status CheckDeclaration(const v1::SourceEntity& entity) {
    v1::ProvisioningRequest::PutEntity declared;
    declared.set_name(entity.name());
    *declared.mutable_attributes() = entity.attributes();
    declared.set_primary_key(entity.primary_key().empty() ? entity.attributes(0).name()
                                                          : entity.primary_key());
    return schemas::ValidateDefinition(declared);
  }

  absl::Status CheckTenantTopics(const v1::SourceSettings& settings, const OrgId& org) const {
    std::vector<std::string> topics = {settings.transactions()};
    for (const v1::SourceEntity& entity : settings.entities()) {
      topics.push_back(entity.topic());
    }
    std::erase(topics, "");
    for (const std::string& topic : topics) {
      if (std::ranges::none_of(options_.tenant_topics, [&](const std::string& pattern) {
            return Matches(pattern, org, topic);
          })) {
        return NotAllowed(fmt::format("{} is none of the topics that organisations may read",
                                      QuoteForError(topic)));
      }
    }
    return absl::OkStatus();
  }

  const DebeziumOptions options_;
  const eventlog::RecordSourceFactory factory_;
  const Clock& clock_;
  DebeziumMetrics metrics_;
};

}  // namespace

std::unique_ptr<Connector> MakeDebeziumConnector(DebeziumOptions options,
                                                 eventlog::RecordSourceFactory factory,
                                                 const Clock& clock,
                                                 std::shared_ptr<prometheus::Registry> registry) {
  return std::make_unique<DebeziumConnector>(std::move(options), std::move(factory), clock,
                                             std::move(registry));
}

}  // namespace sluice::gateways
