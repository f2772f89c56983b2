#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/ingest/duplicate_filter.h"
#include "gateways/ingest/ingest_service.h"
#include "gateways/ingest/set_relay.h"

namespace sluice::gateways {

// The sets of one ingest request that do not fit the definitions of today, and that this process
// does not remember: each may have been taken before, under those of then, here or at another node.
// One is refused for good only where that can be ruled out: this process may answer for the
// organisation, and its store holds everything that was in the log after the set had come. Other
// sets are handed to the node that serves the organisation, or answered with an error to be tried
// again: not_served_here or not_caught_up. Not thread-safe.
class DoubtfulSets {
 public:
  struct Set {
    std::string source;
    std::string id;
    std::string line;                   // for the relay; empty where it did not come as text
    absl::Status misfit;                // its answer where it was not taken before
    std::shared_ptr<SetTicket> ticket;  // gets the answer
  };

  // `service` must outlive it.
  DoubtfulSets(IngestService& service, OrgId org, RelayCaller caller);

  // `opened`: positions up to it are of the organisation's incarnation before.
  void Add(Set set, Offset opened);
  // Answers the sets of which something can be said by now, once they have waited for company for
  // a moment: the log, or another node, is asked once for all. May block as long as that takes.
  void Look();
  // The same at once: nobody else comes for whose company they could wait. Those whose answer
  // depends on the store are left until it has come, or is late.
  void Settle() { Settle(/*wait=*/false); }
  // Answers all: waits for the store as long as the service's options say, on this thread.
  void Finish() { Settle(/*wait=*/true); }
  // So many that Finish() has to be called before more are added.
  [[nodiscard]] bool full() const;
  [[nodiscard]] bool empty() const { return sets_.empty(); }

 private:
  void Settle(bool wait);
  // Asks for the log's end, which is the first `asked_` sets' from now on.
  void AskEnd();
  // OK where the store holds everything below `end_`.
  [[nodiscard]] absl::Status Reached() const;
  // Answers the first `asked_` sets. `reached` is why nothing is known of those that are not found.
  void Decide(const absl::Status& reached);
  // Their answers where nothing is known of them here.
  void Pass(const absl::Status& reached, std::vector<Set> sets);

  IngestService& service_;
  const OrgId org_;
  const PartitionId partition_;
  const RelayCaller caller_;
  std::vector<Set> sets_;
  size_t bytes_ = 0;  // of their lines
  Offset opened_ = kNoOffset;
  size_t asked_ = 0;  // so many of them had come when the end was asked for
  absl::StatusOr<Offset> end_;
  std::chrono::steady_clock::time_point since_;  // the first of them came
  std::chrono::steady_clock::time_point wait_until_;
  bool late_ = false;          // the store did not come in time: this request waits no more for it
  bool relay_failed_ = false;  // likewise the other node
};

}  // namespace sluice::gateways
