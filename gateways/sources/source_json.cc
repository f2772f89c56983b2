#include "gateways/sources/source_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "projectors/provisioning/decide_source.h"
#include "schemas/attribute_type.h"
#include "schemas/base/datetime.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"
#include "schemas/base/text_values.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::seconds;

constexpr seconds kIntervalMax{24 * 60 * 60};
constexpr size_t kListMax = 1'000;

absl::Status Wrong(std::string_view what, std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
               fmt::format("{}: {}", what, why));
}

// Sets a string member where it is there.
template <typename Set>
absl::Status ReadText(const Json& object, std::string_view what, std::string_view name, Set set) {
  ASSIGN_OR_RETURN(std::optional<std::string> text, StringMember(object, what, name));
  if (text.has_value()) {
    set(*std::move(text));
  }
  return absl::OkStatus();
}

template <typename Set>
absl::Status ReadFlag(const Json& object, std::string_view what, const char* name, Set set) {
  const auto found = object.find(name);
  if (found == object.end()) {
    return absl::OkStatus();
  }
  if (!found->is_boolean()) {
    return Wrong(what, fmt::format("'{}' is true or false", name));
  }
  set(found->template get<bool>());
  return absl::OkStatus();
}

// A list of strings, or one string.
template <typename Add>
absl::Status ReadTexts(const Json& object, std::string_view what, const char* name, Add add) {
  const auto found = object.find(name);
  if (found == object.end()) {
    return absl::OkStatus();
  }
  const Json list = found->is_string() ? Json::array({*found}) : *found;
  if (!list.is_array() || list.size() > kListMax) {
    return Wrong(what, fmt::format("'{}' is a list of at most {} strings", name, kListMax));
  }
  for (const Json& text : list) {
    if (!text.is_string()) {
      return Wrong(what, fmt::format("'{}' is a list of strings", name));
    }
    add(text.get<std::string>());
  }
  return absl::OkStatus();
}

template <typename Set>
absl::Status ReadSeconds(const Json& object, std::string_view what, const char* name,
                         seconds shortest, Set set) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, StringMember(object, what, name));
  if (!text.has_value()) {
    return absl::OkStatus();
  }
  const auto duration = ParseDuration(*text);
  if (!duration.ok() || *duration < shortest || *duration > kIntervalMax ||
      *duration % std::chrono::milliseconds(1'000) != std::chrono::milliseconds(0)) {
    return Wrong(what, fmt::format("'{}' is {} to {}, in whole seconds", name,
                                   FormatDuration(shortest), FormatDuration(kIntervalMax)));
  }
  set(static_cast<uint32_t>(std::chrono::duration_cast<seconds>(*duration).count()));
  return absl::OkStatus();
}

absl::Status ReadAuth(const Json& auth, v1::SourceAuth* out) {
  constexpr std::string_view kWhat = "auth";
  RETURN_IF_ERROR(
      CheckMembers(auth, kWhat, {"kind", "token_url", "client_id", "scope", "username"}));
  const auto read = [&](const char* name, std::string* to) {
    return ReadText(auth, kWhat, name, [to](std::string text) { *to = std::move(text); });
  };
  RETURN_IF_ERROR(read("kind", out->mutable_kind()));
  RETURN_IF_ERROR(read("token_url", out->mutable_token_url()));
  RETURN_IF_ERROR(read("client_id", out->mutable_client_id()));
  RETURN_IF_ERROR(read("scope", out->mutable_scope()));
  return read("username", out->mutable_username());
}

absl::Status ReadDeclaration(const Json& entity, std::string_view what, v1::SourceEntity* out) {
  if (!entity.contains("attributes")) {
    return absl::OkStatus();
  }
  Json declaration;
  declaration["attributes"] = entity["attributes"];
  if (entity.contains("primary_key")) {
    declaration["primary_key"] = entity["primary_key"];
  }
  const auto parsed = schemas::ParseEntityDefinition(out->name(), declaration.dump());
  RETURN_IF_ERROR_CTX(parsed.status(), what);
  *out->mutable_attributes() = parsed->attributes();
  out->set_primary_key(parsed->primary_key());
  return absl::OkStatus();
}

