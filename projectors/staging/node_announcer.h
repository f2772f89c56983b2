#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "projectors/store/store_manager.h"

namespace sluice::projectors {

struct AnnouncerOptions {
  std::string node_id;
  std::vector<std::string> roles;
  std::chrono::milliseconds interval_min{200};    // while positions move
  std::chrono::milliseconds interval_max{5'000};  // while nothing happens
  std::chrono::milliseconds stop_wait{2'000};     // for the log, once it is to stop
};

// Tells the other processes, on the topic `nodes`, for which partitions this one answers and how
// far it is. Announcements are hints for whoever does not hold an organisation itself: nothing is
// decided by them alone.
class NodeAnnouncer {
 public:
  // What is told of a partition, called by the announcer's thread.
  struct Tells {
    std::function<bool(PartitionId)> serves;
    // Why nothing must be written to it (log_truncated, log_diverged); empty where all is well.
    std::function<std::string(PartitionId)> fault;
  };
  // All must outlive the announcer.
  NodeAnnouncer(eventlog::Log& log, StoreManager& stores, Tells tells, const Clock& clock,
                AnnouncerOptions options);
  ~NodeAnnouncer();

  // Starts announcing; the URLs are where this process serves (empty: it does not).
  void Start(std::string admin_url, std::string sync_url);
  // Announces nothing more of what it serves; does not wait.
  void RequestStop();
  // RequestStop(), then announces that this node serves nothing any more. A log that does not
  // answer is waited for no longer than AnnouncerOptions::stop_wait: others see that the node has
  // gone by its silence, too.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Where a node answers; either may be empty.
struct NodeUrls {
  std::string admin_url;
  std::string sync_url;
};

// The newest announcement of every node. Thread-safe.
class NodeDirectory {
 public:
  // `self`: this process's node, which is left out of ServedAt().
  NodeDirectory(eventlog::Log& log, const Clock& clock, std::string self);
  ~NodeDirectory();
  void Start();
  void Stop();

  // How far the projectors that announced themselves in the last 30 s have applied `partition` of
  // `changes`: the furthest of them; nullopt where none serves it.
  // Nodes where `org` is apart do not count: they are behind with it.
  [[nodiscard]] std::optional<Offset> Applied(PartitionId partition, const OrgId& org) const;

  // Below which offset of `changes` another node, which serves the partition and finds nothing
  // wrong with it, has folded everything but who is apart there; 0 where none is known.
  [[nodiscard]] Offset FoldedUntil(PartitionId partition) const;

  // What another node found wrong with the log's partition, as it announced in the last 30 s; empty
  // where nothing is.
  [[nodiscard]] std::string FaultOf(PartitionId partition) const;

  // Another node that announced in the last 30 s that it answers for `partition`: one with a sync
  // listener, where there is one; of several the one that announced itself last.
  [[nodiscard]] std::optional<NodeUrls> ServedAt(PartitionId partition) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::projectors
