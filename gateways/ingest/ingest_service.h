#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "gateways/ingest/change_set_check.h"
#include "gateways/ingest/duplicate_filter.h"
#include "gateways/ingest/set_relay.h"
#include "projectors/provisioning/directory.h"
#include "projectors/store/store_reader.h"

namespace prometheus {
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

struct IngestOptions {
  ChangeSetLimits set_limits{};
  size_t answer_bytes_max = size_t{64} << 20;            // see gateways/docs/admin.md
  size_t request_in_flight_bytes_max = size_t{8} << 20;  // appended and not durable, of one request
  size_t in_flight_bytes_max = size_t{48} << 20;  // of all requests; keep it below the log's queue
  size_t in_flight_events_max = 80'000;           // likewise
  size_t batch_bytes_max = size_t{256} << 10;
  size_t remembered_sets_max = 262'144;              // in flight or not applied yet, by id
  std::chrono::milliseconds append_timeout{30'000};  // until a set is durable
  // A set that does not fit the definitions waits so long for the store to come to the log's end,
  // with which it is known whether the set was taken before.
  std::chrono::milliseconds store_patience{10'000};
  // What would be refused for good because of what this process knows of organisations and
  // definitions waits so long for it to have read what the log has.
  std::chrono::milliseconds directory_patience{3'000};
  RelayOptions relay{};  // to nodes that know such a set
};

// Who may say what of an organisation; as AdminServerDeps. Each may be empty.
struct IngestServing {
  std::function<absl::Status(const OrgId&)> may_serve{};
  std::function<std::optional<std::string>(const OrgId&)> served_at{};
  std::function<std::optional<std::string>(const OrgId&)> relay_to{};
  std::function<absl::Status(PartitionId)> may_append{};  // as DirectoryFollower::MayAppend()
  DuplicateFilter::Applied applied{};
  // As AwaitDirectoryEnd().
  std::function<absl::Status(const OrgId&, SteadyTime::duration ago,
                             std::chrono::milliseconds patience)>
      reach_directory{};
};

// What is appended and not durable yet. A partition has at most as much as it leaves to others: a
// third of all is still free where two do not answer. Thread-safe; shared with the log's callbacks.
class InFlight {
 public:
  // `registry`: shows it as sluice_ingest_in_flight_bytes, with its limit, and
  // sluice_ingest_in_flight_waiting; may be null.
  InFlight(size_t bytes_max, size_t events_max,
           const std::shared_ptr<prometheus::Registry>& registry = nullptr);
  // Waits for room; a batch that is larger than the limit is let in alone. False at the deadline.
  // Without a partition only the limit of all counts.
  [[nodiscard]] bool Acquire(size_t bytes, size_t events, absl::Time deadline,
                             std::optional<PartitionId> partition = std::nullopt);
  void Release(size_t bytes, size_t events, std::optional<PartitionId> partition = std::nullopt);
  [[nodiscard]] size_t bytes() const;
  [[nodiscard]] size_t events() const;
  // Batches that wait for room.
  [[nodiscard]] size_t waiting() const;

 private:
  struct Part {
    size_t bytes = 0;
    size_t events = 0;
  };
  bool Fits(size_t bytes, size_t events, std::optional<PartitionId> partition) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Show() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t bytes_max_;
  const size_t events_max_;
  std::shared_ptr<prometheus::Registry> registry_;  // keeps the gauges
  prometheus::Gauge* bytes_gauge_ = nullptr;
  prometheus::Gauge* waiting_gauge_ = nullptr;
  mutable absl::Mutex mutex_;
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t events_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<PartitionId, Part> parts_ ABSL_GUARDED_BY(mutex_);  // none at 0
};

// What all ingest requests of the process share. Thread-safe.
class IngestService {
 public:
  // `stores` may be null. All references must outlive the service.
  IngestService(IngestOptions options, eventlog::Log& log, const projectors::Directory& directory,
                projectors::StoreReader* stores, const Clock& clock,
                const std::shared_ptr<prometheus::Registry>& registry, IngestServing serving = {});
  ~IngestService();

  // Counts, for metrics; `code` is the problem's.
  void CountAccepted(size_t ops, size_t bytes);
  void CountDuplicate();
  void CountRejected(const std::string& code);
  void CountRelay(bool answered);

  // The newest change of an organisation that this process appended, kNoOffset for none.
  [[nodiscard]] Offset LastChange(const OrgId& org) const;
  void NoteChange(const OrgId& org, Offset offset);

  // Whether this process has the organisation's store and may answer for it: code
  // "not_served_here", or another for one that can't be trusted at the moment.
  [[nodiscard]] absl::Status MayServe(const OrgId& org) const;
  // Returns when directory() holds everything that the log had of the organisation at some moment
  // since `ago` ago; as AwaitDirectoryEnd(). Blocks as long.
  [[nodiscard]] absl::Status ReachDirectory(const OrgId& org, SteadyTime::duration ago,
                                            std::chrono::milliseconds patience) const;
  // Why nothing must be appended to the partition now: what it held is not what it holds.
  [[nodiscard]] absl::Status MayAppend(PartitionId partition) const;
  // The admin URL of a node that may serve, nullopt where none is known.
  [[nodiscard]] std::optional<std::string> ServedAt(const OrgId& org) const;
  [[nodiscard]] std::optional<std::string> RelayTo(const OrgId& org) const;
  // The position of a set in the store, whatever that has applied; nullopt where it is not there,
  // or up to `opened`: then the store is still that of the incarnation before. An error where the
  // store can't tell.
  [[nodiscard]] absl::StatusOr<std::optional<Offset>> FindInStore(const OrgId& org,
                                                                  std::string_view source,
                                                                  std::string_view id,
                                                                  Offset opened) const;

  const IngestOptions& options() const { return options_; }
  eventlog::Log& log() const { return log_; }
  const projectors::Directory& directory() const { return directory_; }
  projectors::StoreReader* stores() const { return stores_; }
  const Clock& clock() const { return clock_; }
  DuplicateFilter& duplicates() { return duplicates_; }
  SetRelay& relay() { return relay_; }
  const std::shared_ptr<InFlight>& in_flight() const { return in_flight_; }

 private:
  struct Metrics;

  const IngestOptions options_;
  eventlog::Log& log_;
  const projectors::Directory& directory_;
  projectors::StoreReader* const stores_;
  const Clock& clock_;
  const IngestServing serving_;
  SetRelay relay_;
  DuplicateFilter duplicates_;
  const std::shared_ptr<InFlight> in_flight_;
  const std::unique_ptr<Metrics> metrics_;
  mutable absl::Mutex mutex_;
  std::unordered_map<std::string, Offset> last_changes_ ABSL_GUARDED_BY(mutex_);  // one an org
};

}  // namespace sluice::gateways
