#include "ops/program/event_json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "schemas/base/datetime.h"
#include "schemas/row_codec.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::ops {
namespace {

template <typename Message>
bool Is(const eventlog::Event& event) {
  return event.type == Message::descriptor()->full_name();
}

nlohmann::json ToJson(const google::protobuf::Message& message) {
  std::string json;
  return google::protobuf::util::MessageToJsonString(message, &json).ok()
             ? nlohmann::json::parse(json, nullptr, false)
             : nlohmann::json(nullptr);
}

// The payload as JSON, by its type's name; null where it is none of ours.
nlohmann::json Payload(const eventlog::Event& event) {
  (void)v1::ChangeSet::descriptor();  // links the messages in
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(event.type);
  if (descriptor == nullptr) {
    return nullptr;
  }
  const std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  return message->ParseFromString(event.value) ? ToJson(*message) : nlohmann::json(nullptr);
}

nlohmann::json TimeText(SystemTime time) {
  const int64_t micros = time.time_since_epoch().count();
  if (micros < kDatetimeMin || micros > kDatetimeMax) {
    return nullptr;
  }
  return FormatDatetime(micros);
}

// Names and values in place of ids and bytes.
void Decode(const schemas::EntitySchema& schema, const v1::Operation& op, nlohmann::json& json) {
  json["entity"] = schema.name();
  std::string row;
  if (!op.row().empty() && schemas::AppendRowJson(schema, op.row(), {}, &row).ok()) {
    json["row"] = nlohmann::json::parse(row, nullptr, false);
  }
  for (const char* const list : {"cleared", "kept"}) {
    if (json.contains(list)) {
      for (nlohmann::json& id : json[list]) {
        const auto* attribute = schema.Find(schemas::AttributeId(id.get<uint32_t>()));
        if (attribute != nullptr) {
          id = attribute->name;
        }
      }
    }
  }
}

}  // namespace

void EventJson::Learn(const eventlog::Event& event) {
  if (Is<v1::OrgOpened>(event)) {
    orgs_[event.key].clear();
  } else if (v1::EntityDefined defined;
             Is<v1::EntityDefined>(event) && defined.ParseFromString(event.value)) {
    if (auto schema = schemas::EntitySchema::FromProto(defined.schema()); schema.ok()) {
      orgs_[event.key][defined.schema().entity_id()] = *std::move(schema);
    }
  }
}

const schemas::EntitySchema* EventJson::Find(const std::string& org, uint32_t entity_id) const {
  const auto found = orgs_.find(org);
  if (found == orgs_.end()) {
    return nullptr;
  }
  const auto schema = found->second.find(entity_id);
  return schema == found->second.end() ? nullptr : schema->second.get();
}

bool EventJson::Wants(const eventlog::Event& event) const {
  if ((!filter_.org.empty() && event.key != filter_.org) ||
      (filter_.since.has_value() && event.time < *filter_.since)) {
    return false;
  }
  if (Is<v1::ChangeSet>(event)) {
    return true;  // its operations decide
  }
  if (!filter_.key.empty()) {
    return false;  // an event without rows
  }
  if (filter_.entity.empty() || event.subject.ends_with("/" + filter_.entity)) {
    return true;
  }
  v1::EntityDefined defined;
  v1::EntityDeleted deleted;
  return (Is<v1::EntityDefined>(event) && defined.ParseFromString(event.value) &&
          defined.schema().name() == filter_.entity) ||
         (Is<v1::EntityDeleted>(event) && deleted.ParseFromString(event.value) &&
          deleted.name() == filter_.entity);
}

std::optional<nlohmann::json> EventJson::ChangeSet(const eventlog::Event& event) const {
  v1::ChangeSet set;
  const bool all = filter_.entity.empty() && filter_.key.empty();
  if (!set.ParseFromString(event.value)) {
    return all ? std::optional<nlohmann::json>(nullptr) : std::nullopt;
  }
  nlohmann::json ops = nlohmann::json::array();
  for (int i = 0; i < set.ops_size(); ++i) {
    const v1::Operation& op = set.ops(i);
    const schemas::EntitySchema* schema = Find(event.key, op.entity_id());
    if ((!filter_.key.empty() && op.key() != filter_.key) ||
        (!filter_.entity.empty() && (schema == nullptr || schema->name() != filter_.entity))) {
      continue;
    }
    nlohmann::json json = ToJson(op);
    json["index"] = i;
    json["key"] = op.key();
    if (!op.kept_from().empty()) {
      json["keptFrom"] = op.kept_from();
    }
    if (schema != nullptr) {
      Decode(*schema, op, json);
    }
    ops.push_back(std::move(json));
  }
  if (ops.empty() && !all) {
    return std::nullopt;
  }
  set.clear_ops();
  nlohmann::json payload = ToJson(set);
  payload["ops"] = std::move(ops);
  return payload;
}

std::optional<nlohmann::json> EventJson::Line(eventlog::Topic topic, PartitionId partition,
                                              const eventlog::StoredEvent& stored) const {
  const eventlog::Event& event = stored.event;
  if (!Wants(event)) {
    return std::nullopt;
  }
  std::optional<nlohmann::json> payload =
      Is<v1::ChangeSet>(event) ? ChangeSet(event) : Payload(event);
  if (!payload.has_value()) {
    return std::nullopt;
  }
  nlohmann::json line = {{"topic", eventlog::TopicName(topic)},
                         {"partition", partition.value()},
                         {"offset", std::to_string(stored.offset.value())},
                         {"time", TimeText(event.time)},
                         {"key", event.key},
                         {"id", event.id},
                         {"type", event.type},
                         {"subject", event.subject},
                         {"source", event.source},
                         {"bytes", event.value.size()},
                         {"payload", *std::move(payload)}};
  if (event.cause != eventlog::Cause()) {
    line["cause"] = {{"subject", event.cause.subject},
                     {"issuer", event.cause.issuer},
                     {"request_id", event.cause.request_id}};
  }
  if (event.answers != kNoOffset) {
    line["answers"] = std::to_string(event.answers.value());
  }
  return line;
}

}  // namespace sluice::ops
