#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "gateways/admin/letter_index.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"

namespace prometheus {
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

// A letter as its newest event has it.
struct StoredLetter {
  std::string id;  // LetterIdOf()
  Offset place;    // in `deadletter`
  SystemTime at{};
  size_t value_bytes = 0;
  v1::DeadLetter letter;
};

// The dead letters of all organisations: follows `deadletter` for an index of those that are open,
// and reads their texts from the topic when somebody asks. Thread-safe, but for Start() and Stop().
class DeadLetters {
 public:
  struct Page {
    std::vector<StoredLetter> letters;  // newest first, without their values
    bool more = false;                  // older ones come behind the last
    bool forgot = false;                // LetterIndex::Page
  };

  // `log` and `clock` must outlive it. `registry` may be null.
  DeadLetters(eventlog::Log& log, const Clock& clock, LetterIndex::Limits limits,
              std::shared_ptr<prometheus::Registry> registry);
  ~DeadLetters();

  // Makes a thread for each partition: kResourceExhausted, code "no_threads", where one can't be
  // made.
  [[nodiscard]] absl::Status Start();
  void Stop();
  // To be called at each scrape.
  void RefreshMetrics() const;

  // Each blocks until everything is known that the log had when it was called: kUnavailable, code
  // "not_caught_up", where that takes too long. Errors of the log.

  // At most `count`, those before `before` (kNoOffset: the newest); fewer, with `more`, where they
  // are large.
  [[nodiscard]] absl::StatusOr<Page> List(const OrgId& org, Offset before, size_t count) const;
  // With its value. kNotFound, code "deadletter_not_found": there is none, or it is handled.
  [[nodiscard]] absl::StatusOr<StoredLetter> Find(const OrgId& org, std::string_view id) const;

  // Appends that the letter is handled, and returns where. Should it come again, it is open again.
  [[nodiscard]] absl::StatusOr<Offset> Handle(const OrgId& org, const StoredLetter& letter,
                                              const eventlog::Cause& cause);

 private:
  class Reader;

  [[nodiscard]] PartitionId PartitionOf(const OrgId& org) const;
  [[nodiscard]] absl::Status CatchUp(PartitionId partition) const;

  eventlog::Log& log_;
  const Clock& clock_;
  LetterIndex index_;
  std::shared_ptr<prometheus::Registry> registry_;  // keeps the gauges
  prometheus::Gauge& open_;
  prometheus::Gauge& forgotten_;
  std::vector<std::unique_ptr<Reader>> readers_;  // by partition
};

}  // namespace sluice::gateways
