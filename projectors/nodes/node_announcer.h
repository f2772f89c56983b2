#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/log.h"
#include "projectors/nodes/node_directory.h"
#include "projectors/store/partition_progress.h"

namespace sluice::projectors {

// Every process on a log in Kafka announces itself at least so often.
inline constexpr std::chrono::milliseconds kAnnouncementIntervalMax{5'000};

struct AnnouncerOptions {
  std::string node_id;
  std::vector<std::string> roles;
  std::chrono::milliseconds interval_min{200};  // while positions move, or when somebody asks
  std::chrono::milliseconds interval_max = kAnnouncementIntervalMax;  // while nothing happens
  std::chrono::milliseconds stop_wait{2'000};  // for the log, once it is to stop
};

// Tells the other processes, on the topic `nodes`, for which partitions this one answers and how
// far it is, and, for ever, what it has folded. Announcements are hints for whoever does not hold
// an organisation itself: nothing is decided by them alone. The first one waits until `nodes` has
// been read: it takes the place of the last one of this node, whose word it has to tell on.
// Thread-safe.
class NodeAnnouncer {
 public:
  // What is told of a partition, called by the announcer's thread.
  struct Tells {
    std::function<bool(PartitionId)> serves;
    // Why nothing must be written to it (log_truncated, log_diverged); empty where all is well.
    std::function<std::string(PartitionId)> fault;
    // The control event that answers the newest request, of all that is known to this process: what
    // others told is told on, so that it outlives them. May be empty.
    std::function<ControlMark(PartitionId)> last_control{};
  };
  // All must outlive the announcer. `stores`: nullptr where the process keeps none.
  NodeAnnouncer(eventlog::Log& log, PartitionProgress* stores, NodeDirectory& nodes, Tells tells,
                const Clock& clock, AnnouncerOptions options);
  ~NodeAnnouncer();

  // Starts announcing: that this process is there, what it found wrong, and, from Serve() on, for
  // which partitions it answers.
  void Start();
  // The URLs are where this process answers from now on (empty: it does not).
  void Serve(std::string admin_url, std::string sync_url);
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

}  // namespace sluice::projectors
