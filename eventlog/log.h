#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/epoch.h"
#include "eventlog/event.h"
#include "schemas/base/ids.h"

// The log that everything else is a fold of. Two implementations, embedded/ and kafka/, under one
// conformance suite (tests/integration/eventlog/).
namespace sluice::eventlog {

class Cancellation;

// The embedded log stores these, as numbers from 1 on: new ones come last.
enum class Topic { kProvisioning, kChanges, kWork, kMutations, kCheckpoints, kDeadletter, kNodes };

inline constexpr Topic kAllTopics[] = {
    Topic::kProvisioning, Topic::kChanges,    Topic::kWork, Topic::kMutations,
    Topic::kCheckpoints,  Topic::kDeadletter, Topic::kNodes};

// "provisioning", "changes", ...: without the configured prefix.
[[nodiscard]] std::string_view TopicName(Topic topic);

// Events of one partition, begin inclusive, end exclusive: end is the offset the next event gets.
struct OffsetRange {
  Offset begin;
  Offset end;
};

struct ReadLimits {
  size_t bytes_max = 4 << 20;  // stop after the event that reaches it: one event is always returned
  size_t events_max = 10'000;
  std::chrono::milliseconds wait_max{0};  // how long to wait for the first event
};

// What appends may hold. Each implementation takes these in its options.
struct AppendLimits {
  size_t event_bytes_max = 8 << 20;   // Event::ByteSize() of one event
  size_t queue_bytes_max = 64 << 20;  // the events taken whose callback has not returned yet
  size_t queue_events_max = 100'000;  // likewise, as a count
};

// Reads one partition forward. Not thread-safe, but for Cancel(), which any thread may call.
class Reader {
 public:
  virtual ~Reader() = default;

  // The next events in order, at least one unless the wait ended first: then empty.
  // kOutOfRange, code "offset_below_begin", where the next offset has been removed: the message and
  // BeginOfError() tell the begin offset; the reader does not skip by itself.
  // kOutOfRange, code "offset_beyond_end", where the next offset is greater than the end.
  // kUnavailable where the log cannot be reached: calling again later goes on at the same place.
  // kCancelled after Cancel().
  virtual absl::StatusOr<std::vector<StoredEvent>> Read(const ReadLimits& limits) = 0;

  // The offset that Read() goes on from: one past the last event returned, or where it was opened.
  virtual Offset next() const = 0;

  // What Read() returned under one number is of one history. Under another one the log may have
  // lost its end meanwhile, and have been written to since: without an error, at the offsets that
  // follow. Whoever goes on from what came before compares that first (ComparedReader does).
  // Changed by Read() alone; numbers of different readers say nothing of one another.
  virtual uint64_t session() const { return 0; }

  // Ends a waiting Read() and makes every later one return kCancelled.
  virtual void Cancel() = 0;
};

// The append-only log. Thread-safe.
class Log {
 public:
  // Offsets of the batch's events in their order, or why nothing can be said to be durable.
  using AppendCallback = absl::AnyInvocable<void(absl::StatusOr<std::vector<Offset>>)>;

  virtual ~Log() = default;

  // Names this log and its history for ever, whoever opens it: offsets of another mean nothing
  // here. Ends in "#" and the epoch, which is random and written with the log's first event.
  virtual const std::string& id() const = 0;

  // The ids that the log had before: without an epoch, and with those that a new one was declared
  // in place of (`sluice log new-epoch`). What was made of the log under one of these is to be made
  // anew; under an id that is neither, it is another log's.
  virtual std::vector<std::string> FormerIds() const { return {}; }

  // Below these offsets `provisioning` and `changes` were made to agree when the epoch in force was
  // declared, after one of them had lost its end. 0 where neither ever did.
  virtual AgreedEnds Agreed(PartitionId) const { return {}; }

  // At least 1; the same for all topics but `nodes`, which has one.
  virtual int32_t PartitionCount(Topic topic) const = 0;

  // Where the events of `key` go: Kafka's default partitioner.
  [[nodiscard]] PartitionId PartitionFor(Topic topic, std::string_view key) const;

  // Appends `batch` to one partition in its order. `done` is called once, on a thread of the log's,
  // when every event is durable (acks=all; synced) or has failed; it must not block. An empty batch
  // is done at once. Appends that one thread starts for a partition keep the order of their calls.
  // kInvalidArgument, code "too_large", for an event over the limit or a batch that the queue could
  // never take; kInvalidArgument for a partition that does not exist; kResourceExhausted, code
  // "append_queue_full", where AppendLimits are reached: nothing was taken, try again later. `done`
  // may be called with these three on the calling thread.
  // kUnavailable (code "disk_full" among them) or kDeadlineExceeded: the events may be in the log,
  // or come into it yet, each only behind those before it in the batch; a caller that sends them
  // again must keep their ids.
  virtual void AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                           AppendCallback done) = 0;

