#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <istream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ops/program/admin_client.h"
#include "ops/program/ingest_set.h"
#include "ops/program/line_reader.h"
#include "schemas/base/backoff.h"
#include "schemas/base/clock.h"

namespace sluice::ops {

struct IngestOptions {
  std::string org;
  std::string entity;  // empty: each line is a change set; else a row of this entity
  std::string source;  // of the change sets that rows are sent in
};

// How it went so far. Lines that are refused are in `refused` alone.
struct IngestTotals {
  uint64_t sets = 0;     // answered for good, refused ones too
  uint64_t rows = 0;     // durable; 0 where the lines are change sets
  uint64_t refused = 0;  // lines
  uint64_t bytes = 0;    // sent
  std::string position;  // of the last that is durable; empty: none
};

// Sends the lines of a file to an organisation, many change sets a request. Not thread-safe.
//
// Rows go up to a hundred a set. Where a set is refused, its rows are sent again one a set, so that
// a bad row costs none of its neighbours. Where the server can't take a set now, or does not
// answer, the set is sent again until it is taken, at most kPatience after the last that was. The
// order of the file decides which of two changes to one row is the last, so the server is asked to
// take nothing behind a set that will be sent again. Every set has an id, and is sent again under
// it: none is applied twice of which it is not known whether it was taken.
class Ingester {
 public:
  static constexpr std::chrono::minutes kPatience{5};

  // For each line that is refused; a line that was too long to be held has no text.
  using Refusal = std::function<absl::Status(const InputLine&, std::string_view reason)>;
  using Progressed = std::function<void(uint64_t bytes_read, const IngestTotals&)>;
  // Tells what is waited for, and waits.
  using Wait = std::function<void(std::chrono::milliseconds, std::string_view why)>;

  // `client` and `clock` must outlive it.
  Ingester(AdminClient& client, const Clock& clock, IngestOptions options, Refusal refused,
           Progressed progressed, Wait wait);

  // Reads `in` to its end; refused lines are no error. An error otherwise says from which line on
  // nothing is confirmed: whoever sends those again loses nothing. A server that does not answer
  // the first request is an error at once.
  [[nodiscard]] absl::Status Run(std::istream& in);
  [[nodiscard]] const IngestTotals& totals() const { return totals_; }

 private:
  using Set = IngestSet;

  absl::StatusOr<std::vector<Set>> NextRequest(LineReader& reader);
  void AddLine(InputLine line, std::vector<Set>* sets);
  absl::Status SendAll(std::vector<Set> sets);
  // How many of `sets` go in the next request.
  size_t Share(std::span<const Set> sets) const;
  absl::StatusOr<std::vector<SetAnswer>> Post(std::span<const Set> sets);
  absl::StatusOr<std::vector<SetAnswer>> AnswersOf(std::string_view body, size_t sets);
  // Counts what is done of a request; returns what must be sent again.
  absl::StatusOr<std::vector<Set>> Settle(std::span<Set> sets,
                                          const std::vector<SetAnswer>& answers);
  // The line that it begins with is waited for; an error once that took too long.
  absl::Status WaitFor(const std::vector<Set>& sets);
  absl::Status Refuse(const InputLine& line, std::string_view reason);
  std::string NewId();
  void Render(const Set& set, std::string* body) const;
  absl::Status Unconfirmed(std::span<const Set> sets, const absl::Status& why) const;

  AdminClient& client_;
  const Clock& clock_;
  const IngestOptions options_;
  const Refusal refused_;
  const Progressed progressed_;
  const Wait wait_;
  const std::string run_;  // a part of the ids of the sets that are made here
  uint64_t sets_made_ = 0;
  IngestTotals totals_;

  // Sets of many rows that a request has: fewer where they are refused, since what is behind one
  // goes again with its rows.
  size_t sets_of_rows_max_;
  // Why the last request has to be sent again, in part or as a whole; empty: it has not.
  std::string waits_for_;
  std::chrono::milliseconds retry_after_{0};
  Backoff backoff_;  // failing: since the last set that was answered for good
  SteadyTime failing_since_;
};

}  // namespace sluice::ops
