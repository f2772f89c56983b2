#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/http/fair_budget.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

// In a request for change sets: it comes from another node, and is not to be handed on again.
inline constexpr char kRelayedHeader[] = "Sluice-Relayed";

// Whose sets are relayed: they reach the other node as if its sender had asked there.
struct RelayCaller {
  std::string authorization;  // the header as it came; never logged
  std::string traceparent;    // empty for none
  std::string request_id;
  bool relayed = false;  // they came from another node already
};

struct RelayOptions {
  size_t concurrent_max = 8;  // relays at once; they block threads of ingest
  std::chrono::milliseconds connect_timeout{2'000};
  std::chrono::milliseconds timeout{15'000};   // to send, and to be answered: the node may wait too
  size_t answer_bytes_max = size_t{16} << 20;  // of one relay
};

// The answer of a set as SetAnswers writes it: its position, or what a sender can act on of its
// error. nullopt where `line` is no such answer for the set `id`.
[[nodiscard]] std::optional<absl::StatusOr<Offset>> ReadSetAnswer(std::string_view line,
                                                                  const std::string& id);

// Hands change sets on to the admin listener of another node of the same log. Thread-safe.
class SetRelay {
 public:
  // A set: its line without an end of line, and the id in it.
  struct Set {
    std::string id;
    std::string line;
  };
  using Answers = std::vector<absl::StatusOr<Offset>>;

  explicit SetRelay(RelayOptions options);

  // Sends `sets` to `node`, an admin listener's base URL, and returns what it answered, in their
  // order: a position, or the error that the set got there. Fewer answers than sets where the
  // answer broke off. kResourceExhausted where as many relays as may be are under way, of all or of
  // the organisation, which has a quarter;
  // kUnavailable where the node could not be asked or did not take the request; kFailedPrecondition
  // where `node` is no http URL. Blocks, about as long as the options say.
  [[nodiscard]] absl::StatusOr<Answers> Post(const std::string& node, const OrgId& org,
                                             const RelayCaller& caller,
                                             const std::vector<Set>& sets);

 private:
  const RelayOptions options_;
  FairBudget places_;
};

}  // namespace sluice::gateways