absl::Status ReadEntity(const std::string& name, const Json& entity, seconds interval_min,
                        v1::SourceEntity* out) {
  if (!schemas::IsValidName(name)) {
    return Wrong("entities", fmt::format("{} is no entity name", QuoteForError(name)));
  }
  const std::string what = fmt::format("entity '{}'", name);
  RETURN_IF_ERROR(CheckMembers(entity, what,
                               {"set", "select", "interval", "topic", "key", "modified",
                                "reconcile", "attributes", "primary_key", "disabled"}));
  out->set_name(name);
  const auto read = [&](const char* member, std::string* to) {
    return ReadText(entity, what, member, [to](std::string text) { *to = std::move(text); });
  };
  RETURN_IF_ERROR(read("set", out->mutable_set()));
  RETURN_IF_ERROR(read("topic", out->mutable_topic()));
  RETURN_IF_ERROR(read("modified", out->mutable_modified()));
  RETURN_IF_ERROR(ReadTexts(entity, what, "select",
                            [out](std::string text) { out->add_select(std::move(text)); }));
  RETURN_IF_ERROR(
      ReadTexts(entity, what, "key", [out](std::string text) { out->add_key(std::move(text)); }));
  RETURN_IF_ERROR(ReadSeconds(entity, what, "interval", interval_min,
                              [out](uint32_t value) { out->set_interval_s(value); }));
  RETURN_IF_ERROR(ReadSeconds(entity, what, "reconcile", interval_min,
                              [out](uint32_t value) { out->set_reconcile_s(value); }));
  RETURN_IF_ERROR(ReadFlag(entity, what, "disabled", [out](bool is) { out->set_disabled(is); }));
  return ReadDeclaration(entity, what, out);
}

absl::Status ReadTenants(const Json& tenants, v1::TenantRule* out) {
  constexpr std::string_view kWhat = "tenants";
  RETURN_IF_ERROR(CheckMembers(tenants, kWhat, {"column", "organisation", "create"}));
  RETURN_IF_ERROR(ReadText(tenants, kWhat, "column",
                           [out](std::string text) { out->set_column(std::move(text)); }));
  RETURN_IF_ERROR(ReadText(tenants, kWhat, "organisation",
                           [out](std::string text) { out->set_organisation(std::move(text)); }));
  return ReadFlag(tenants, kWhat, "create", [out](bool is) { out->set_create(is); });
}