  // AppendAsync, waiting for the answer.
  [[nodiscard]] absl::StatusOr<std::vector<Offset>> Append(Topic topic, PartitionId partition,
                                                           std::vector<Event> batch);

  // Opens a reader whose first event is the first at or after `from`. Opening does not check
  // `from`; Read() does. The log must outlive its readers.
  virtual absl::StatusOr<std::unique_ptr<Reader>> OpenReader(Topic topic, PartitionId partition,
                                                             Offset from) = 0;

  // As OpenReader(), for an event or two, such as a comparison reads: it brings little that was not
  // asked for, and waits for no other reader.
  virtual absl::StatusOr<std::unique_ptr<Reader>> OpenPointReader(Topic topic,
                                                                  PartitionId partition,
                                                                  Offset from) {
    return OpenReader(topic, partition, from);
  }

  // Asks the log. `end` is a known end: every event that was acknowledged before the call lies
  // below it, and a reader that has come to it has read them all. kUnavailable where it can't be
  // asked.
  virtual absl::StatusOr<OffsetRange> Range(Topic topic, PartitionId partition) = 0;

  // Whether it is to be believed that the partition ends before `lost`, as was just told, although
  // an event is known to have been there: kUnavailable, code "log_end_doubted", where it has to be
  // asked again first. Memory only.
  virtual absl::Status ConfirmLoss(Topic /*topic*/, PartitionId /*partition*/, Offset /*lost*/) {
    return absl::OkStatus();
  }
  // Whether somebody was told so, and it is not known yet: what the partition holds is then neither
  // shown nor added to. Memory only.
  virtual bool IsEndDoubted(Topic /*topic*/, PartitionId /*partition*/) { return false; }

  // Retention: removes what lies before `begin`; at most up to the end. Earlier begins are ignored.
  virtual absl::Status TruncateBefore(Topic topic, PartitionId partition, Offset begin) = 0;

  // Ok when appends and reads can be expected to succeed, otherwise why not, for /readyz.
  virtual absl::Status Health() = 0;
};

// The begin offset that an "offset_below_begin" error carries.
[[nodiscard]] Offset BeginOfError(const absl::Status& status);
// Makes such an error (for implementations of Log).
[[nodiscard]] absl::Status BelowBeginError(Topic topic, PartitionId partition, Offset wanted,
                                           Offset begin);
[[nodiscard]] absl::Status BeyondEndError(Topic topic, PartitionId partition, Offset wanted,
                                          Offset end);

// How long a read waits for the next event where nothing else is said.
inline constexpr std::chrono::seconds kReadPatience{30};

// Calls `visit` with the events of [from, end) in their order, and returns its first error. `end`
// is a known end, such as Range() told: that nothing comes is never taken for the end, but is
// kUnavailable, code "log_unavailable", once no event has come for `patience`. Other errors as
// Reader::Read(). Blocks; thread-safe as `log` is.
// `cancellation` here and below: may be nullptr; kCancelled where it ends the read. What is asked
// of the log besides is not ended.
[[nodiscard]] absl::Status ReadUntil(Log& log, Topic topic, PartitionId partition, Offset from,
                                     Offset end,
                                     absl::FunctionRef<absl::Status(const StoredEvent&)> visit,
                                     std::chrono::milliseconds patience = kReadPatience,
                                     Cancellation* cancellation = nullptr);

// Checks that the log still holds what a store applied: kDataLoss, code "log_truncated", where
// `applied` is beyond the log's end, and Log::ConfirmLoss() says so, "log_diverged" where another
// event is at `applied`, or none and later ones are there. kUnavailable where the log cannot be
// asked or shows nothing for `patience`: an empty read is no difference, ask again. An `applied`
// below the log's begin can't be compared and is accepted; kNoOffset always is.
[[nodiscard]] absl::Status VerifyContinuity(Log& log, Topic topic, PartitionId partition,
                                            Offset applied, uint64_t applied_hash,
                                            std::chrono::milliseconds patience = kReadPatience,
                                            Cancellation* cancellation = nullptr);

// Is it one of the two errors that say that the log is another: "log_truncated", "log_diverged"?
[[nodiscard]] bool IsOtherHistory(const absl::Status& status);
// Is the log to be asked again before it is believed to be another: "log_end_doubted"?
[[nodiscard]] bool IsDoubtedEnd(const absl::Status& status);

// Why nothing may be appended to a partition with such an error, or one that can't be read, nor
// told of its organisations, until a person has mended it: kUnavailable, in the words that callers
// get, with the error's code. OK where `code` is empty.
[[nodiscard]] absl::Status OtherHistory(PartitionId partition, std::string_view code);

}  // namespace sluice::eventlog
