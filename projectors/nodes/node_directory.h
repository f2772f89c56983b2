#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "projectors/fold/record.h"
#include "projectors/nodes/folded_marks.h"
#include "schemas/base/clock.h"

namespace sluice::projectors {

// The only partition of `nodes`.
inline constexpr PartitionId kNodesPartition{0};

// What a node that serves a partition is wanted for.
enum class NodeUse {
  kSync,   // clients that sync: it has a sync listener
  kAdmin,  // callers of the admin API: it has the role admin
  kRelay,  // change sets that are handed on by another node: whatever its roles, one with the role
           // admin first
};

// So many organisations that are apart a node names of a partition, the first ones.
inline constexpr int kApartMax = 1'000;

// The newest announcement of every node. One counts for 30 s from when it came, by this
// process's own steady clock: what other machines' clocks say is compared with nothing. When it
// came is known to within a second or two, and taken too early rather than too late: what was in
// the log already when its end was asked for came before that, so that neither history that is read
// at the start, nor what a process that was paused finds when it wakes, is taken for news.
// Thread-safe.
class NodeDirectory {
 public:
  // `clock`: its steady time goes on while the machine is suspended (BootTimeClock). `self`: this
  // process's node, which is left out of all but Applied(). `log` and `clock` must outlive it.
  NodeDirectory(eventlog::Log& log, const Clock& clock, const std::string& self);
  ~NodeDirectory();
  void Start();
  void Stop();

  // How far the projectors that announced themselves lately have applied `partition` of `changes`:
  // the furthest of them; nullopt where none serves it.
  // Nodes where `org` is apart do not count: they are behind with it.
  [[nodiscard]] std::optional<Offset> Applied(PartitionId partition, const OrgId& org) const;

  // Below which offset of `changes` another node, which serves the partition and finds nothing
  // wrong with it, has folded everything but who is apart there; 0 where none is known. The control
  // events before it are covered by LastControl(), where that is asked afterwards.
  [[nodiscard]] Offset FoldedUntil(PartitionId partition) const;

  // Has all been read that was there when this process came?
  [[nodiscard]] bool Known() const;

  // The control event that answers the newest request, of all that was ever announced of this log
  // and epoch, by whom and when ever: `changes` held it once, and `provisioning` the request.
  [[nodiscard]] ControlMark LastControl(PartitionId partition) const;

  // What others, and this node before the process came, have told to have folded of the partition,
  // of this log and epoch, whenever that was: the log must hold it. Without what is known to have
  // been compared since, by this process or by another node that has folded on.
  struct ToldFolded {
    Offset until;  // of `nodes`: what was announced below it is in `marks`
    std::vector<FoldedMark> marks;
  };
  [[nodiscard]] ToldFolded Folded(PartitionId partition) const;
  // The log was seen to hold those, and before them what this process has applied, which is
  // `compared.at`. To be called once Known() was so before they were asked for.
  void NoteCompared(PartitionId partition, ComparedMarks compared);
  [[nodiscard]] std::optional<ComparedMarks> Compared(PartitionId partition) const;
  // What this node told before the process came, and has to be told on.
  [[nodiscard]] std::vector<FoldedMark> FormerFolded(PartitionId partition) const;

  // What another node found wrong with the log's partition, as it announced lately; empty where
  // nothing is.
  [[nodiscard]] std::string FaultOf(PartitionId partition) const;

  // The base URL, for that use, of another node that announced lately that it answers for
  // `partition`: of several the one that announced itself last.
  [[nodiscard]] std::optional<std::string> ServedAt(PartitionId partition, NodeUse use) const;

  // For this process's announcer, once each: whether nothing is known of the others and they are to
  // be asked, and whether another node has asked.
  [[nodiscard]] bool TakeMustAsk();
  [[nodiscard]] bool TakeWasAsked();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "<node id> (<admin url>)" of each node that announces itself on `nodes`, and does not leave, in
// the `wait` that this takes. Errors as Log::Range() and Reader::Read().
[[nodiscard]] absl::StatusOr<std::vector<std::string>> AwaitAnnouncements(
    eventlog::Log& log, const Clock& clock, std::chrono::milliseconds wait);

}  // namespace sluice::projectors