// An object of strings.
template <typename Add>
absl::Status ReadMap(const Json& object, const char* what, Add add) {
  if (!object.is_object() || object.size() > kListMax) {
    return Wrong(what, "an object of strings");
  }
  for (const auto& [name, value] : object.items()) {
    if (!value.is_string()) {
      return Wrong(what, fmt::format("{} is no string", QuoteForError(name)));
    }
    add(name, value.template get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ReadSettings(const Json& source, seconds interval_min, v1::SourceSettings* out) {
  constexpr std::string_view kWhat = "a source";
  const auto read = [&](const char* name, std::string* to) {
    return ReadText(source, kWhat, name, [to](std::string text) { *to = std::move(text); });
  };
  RETURN_IF_ERROR(read("kind", out->mutable_kind()));
  RETURN_IF_ERROR(read("url", out->mutable_url()));
  RETURN_IF_ERROR(read("brokers", out->mutable_brokers()));
  RETURN_IF_ERROR(read("transactions", out->mutable_transactions()));
  RETURN_IF_ERROR(read("odata_version", out->mutable_odata_version()));
  RETURN_IF_ERROR(ReadSeconds(source, kWhat, "interval", interval_min,
                              [out](uint32_t value) { out->set_interval_s(value); }));
  RETURN_IF_ERROR(ReadTexts(source, kWhat, "link_hosts",
                            [out](std::string text) { out->add_link_hosts(std::move(text)); }));
  RETURN_IF_ERROR(
      ReadFlag(source, kWhat, "snapshot_keeps", [out](bool is) { out->set_snapshot_keeps(is); }));
  if (const auto auth = source.find("auth"); auth != source.end()) {
    RETURN_IF_ERROR(ReadAuth(*auth, out->mutable_auth()));
  }
  if (const auto tenants = source.find("tenants"); tenants != source.end()) {
    RETURN_IF_ERROR(ReadTenants(*tenants, out->mutable_tenants()));
  }
  if (const auto kafka = source.find("kafka"); kafka != source.end()) {
    RETURN_IF_ERROR(ReadMap(*kafka, "kafka", [out](const std::string& name, std::string value) {
      (*out->mutable_kafka())[name] = std::move(value);
    }));
  }
  const auto entities = source.find("entities");
  bool all = entities == source.end();
  RETURN_IF_ERROR(ReadFlag(source, kWhat, "all_entities", [&all](bool is) { all = is; }));
  out->set_all_entities(all);
  if (entities == source.end()) {
    return absl::OkStatus();
  }
  if (!entities->is_object() || entities->size() > kListMax) {
    return Wrong("entities", fmt::format("an object of at most {} entities", kListMax));
  }
  for (const auto& [name, entity] : entities->items()) {
    RETURN_IF_ERROR(ReadEntity(name, entity, interval_min, out->add_entities()));
  }
  return absl::OkStatus();
}

void Put(Json& json, const char* name, const std::string& text) {
  if (!text.empty()) {
    json[name] = text;
  }
}

void PutSeconds(Json& json, const char* name, uint32_t value) {
  if (value != 0) {
    json[name] = FormatDuration(seconds(value));
  }
}

template <typename Texts>
void PutTexts(Json& json, const char* name, const Texts& texts) {
  if (!texts.empty()) {
    json[name] = std::vector<std::string>(texts.begin(), texts.end());
  }
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string TimeText(int64_t micros) { return FormatDatetime(micros); }

Json AttributesJson(const google::protobuf::RepeatedPtrField<v1::Attribute>& attributes) {
  Json list = Json::array();
  for (const v1::Attribute& attribute : attributes) {
    Json one{{"name", attribute.name()},
             {"type", std::string(schemas::AttributeTypeName(attribute.type()))}};
    Put(one, "references", attribute.references());
    list.push_back(std::move(one));
  }
  return list;
}

Json EntityJson(const v1::SourceEntity& entity) {
  Json json = Json::object();
  Put(json, "set", entity.set());
  PutTexts(json, "select", entity.select());
  PutSeconds(json, "interval", entity.interval_s());
  Put(json, "topic", entity.topic());
  PutTexts(json, "key", entity.key());
  Put(json, "modified", entity.modified());
  PutSeconds(json, "reconcile", entity.reconcile_s());
  if (!entity.attributes().empty()) {
    json["primary_key"] = entity.primary_key();
    json["attributes"] = AttributesJson(entity.attributes());
  }
  if (entity.disabled()) {
    json["disabled"] = true;
  }
  return json;
}

Json SettingsJson(const v1::SourceSettings& settings) {
  Json json{{"kind", settings.kind()}};
  Put(json, "url", settings.url());
  Put(json, "brokers", settings.brokers());
  Put(json, "transactions", settings.transactions());
  PutSeconds(json, "interval", settings.interval_s());
  PutTexts(json, "link_hosts", settings.link_hosts());
  Put(json, "odata_version", settings.odata_version());
  if (settings.snapshot_keeps()) {
    json["snapshot_keeps"] = true;
  }
  if (settings.has_auth()) {
    Json auth = Json::object();
    Put(auth, "kind", settings.auth().kind());
    Put(auth, "token_url", settings.auth().token_url());
    Put(auth, "client_id", settings.auth().client_id());
    Put(auth, "scope", settings.auth().scope());
    Put(auth, "username", settings.auth().username());
    json["auth"] = std::move(auth);
  }
  if (settings.has_tenants()) {
    Json tenants{{"column", settings.tenants().column()}};
    Put(tenants, "organisation", settings.tenants().organisation());
    tenants["create"] = settings.tenants().create();
    json["tenants"] = std::move(tenants);
  }
  if (!settings.kafka().empty()) {
    // In the order of their names: those of the message's map have none.
    json["kafka"] =
        std::map<std::string, std::string>(settings.kafka().begin(), settings.kafka().end());
  }
  json["all_entities"] = settings.all_entities();
  return json;
}

Json StatusJson(const StreamStatus& status) {
  Json json = Json::object();
  if (status.next_run.has_value()) {
    json["next_run"] = TimeText(status.next_run->time_since_epoch().count());
  }
  if (!status.work.has_value()) {
    json["state"] = "waiting";
    return json;
  }
  const projectors::StreamWork& work = *status.work;
  const v1::RunNumbers& numbers = work.numbers;
  json["state"] = !work.error_code.empty()  ? "failing"
                  : status.queued           ? "queued"
                  : numbers.state().empty() ? (work.running ? "running" : "waiting")
                                            : numbers.state();
  json["rows"] = work.state.rows();
  json["loaded"] = numbers.loaded();
  if (numbers.total() > 0) {
    json["total"] = numbers.total();
    json["percent"] = std::min<uint64_t>(100, numbers.loaded() * 100 / numbers.total());
  }
  Put(json, "position", numbers.position());
  if (numbers.lag_us() > 0) {
    json["lag_s"] = static_cast<double>(numbers.lag_us()) / 1e6;
  }
  json["rejected"] = numbers.rejected();
  if (work.last_run != SystemTime()) {
    json["last_run"] = TimeText(work.last_run.time_since_epoch().count());
  }
  if (work.open.has_value() && !work.running && work.not_before != SystemTime()) {
    json["retry_at"] = TimeText(work.not_before.time_since_epoch().count());
  }
  if (!work.error_code.empty()) {
    json["last_error"] = {{"code", work.error_code},
                          {"detail", work.error_detail},
                          {"at", TimeText(work.failed_at.time_since_epoch().count())}};
  }
  return json;
}

Json RefusedJson(const std::vector<SourceOffer::Refused>& refused) {
  Json list = Json::array();
  for (const SourceOffer::Refused& one : refused) {
    list.push_back({{"name", one.name}, {"code", one.code}, {"reason", one.reason}});
  }
  return list;
}

}  // namespace

absl::StatusOr<ParsedSource> ParseSource(std::string_view name, std::string_view json,
                                         seconds interval_min) {
  RETURN_IF_ERROR(projectors::CheckSourceName(name));
  ASSIGN_OR_RETURN(const Json source, ParseStrictObject<Json>(json));
  RETURN_IF_ERROR(CheckMembers(
      source, "a source",
      {"kind", "url", "interval", "auth", "secrets", "entities", "all_entities", "brokers",
       "transactions", "tenants", "link_hosts", "odata_version", "snapshot_keeps", "kafka"}));
  ParsedSource parsed;
  parsed.settings.set_name(std::string(name));
  RETURN_IF_ERROR(ReadSettings(source, interval_min, &parsed.settings));
  if (const auto secrets = source.find("secrets"); secrets != source.end()) {
    Secrets& into = parsed.secrets.emplace();
    RETURN_IF_ERROR(ReadMap(*secrets, "secrets", [&into](const std::string& key, std::string text) {
      into.emplace(key, SecretText(std::move(text)));
    }));
  }
  return parsed;
}

absl::StatusOr<v1::SourceEntity> ChangeSourceEntity(const v1::SourceEntity& current,
                                                    std::string_view json, seconds interval_min) {
  ASSIGN_OR_RETURN(const Json change, ParseStrictObject<Json>(json));
  Json settings = EntityJson(current);
  settings.update(change);
  settings.erase("disabled");
  v1::SourceEntity entity;
  RETURN_IF_ERROR(ReadEntity(current.name(), settings, interval_min, &entity));
  return entity;
}

std::string SourceToJson(const v1::SourceDefined& defined, std::string_view etag,
                         const std::map<std::string, StreamStatus>& streams) {
  const v1::SourceSettings& settings = defined.settings();
  Json json{{"name", settings.name()}, {"etag", std::string(etag)}};
  json.update(SettingsJson(settings));
  Json names = Json::array();
  std::set<std::string> keys;
  for (const v1::SealedSecret& secret : defined.secrets()) {
    names.push_back(secret.name());
    keys.insert(secret.key_id());
  }
  json["secrets"] = std::move(names);
  json["keys"] = keys;
  Json entities = Json::object();
  for (const v1::SourceEntity& entity : settings.entities()) {
    entities[entity.name()] = EntityJson(entity);
  }
  for (const auto& [stream, status] : streams) {
    Json& at = stream.empty() ? json["source"] : entities[stream];
    at.update(StatusJson(status));
  }
  json["entities"] = std::move(entities);
  return Dump(json);
}

std::string OfferToJson(const absl::StatusOr<SourceOffer>& offer) {
  if (!offer.ok()) {
    return Dump({{"ok", false},
                 {"error",
                  {{"code", ErrorCode(offer.status())},
                   {"detail", std::string(Message(offer.status()))}}}});
  }
  Json entities = Json::object();
  for (const SourceOffer::Entity& entity : offer->entities) {
    Json one{{"primary_key", entity.definition.primary_key()},
             {"attributes", AttributesJson(entity.definition.attributes())}};
    if (entity.rows.has_value()) {
      one["rows"] = *entity.rows;
    }
    one["tracks_changes"] = entity.tracks_changes;
    one["refused"] = RefusedJson(entity.refused);
    entities[entity.definition.name()] = std::move(one);
  }
  return Dump(
      {{"ok", true}, {"entities", std::move(entities)}, {"refused", RefusedJson(offer->refused)}});
}

}  // namespace sluice::gateways
