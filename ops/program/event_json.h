#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "eventlog/log.h"
#include "schemas/base/clock.h"
#include "schemas/entity_schema.h"

namespace sluice::ops {

// Which events of a log are wanted; an empty text wants all.
struct EventFilter {
  std::string org;
  std::string entity;  // by name: change sets with such operations, and its definitions
  std::string key;     // of a row
  std::optional<SystemTime> since;  // by the writer's time
};

// Events as JSON for people: rows by attribute names, which the definitions before them tell. Not
// thread-safe.
class EventJson {
 public:
  explicit EventJson(EventFilter filter) : filter_(std::move(filter)) {}

  // Takes in what an event defines. Given the events of a partition of `changes` in their order.
  void Learn(const eventlog::Event& event);

  // One event; nullopt where the filter leaves it out. Rows of entities that are not known stay as
  // they are, in base64.
  [[nodiscard]] std::optional<nlohmann::json> Line(eventlog::Topic topic, PartitionId partition,
                                                   const eventlog::StoredEvent& stored) const;

 private:
  using Schemas = std::map<uint32_t, std::shared_ptr<const schemas::EntitySchema>>;  // by entity id

  const schemas::EntitySchema* Find(const std::string& org, uint32_t entity_id) const;
  bool Wants(const eventlog::Event& event) const;
  // The operations that are wanted; nullopt where none is.
  std::optional<nlohmann::json> ChangeSet(const eventlog::Event& event) const;

  const EventFilter filter_;
  std::map<std::string, Schemas> orgs_;
};

}  // namespace sluice::ops
