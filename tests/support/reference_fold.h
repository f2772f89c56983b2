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

// What a staging store must hold after a history, computed the slow and obvious way: one event at a
// time, the buckets of every row evaluated anew after each, nothing remembered but rows. Shares the
// value types, the row codec and the filter language with the fold, none of its code. Takes only
// histories of one incarnation, without circles among rules, and horizons below 32 events, which
// are exact.
class ReferenceFold {
 public:
  explicit ReferenceFold(projectors::FoldOptions options) : options_(options) {}

  void Apply(const eventlog::StoredEvent& event);
  // What a store holds, as text that says all but what a reader has no use for: the indexes of
  // positions that no operation has, removals that the horizon has passed, the rules' numbers.
  [[nodiscard]] std::vector<std::string> Describe() const;
  // The same of a store.
  [[nodiscard]] static std::vector<std::string> Describe(const StoreContent& content,
                                                         const projectors::OrgModel& model);
  uint64_t rejected() const { return rejected_; }
  uint64_t duplicates() const { return duplicates_; }
  uint64_t stale_steps() const { return stale_steps_; }
  bool closed() const { return closed_; }

 private:
  using Place = projectors::Membership;  // without bucket and rule
  struct Row {
    Position last;
    std::optional<int64_t> version;
    bool live = false;
    std::string bytes;
    std::map<std::string, Place> buckets;  // by the bucket's name
  };
  using Key = std::pair<uint32_t, std::string>;
  // Buckets of rows by the rule that they are of.
  using Buckets = std::map<Key, std::map<std::string, std::set<std::string>>>;

  // One profile's rules, by brute force.
  class ProfileRules;

  void Count(const eventlog::StoredEvent& event);
  void ApplySet(Offset offset, const v1::ChangeSet& set);
  void ApplyOp(Position position, const v1::Operation& op);
  bool TakesStep(Offset offset, const v1::ChangeSet& set);
  void ApplySourceOp(Position position, const v1::Operation& op);
  void Sweep(Offset offset, const v1::Operation& op);
  [[nodiscard]] std::string RowOf(const v1::Operation& op) const;
  [[nodiscard]] std::map<uint32_t, std::string> FieldsOf(uint32_t entity,
                                                         const std::string& row) const;
  [[nodiscard]] const schemas::EntitySchema* SchemaOf(uint32_t entity) const;
  [[nodiscard]] bool IsKey(const schemas::EntitySchema& schema, const std::string& key) const;
  [[nodiscard]] bool ApplicableInSource(const v1::Operation& op, bool alone) const;
  [[nodiscard]] bool Applicable(const v1::Operation& op) const;
  // False where the event contradicts what is defined.
  bool ApplyDefinition(const eventlog::Event& event);
  void ForgetEntities(Offset offset);
  void PlaceRows(Offset offset, bool by_definition);
  [[nodiscard]] Buckets AllBuckets(std::map<std::string, uint64_t>* support,
                                   std::set<std::string>* links) const;

  projectors::FoldOptions options_;
  bool open_ = false;
  bool closed_ = false;
  std::map<std::string, std::shared_ptr<const schemas::EntitySchema>> entities_;
  std::map<uint32_t, std::string> names_;  // also of deleted entities
  std::map<std::string, v1::Profile> profiles_;
  std::map<Key, Row> rows_;
  std::map<std::string, projectors::AppliedSet> sets_;
  std::map<std::string, int64_t> sources_;  // the epochs of those that there are
  std::map<std::pair<std::string, std::string>, v1::SourceState> chains_;  // by source and stream
  std::vector<Offset> events_;                                             // of the incarnation
  std::map<Offset, uint64_t> history_;
  projectors::AppliedState applied_;
  uint64_t rejected_ = 0;
  uint64_t duplicates_ = 0;
  uint64_t stale_steps_ = 0;
};

}  // namespace sluice::testing
