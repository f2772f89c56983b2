#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gateways/ingest/change_set_check.h"
#include "gateways/ingest/change_set_reader.h"
#include "gateways/ingest/doubtful_sets.h"
#include "gateways/ingest/ingest_service.h"
#include "gateways/ingest/set_answers.h"

namespace sluice::gateways {

// One ingest request: takes change sets in their order, appends them in batches that share syncs,
// and writes the answers in the same order. Not thread-safe.
class IngestSession {
 public:
  // `caller` is for sets that another node has to answer.
  IngestSession(IngestService& service, OrgId org, std::string traceparent, eventlog::Cause cause,
                RelayCaller caller = {}, StopOn stop_on = StopOn::kNothing);
  ~IngestSession();

  // Looks at the organisation's definitions anew: to be called when more of the sets has come.
  // kNotFound, code "org_not_found", or kFailedPrecondition, code "org_not_ready".
  [[nodiscard]] absl::Status Refresh();

  // Takes the JSON of one set. May wait for room. What is wrong with the set becomes its answer.
  void Add(std::string_view json);
  // Likewise a set that comes as a message, with entities and attributes by their ids and without
  // text to parse. It is answered as its JSON would be (CheckChangeSet), and is the same set: what
  // came one way is recognised when it comes the other.
  void Add(v1::ChangeSet set);
  // Answers one set, that can't even be read, with an error.
  void Refuse(const absl::Status& status) { answers_.Refuse("", status); }

  // Nothing more comes for the moment: appends what is gathered unless enough is under way.
  void Pause();
  // Nothing more comes at all. Until every set is durable or has failed Settle() is to be called
  // again and again: when Unresolved() is resolved, once look_by() has come.
  void End();

  // Answers of the sets that are done, JSON objects each after `separator`, since the last call.
  std::string TakeAnswers() { return answers_.Take(); }
  size_t answers_size() const { return answers_.size(); }  // of what TakeAnswers() would give
  void set_separator(std::string_view separator) { answers_.set_separator(separator); }
  // The answers have become too many, those that wait included: the request must end. The set that
  // was last is answered.
  bool full() const;
  // What the answers that wait for others count for, which are not in flight themselves.
  size_t waiting_bytes() const;
  // Bytes of answers that were taken and are not sent; they count for full().
  void set_unsent(size_t bytes) { unsent_ = bytes; }
  // Writes the answers of the sets that are done by now, and appends what is gathered: for a sender
  // that is silent, or has sent all. Waits for neither the log nor a store.
  void Settle();
  // Has Settle() something to do?
  bool due() const;
  // Settle() does next to nothing now, and blocks nowhere: it needs no thread of the pool.
  bool light() const;
  // Sets without an answer.
  bool waiting() const { return answers_.waiting() != 0; }
  // The ticket that an answer waits for and that comes last, as far as is known; nullptr for none.
  std::shared_ptr<SetTicket> Unresolved() const;
  // Sets wait for what wakes nobody: the store.
  bool waits_for_store() const { return !doubtful_.empty(); }
  // When the sets that the log has not confirmed by then are answered so.
  std::chrono::steady_clock::time_point look_by() const { return log_until_; }
  // The newest position among the answers, kNoOffset for none.
  Offset last() const { return answers_.last(); }

 private:
  struct BeforeThem {
    std::shared_ptr<SetTicket> ticket;
    bool others = false;  // another request's
  };

  // What a set is by the model of now.
  using Read = absl::FunctionRef<ReadChangeSet(const projectors::OrgModel&)>;

  // Both Add(). `line` is the set's text for another node, empty where it has none.
  void Take(Read read_by, std::string_view line);
  void LookUp();
  // Returns when definitions are known that are no older than the sets which have come, having
  // looked at them anew: as IngestService::ReachDirectory(). Without waiting where that is known.
  absl::Status ReachDirectory();
  void AddRead(ReadChangeSet read);
  // A set that does not fit the definitions as they happen to be known.
  void AddMisfit(ReadChangeSet read, Read read_by, std::string_view line);
  // Of a set that was sent before.
  absl::Status MayTell(SetTicket& ticket) const;
  // One that does not fit those of now, or of which that can't be told (`unknown`). Was it taken
  // before? Then its answer is the first one's.
  void AddDoubtful(ReadChangeSet read, std::string_view line, const absl::Status& unknown);
  void FinishDoubtful();
  // The gathered sets' answer where they must not be appended.
  absl::Status CheckGathered() const;
  // Waits until so much may be appended, and looks whether it still may.
  absl::Status AcquireRoom(size_t bytes, size_t count);
  bool FoundInStore(const v1::ChangeSet& set, SetTicket& ticket) const;
  void Gather(v1::ChangeSet set, std::shared_ptr<SetTicket> ticket);
  bool stops() const { return stop_->stops(); }
  // The first of ahead_ that has no answer; nullptr: all have one.
  std::shared_ptr<SetTicket> Ahead() const;
  // What is gathered waits for another request's sets, or for a store, and so for no thread.
  bool WaitsForOthers() const;
  // Waits until all of ahead_ have an answer; kUnavailable where that takes too long. The log owes
  // it: not to be called where the gathered sets wait for others.
  absl::Status AwaitAhead();
  // In a request that stops: a set that another request has in flight comes before the next ones.
  void NoteAhead(const std::shared_ptr<SetTicket>& ticket);
  // What is gathered can be appended without waiting for the sets before it.
  bool MayAppend() const;
  // Waits for room, and in a request that stops for what becomes of the sets before.
  void AppendGathered();
  void AppendIfMay();
  // The gathered sets, from that one on, are not appended: their answer.
  void GiveUpGathered(const absl::Status& status, size_t from = 0);
  // Likewise those that come behind a set at which the request stops.
  void GiveUpBehindStop();

  IngestService& service_;
  const OrgId org_;
  const PartitionId partition_;
  const std::string traceparent_;
  const eventlog::Cause cause_;
  const std::shared_ptr<StopMark> stop_;  // shared with the log's callbacks
  // The sets come from another node, which asks whether they were taken before: none is taken here.
  const bool relayed_;
  ChangeSetReader reader_;
  std::shared_ptr<const projectors::OrgEntry> entry_;
  absl::Status ready_;
  SteadyTime since_;          // by then everything had come that has been added
  bool at_end_ = false;       // entry_ is of the log's end of then, or later
  SteadyTime no_wait_until_;  // the directory did not come in time

  std::vector<eventlog::Event> events_;
  std::vector<std::shared_ptr<SetTicket>> tickets_;  // of events_
  size_t gathered_bytes_ = 0;
  uint32_t gathered_incarnation_ = 0;  // that events_ were checked against
  std::shared_ptr<InFlight> own_in_flight_;
  // Sets before the gathered ones that may have no answer yet: the last of each batch that was
  // given to the log, and those that other requests have in flight.
  mutable std::deque<BeforeThem> ahead_;
  DoubtfulSets doubtful_;

  bool ended_ = false;
  std::chrono::steady_clock::time_point log_until_ = std::chrono::steady_clock::time_point::max();

  SetAnswers answers_;
  size_t unsent_ = 0;
};

}  // namespace sluice::gateways
