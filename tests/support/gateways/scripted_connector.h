#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "gateways/sources/connector.h"

namespace sluice::gateways {

// A connector that does what the test says. Thread-safe once it is made.
class ScriptedConnector final : public Connector {
 public:
  using Script = std::function<absl::Status(const SourceContext&, RowSink&)>;

  ScriptedConnector(bool by_entity, Script script)
      : by_entity_(by_entity), script_(std::move(script)) {}

  std::string_view kind() const override { return "scripted"; }
  bool by_entity() const override { return by_entity_; }
  absl::Status Validate(const v1::SourceSettings&, const OrgId&, bool) const override {
    return absl::OkStatus();
  }
  absl::StatusOr<SourceOffer> Check(const SourceContext&, const std::function<bool()>&) override {
    return offer;
  }
  absl::Status Run(const SourceContext& context, RowSink& sink) override {
    return script_(context, sink);
  }

  SourceOffer offer;  // set before it is used

 private:
  const bool by_entity_;
  const Script script_;
};

// The definition of an entity with the key "id" and a string "name".
inline v1::ProvisioningRequest::PutEntity ScriptedEntity(const std::string& name) {
  v1::ProvisioningRequest::PutEntity entity;
  entity.set_name(name);
  entity.set_primary_key("id");
  for (const char* attribute : {"id", "name"}) {
    entity.add_attributes()->set_name(attribute);
    entity.mutable_attributes()->rbegin()->set_type(v1::ATTRIBUTE_TYPE_STRING);
  }
  return entity;
}

// Rows "1" to `last` of the entity that the stream is named for, in sets of `per_set`, at most
// `per_run` a run; the cursor is the last row. `before_set` may wait, or end the run.
inline ScriptedConnector::Script CountingScript(
    uint64_t last, uint64_t per_set, uint64_t per_run,
    std::function<absl::Status(RowSink&)> before_set = {}) {
  return [=](const SourceContext& context, RowSink& sink) -> absl::Status {
    const auto schema = sink.Define(OrgId(), ScriptedEntity(context.stream));
    if (!schema.ok()) {
      return schema.status();
    }
    uint64_t at = context.cursor.empty() ? 0 : std::stoull(context.cursor);
    const uint64_t end = std::min(last, at + per_run);
    while (at < end && !sink.stopping()) {
      if (before_set) {
        if (absl::Status status = before_set(sink); !status.ok()) {
          return status;
        }
      }
      SourceSet set;
      set.number_is_version = true;
      for (uint64_t i = 0; i < per_set && at < end; ++i) {
        v1::Operation op;
        op.set_kind(v1::Operation::KIND_UPSERT);
        op.set_entity_id((*schema)->id().value());
        op.set_key(std::to_string(++at));
        op.set_row(std::string("\x0a", 1) + static_cast<char>(op.key().size()) + op.key());
        set.ops.push_back(std::move(op));
      }
      set.cursor = std::to_string(at);
      if (absl::Status status = sink.Append(std::move(set)); !status.ok()) {
        return status;
      }
    }
    return sink.Flush();
  };
}

}  // namespace sluice::gateways
