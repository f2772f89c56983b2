#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/base/ids.h"

namespace prometheus {
class Registry;
}

namespace sluice::gateways {

// The place that a change set's first appearance gets; those that send it again wait for the same.
class SetTicket {
 public:
  // Only the first call counts.
  void Resolve(absl::StatusOr<Offset> offset);
  // nullopt until it is resolved or `deadline` has passed.
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> WaitUntil(absl::Time deadline);
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> Peek();

 private:
  absl::Mutex mutex_;
  std::optional<absl::StatusOr<Offset>> result_ ABSL_GUARDED_BY(mutex_);
};

// The change sets of this process that are in flight, or durable and not applied to a store yet: a
// store knows those that it applied. Bounded: past the limit the oldest durable ones are forgotten
// (a set sent again is then appended again, and the fold applies it once). Thread-safe.
class DuplicateFilter {
 public:
  // `applied` may be empty: then sets are remembered as long as there is room.
  using Applied = std::function<Offset(const OrgId&)>;
  DuplicateFilter(size_t sets_max, Applied applied,
                  const std::shared_ptr<prometheus::Registry>& registry);
  ~DuplicateFilter();

  struct Claim {
    std::shared_ptr<SetTicket> ticket;
    bool first = true;  // the caller has to append the set and resolve the ticket
  };
  // The ticket of a set that is known here and in flight or durable; nullptr where none is.
  [[nodiscard]] std::shared_ptr<SetTicket> Find(const OrgId& org, uint32_t incarnation,
                                                std::string_view source, std::string_view id);
  // A set whose append failed is claimed anew by the next one who sends it. Each incarnation of an
  // organisation has its own sets: what the last one held is gone.
  [[nodiscard]] Claim Enter(const OrgId& org, uint32_t incarnation, std::string_view source,
                            std::string_view id);

 private:
  struct Metrics;
  struct Remembered {
    OrgId org;
    std::string key;
    std::shared_ptr<SetTicket> ticket;
  };
  void Trim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t sets_max_;
  const Applied applied_;
  const std::unique_ptr<Metrics> metrics_;
  absl::Mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<SetTicket>> sets_ ABSL_GUARDED_BY(mutex_);
  std::deque<Remembered> order_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways
