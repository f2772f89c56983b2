#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "eventlog/event.h"
#include "tests/support/rows/plain_filter.h"

// One organisation as gateways/docs/api.md describes it, by the simplest code that can be right:
// rows are maps, and who may have which is found by asking every rule of every row. Shares no code
// with the fold.
namespace sluice::testing {

struct PlainAttribute {
  uint32_t id = 0;
  std::string name;
  PlainType type = PlainType::kString;
  std::string references;  // entity name or empty
};

struct PlainEntity {
  uint32_t id = 0;
  std::string name;
  std::vector<PlainAttribute> attributes = {};  // the key first
  std::map<v1::RuleKind, std::string> ownership =
      {};  // USER, TEAM, BUSINESS_UNIT to attribute names
  uint32_t next_attribute_id = 1;
  std::vector<PlainAttribute> removed = {};
  const PlainAttribute* Find(const std::string& attribute) const;  // nullptr where there is none
};

struct PlainRule {
  v1::RuleKind kind = v1::RULE_KIND_ALL;
  std::string entity;     // RELATED: of the reference
  std::string attribute;  // RELATED
  std::shared_ptr<const PlainFilter> filter;
};

struct PlainProfile {
  std::string name;
  std::map<std::string, std::vector<PlainRule>> entities = {};
  std::vector<std::string> roles = {};
};

struct PlainRole {
  struct Grant {
    bool read = true;
    std::set<std::string> denied;
  };
  std::string name;
  bool offline = true;
  std::map<std::string, Grant> entities = {};
};

struct PlainOp {
  v1::Operation::Kind kind = v1::Operation::KIND_UPSERT;
  uint32_t entity = 0;
  std::string key;
  std::map<uint32_t, PlainValue> row = {};  // by attribute id
  std::vector<uint32_t> cleared = {};       // of a patch
  std::optional<int64_t> version = {};
};

struct PlainSet {
  std::string id;
  std::string source;
  std::vector<PlainOp> ops;
};

struct PlainEvent {
  struct Opened {};
  struct Deleted {
    enum class What { kEntity, kProfile, kRole } what = What::kEntity;
    std::string name;
    uint32_t id = 0;  // of an entity
  };
  int64_t offset = 0;
  std::variant<Opened, PlainEntity, PlainProfile, PlainRole, Deleted, PlainSet> what = {};
  bool IsDefinition() const { return !std::holds_alternative<PlainSet>(what); }
};

// The event as the log has it.
[[nodiscard]] eventlog::StoredEvent ToStored(const PlainEvent& event, const std::string& org);
// For a failing test's message.
[[nodiscard]] std::string Describe(const PlainEvent& event);

using RowName = std::pair<std::string, std::string>;      // entity name and key
using PlainColumns = std::map<uint32_t, nlohmann::json>;  // by attribute id; null ones left out
using PlainRows = std::map<RowName, PlainColumns>;

// Copying it keeps an earlier state.
class PlainModel {
 public:
  struct Row {
    std::map<uint32_t, PlainValue> values;
    std::optional<int64_t> version;
    bool live = true;  // false: a tombstone that remembers its version
  };
  struct Entity {
    PlainEntity schema;
    std::map<std::string, Row> rows;
  };

  // A set sent again within so many offsets is applied once.
  explicit PlainModel(int64_t window) : window_(window) {}

  enum class Outcome { kApplied, kDuplicate, kRejected };
  Outcome Apply(const PlainEvent& event);

  // The rows that the caller may have, with the columns that it sees; nullopt where none of its
  // roles may be off line.
  [[nodiscard]] std::optional<PlainRows> RowsOf(const CallerClaims& claims) const;
  // The rows that some profile would give the caller if its roles read everything.
  [[nodiscard]] std::set<RowName> RowsWhateverTheRoles(const CallerClaims& claims) const;

  const std::map<std::string, Entity>& entities() const { return entities_; }
  const std::map<std::string, PlainProfile>& profiles() const { return profiles_; }
  const std::map<std::string, PlainRole>& roles() const { return roles_; }

 private:
  Outcome ApplySet(const PlainSet& set);
  void ApplyOp(Entity& entity, const PlainOp& op);
  [[nodiscard]] std::vector<const PlainRole*> RolesOf(const CallerClaims& claims) const;

  const int64_t window_;
  std::map<std::string, Entity> entities_;
  std::map<std::string, PlainProfile> profiles_;
  std::map<std::string, PlainRole> roles_;
  int64_t events_ = 0;
  std::map<std::pair<std::string, std::string>, int64_t> sets_;  // source and id to events_
};

}  // namespace sluice::testing
