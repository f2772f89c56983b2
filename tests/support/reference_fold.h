#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "eventlog/event.h"
#include "schemas/entity_schema.h"
#include "tests/support/model_store.h"

namespace sluice::testing {

// What a staging store must hold after a history, computed the slow and obvious way: one operation
// at a time, every bucket evaluated anew after each, nothing remembered but rows. Shares the value
// types and the row codec with the fold, none of its code. Takes only histories of one incarnation.
class ReferenceFold {
 public:
  explicit ReferenceFold(projectors::FoldOptions options) : options_(options) {}

  void Apply(const eventlog::StoredEvent& event);
  // All but the serialised model.
  [[nodiscard]] StoreContent Content() const;
  uint64_t rejected() const { return rejected_; }
  uint64_t duplicates() const { return duplicates_; }
  bool closed() const { return closed_; }

 private:
  struct Place {
    Position position;
    bool member = true;
  };
  struct Row {
    Position last;
    std::optional<int64_t> version;
    bool live = false;
    std::string bytes;
    std::map<std::string, Place> buckets;  // by the bucket's name
  };
  using Key = std::pair<uint32_t, std::string>;

  void ApplySet(Offset offset, const v1::ChangeSet& set);
  void ApplyOp(Position position, const v1::Operation& op);
  [[nodiscard]] bool Applicable(const v1::Operation& op) const;
  // False where the event contradicts what is defined.
  bool ApplyDefinition(const eventlog::Event& event);
  void MoveRows(Offset offset, const std::set<uint32_t>& entities_before);
  [[nodiscard]] std::set<std::string> BucketsOf(uint32_t entity, const std::string& bytes) const;

  projectors::FoldOptions options_;
  bool open_ = false;
  bool closed_ = false;
  std::map<std::string, std::shared_ptr<const schemas::EntitySchema>> entities_;
  std::map<uint32_t, std::string> names_;  // also of deleted entities
  std::map<std::string, v1::Profile> profiles_;
  std::map<Key, Row> rows_;
  std::set<std::string> bucket_names_;  // that ever had a row
  std::map<std::string, Offset> sets_;
  projectors::AppliedState applied_;
  uint64_t rejected_ = 0;
  uint64_t duplicates_ = 0;
};

}  // namespace sluice::testing
