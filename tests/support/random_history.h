#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/change_events.h"

namespace sluice::testing {

// SLUICE_SEED from the environment, or a random seed; printed, so that a failure can be replayed.
[[nodiscard]] uint64_t TestSeed();
// `normal`, times SLUICE_STEPS from the environment where it is set (a factor, such as 10).
[[nodiscard]] size_t TestSteps(size_t normal);

// The history of one organisation: change sets that collide on few keys, owners and versions,
// repeated and malformed ones, and definitions that come, change and go. Rows of three entities
// point at one another, and profiles have rules of every kind. Two sources write to all of them:
// sets with steps, of which some come twice or have lost their place.
class RandomHistory {
 public:
  explicit RandomHistory(uint64_t seed) : random_(seed) {}

  // Offsets grow, with gaps. The first events define an organisation that has rows in buckets.
  [[nodiscard]] std::vector<eventlog::StoredEvent> Next(size_t count);
  // Between 1 and `max`.
  size_t Between1And(size_t max) { return 1 + Below(max); }

 private:
  struct Entity {
    uint32_t id = 0;
    std::string name;
    bool number_key = false;
    bool extra = false;  // has the attribute `note`
    uint32_t next_extra = 8;
    uint32_t owner = 2;  // the attribute that is the owner: 2 or 5
  };

  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  bool Chance(size_t percent) { return Below(100) < percent; }
  eventlog::StoredEvent Event(const google::protobuf::Message& payload);
  eventlog::StoredEvent Start(size_t step);
  eventlog::StoredEvent Control();
  eventlog::StoredEvent ChangeEntity();
  eventlog::StoredEvent Strange();
  eventlog::StoredEvent Changes();
  v1::Operation RandomOp();
  v1::Operation BadOp(v1::Operation op);
  std::string RandomKey(const Entity& entity);
  std::string RandomRow(const Entity& entity, const std::string& key, bool patch);
  v1::EntityDefined Definition(const Entity& entity) const;
  v1::ProfileDefined RandomProfile();
  void AddRelatedRules(v1::Profile* profile);
  std::string RandomKeyOf(const std::string& entity);
  eventlog::StoredEvent ChangeSource();
  eventlog::StoredEvent SourceChanges();
  v1::ChangeSet SourceOps();
  v1::Operation SourceOp();
  v1::Operation BadSourceOp(v1::Operation op);
  void AddStep(v1::ChangeSet* set);
  int64_t RandomVersion() { return static_cast<int64_t>(step_ / 20 + Below(20)); }

  // What was taken of a stream.
  struct Chain {
    int64_t epoch = 0;
    std::string last;
    uint64_t number = 0;
  };

  std::mt19937_64 random_;
  int64_t offset_ = 0;
  size_t step_ = 0;
  uint32_t next_entity_id_ = 1;
  uint64_t next_set_id_ = 1;
  std::map<std::string, Entity> entities_;
  std::vector<v1::ChangeSet> sent_;  // with id, to be sent again
  int64_t next_epoch_ = 1;
  std::map<std::string, int64_t> epochs_;                         // of the sources that there are
  std::map<std::pair<std::string, std::string>, Chain> chains_;   // by source and stream
  std::map<std::pair<uint32_t, std::string>, std::string> rows_;  // upserted last by a source
};

}  // namespace sluice::testing
