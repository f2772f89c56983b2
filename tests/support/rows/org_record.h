#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gateways/sync/piece_cache.h"
#include "tests/support/rows/plain_model.h"

namespace sluice::testing {

// What histories have reached: a test whose histories are too tame proves little.
struct RowsCounters {
  uint64_t histories = 0;
  uint64_t events = 0;
  uint64_t deep = 0;        // looks at an organisation with chains of three rules or more
  uint64_t parts = 0;       // ends of a batch amid an event
  uint64_t stops_amid = 0;  // of these, where readers had a look
  uint64_t reopened = 0;
  uint64_t rejected = 0;
  uint64_t pages = 0;
  uint64_t pulls = 0;       // complete ones, compared with the model
  uint64_t streams = 0;     // complete checkpoints, compared with the model
  uint64_t breaks = 0;      // streams that broke amid a checkpoint
  uint64_t superseded = 0;  // checkpoints that a newer one replaced
  uint64_t expired = 0;     // cursors
  uint64_t restless = 0;    // of these, since rules and claims changed too often amid pages
  uint64_t resets = 0;      // buckets
  uint64_t refused = 0;     // callers who may not be off line
  uint64_t puts = 0;
  uint64_t related = 0;      // puts of rows that the event at their position does not name
  uint64_t masked = 0;       // puts that lack a column which the row has
  uint64_t edges = 0;        // puts with a date or time at an end of its range
  uint64_t shared_rows = 0;  // rows in several buckets of one caller
  uint64_t repeats = 0;      // puts of what the client had
  uint64_t removes = 0;
  uint64_t unknown = 0;    // removals of rows that the client does not hold, once had by its claims
  uint64_t never_had = 0;  // of rows that its claims never had: see RowChecks::TakeRemove
};

// The first thing that was wrong, and what the histories reached.
struct RowsReport {
  std::string problem;
  RowsCounters counters;
  bool ok() const { return problem.empty(); }
  void Fail(std::string what) {
    if (problem.empty()) {
      problem = std::move(what);
    }
  }
};

// What one caller may have at one position.
struct RowsAt {
  int64_t position = 0;
  std::shared_ptr<const PlainModel> model;
  std::optional<PlainRows> rows;  // nullopt: not allowed off line
};

// One organisation's events, and the plain model at each of them.
class OrgRecord {
 public:
  OrgRecord(std::string name, int64_t window, std::vector<CallerClaims> claims);

  void Add(PlainEvent event) { events_.push_back(std::move(event)); }
  // The model takes the events up to `position`, the last one of them at it.
  void AdvanceTo(int64_t position);

  const std::string& name() const { return name_; }
  // Of all clients, whatever becomes of the stores that they read from.
  gateways::PieceCache& pieces() { return pieces_; }
  const std::vector<PlainEvent>& events() const { return events_; }
  const std::vector<CallerClaims>& claims() const { return claims_; }
  int64_t position() const { return position_; }
  size_t definitions() const { return definitions_; }  // events that are no change sets, so far
  const std::set<int64_t>& rejected() const { return rejected_; }

  // Of the caller with these claims, now.
  [[nodiscard]] std::shared_ptr<const RowsAt> At(size_t claims);
  // Claims and the last position at which a client had them.
  using Used = std::map<size_t, int64_t>;
  // Could it have the row with some of its claims while it had them, from `from` on?
  [[nodiscard]] bool EverHad(const Used& used, const RowName& row, int64_t from) const;
  // The same if roles had read everything: was it in a bucket that these claims name?
  [[nodiscard]] bool EverInBuckets(const Used& used, const RowName& row, int64_t from) const;
  // Is the event at `offset` a change set with an operation on the row, as the model has it now?
  [[nodiscard]] bool Names(int64_t offset, const RowName& row) const;

 private:
  gateways::PieceCache pieces_{{}};
  using Models = std::span<const std::shared_ptr<const PlainModel>>;
  // Those in force at `from`, at `until` or between.
  [[nodiscard]] Models ModelsOf(int64_t from, int64_t until) const;
  [[nodiscard]] bool InBuckets(size_t claims, const RowName& row, Models models) const;

  const std::string name_;
  const std::vector<CallerClaims> claims_;
  std::vector<PlainEvent> events_;
  size_t next_ = 0;
  int64_t position_ = -1;
  size_t definitions_ = 0;
  std::set<int64_t> rejected_;
  std::vector<std::shared_ptr<const PlainModel>> models_;  // after each event
  std::map<size_t, std::shared_ptr<const RowsAt>> at_;     // of now
};

}  // namespace sluice::testing
