#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ops/program/admin_client.h"
#include "ops/program/line_reader.h"

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
// a bad row costs none of its neighbours; and what came after it in the request goes again behind
// them, because the order of the file decides which of two rows with one key is the last.
class Ingester {
 public:
  // For each line that is refused; a line that was too long to be held has no text.
  using Refusal = std::function<absl::Status(const InputLine&, std::string_view reason)>;
  using Progressed = std::function<void(uint64_t bytes_read, const IngestTotals&)>;

  // `client` must outlive it.
  Ingester(AdminClient& client, IngestOptions options, Refusal refused, Progressed progressed);

  // Reads `in` to its end; refused lines are no error. An error otherwise says from which line on
  // nothing is confirmed: whoever sends those again loses nothing.
  [[nodiscard]] absl::Status Run(std::istream& in);
  [[nodiscard]] const IngestTotals& totals() const { return totals_; }

 private:
  struct Set {
    std::vector<InputLine> lines;
    size_t bytes = 0;  // of the lines
  };
  struct Answer {
    int status = 200;
    std::string position{};
    std::string reason{};  // of a refusal
  };

  absl::StatusOr<std::vector<Set>> NextRequest(LineReader& reader);
  void AddLine(InputLine line, std::vector<Set>* sets);
  absl::Status SendAll(std::vector<Set> sets);
  absl::StatusOr<std::vector<Answer>> Post(const std::vector<Set>& sets);
  // Counts what is done; returns what must be sent again.
  absl::StatusOr<std::vector<Set>> Settle(std::vector<Set> sets,
                                          const std::vector<Answer>& answers);
  absl::Status Refuse(const InputLine& line, std::string_view reason);
  void Render(const Set& set, std::string* body);
  Answer ReadAnswer(std::string_view line) const;
  absl::Status Unconfirmed(const Set& first, const absl::Status& why) const;

  AdminClient& client_;
  const IngestOptions options_;
  const Refusal refused_;
  const Progressed progressed_;
  const std::string run_;  // a part of the ids of the sets that are made here
  uint64_t sets_made_ = 0;
  IngestTotals totals_;
};

}  // namespace sluice::ops
