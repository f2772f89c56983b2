#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "schemas/base/ids.h"

namespace prometheus {
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

// Wakes whoever waits for tickets without a thread. Thread-safe.
class TicketWaker {
 public:
  // `wake` is called on any thread, and must be short.
  explicit TicketWaker(std::function<void()> wake) : wake_(std::move(wake)) {}
  void Wake();
  // Nothing is woken any more once this has returned.
  void Close();

 private:
  absl::Mutex mutex_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);  // empty when closed
};

// The place that a change set's first appearance gets; those that send it again wait for the same.
class SetTicket {
 public:
  // Only the first call counts.
  void Resolve(absl::StatusOr<Offset> offset);
  // Wakes it once, when this is resolved; false where it is by now.
  [[nodiscard]] bool WakeWhenResolved(const std::shared_ptr<TicketWaker>& waker);
  // nullopt until it is resolved.
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> Peek();

 private:
  absl::Mutex mutex_;
  std::optional<absl::StatusOr<Offset>> result_ ABSL_GUARDED_BY(mutex_);
  std::forward_list<std::weak_ptr<TicketWaker>> wakers_ ABSL_GUARDED_BY(mutex_);
};

// The change sets of this process that are in flight, or durable and not applied yet. Of what has
// been applied only the store can tell whether it was taken: the fold refuses sets that fitted when
// they came. Bounded: past the limit the oldest durable ones are forgotten (a set sent again is
// then appended again, and the fold applies it once). A set costs some 170 bytes, whatever its id.
// Thread-safe.
class DuplicateFilter {
 public:
  // How far an organisation is applied, here or at the node that serves it; may block, and is never
  // called under a lock. May be empty: then sets are remembered as long as there is room.
  using Applied = std::function<Offset(const OrgId&)>;
  DuplicateFilter(size_t sets_max, Applied applied,
                  const std::shared_ptr<prometheus::Registry>& registry);
  struct Claim {
    std::shared_ptr<SetTicket> ticket;
    bool first = true;  // the caller has to look for the set in the store, else append it, and to
                        // resolve the ticket
  };
  // The ticket of a set that is in flight, or durable and not applied; nullptr where none is.
  [[nodiscard]] std::shared_ptr<SetTicket> Find(const OrgId& org, uint32_t incarnation,
                                                std::string_view source, std::string_view id);
  // A set whose append failed, or that has been applied, is claimed anew by the next one who sends
  // it. Each incarnation of an organisation has its own sets: what the last one held is gone.
  [[nodiscard]] Claim Enter(const OrgId& org, uint32_t incarnation, std::string_view source,
                            std::string_view id);

 private:
  using Key = std::array<uint8_t, 16>;   // of SHA-256: senders choose ids
  using Orgs = std::map<OrgId, size_t>;  // with the number of their sets, none at 0
  struct Remembered {
    Key key;
    Orgs::iterator org;
    std::shared_ptr<SetTicket> ticket;
  };
  using Order = std::list<Remembered>;  // the oldest first

  static Key KeyOf(const OrgId& org, uint32_t incarnation, std::string_view source,
                   std::string_view id);
  bool IsApplied(const OrgId& org, const std::optional<absl::StatusOr<Offset>>& result) const;
  // The ticket that answers the set; forgets one that can't.
  std::shared_ptr<SetTicket> Known(const OrgId& org, const Key& key) ABSL_LOCKS_EXCLUDED(mutex_);
  void Trim() ABSL_LOCKS_EXCLUDED(mutex_);
  bool TrimOldest() ABSL_LOCKS_EXCLUDED(mutex_);
  std::shared_ptr<SetTicket> TicketOf(const Key& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const Key& key, const SetTicket* ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ShowSize() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t sets_max_;
  const Applied applied_;
  const std::shared_ptr<prometheus::Registry> registry_;  // keeps the gauge
  prometheus::Gauge& size_gauge_;
  absl::Mutex mutex_;
  Orgs orgs_ ABSL_GUARDED_BY(mutex_);
  Order order_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Key, Order::iterator> sets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways
