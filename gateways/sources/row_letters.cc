#include "gateways/sources/row_letters.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
#include "gateways/sources/chain_follower.h"
#include "schemas/base/backoff.h"
#include "schemas/base/printable.h"
#include "schemas/base/sha256.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;

constexpr size_t kValueBytesMax = size_t{64} << 10;  // of a row
constexpr size_t kReasonBytesMax = 1'000;
constexpr size_t kKeyBytesMax = 1'024;  // no key that can be taken is longer
constexpr milliseconds kRetryFirst{50};
constexpr milliseconds kRetryMax{2'000};
constexpr milliseconds kStopLook{20};

// The same for the same parts, and for no others.
std::string LetterId(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) {
    text.append(std::to_string(part.size())).append(":").append(part);
  }
  const Sha256Digest digest = Sha256(text);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size() / 2});
}

eventlog::Event EventOf(const v1::DeadLetter& letter, const OrgId& org, SystemTime now) {
  eventlog::Event event;
  event.id = letter.id();
  event.source = std::string(kSourceEvents);
  event.type = v1::DeadLetter::descriptor()->full_name();
  event.subject = org.value();
  event.time = now;
  event.key = org.value();
  event.value = letter.SerializeAsString();
  event.cause.subject = letter.source();
  return event;
}

}  // namespace

bool MayAppendAgain(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         ErrorCode(status) == "append_queue_full";
}

absl::StatusOr<std::vector<Offset>> AppendSurely(eventlog::Log& log, eventlog::Topic topic,
                                                 PartitionId partition,
                                                 const std::vector<eventlog::Event>& events,
                                                 milliseconds timeout,
                                                 const std::function<bool()>& stopping) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  Backoff retry(kRetryFirst, kRetryMax);
  while (true) {
    absl::StatusOr<std::vector<Offset>> appended = log.Append(topic, partition, events);
    if (appended.ok() || !MayAppendAgain(appended.status())) {
      return appended;
    }
    const auto again = std::chrono::steady_clock::now() + retry.Next();
    while (std::chrono::steady_clock::now() < again) {
      if (stopping()) {
        return Error(absl::StatusCode::kCancelled, "cancelled", "told to stop");
      }
      std::this_thread::sleep_for(kStopLook);
    }
    if (std::chrono::steady_clock::now() >= until) {
      return appended;
    }
  }
}

eventlog::Event LetterOfItem(const projectors::StreamKey& key, const v1::WorkItem& item,
                             const absl::Status& error, PartitionId partition, const Clock& clock) {
  v1::DeadLetter letter;
  letter.set_topic(std::string(eventlog::TopicName(eventlog::Topic::kWork)));
  letter.set_partition(partition.value());
  letter.set_code(ErrorCode(error));
  letter.set_reason(PrintableMessage(Message(error), kReasonBytesMax));
  letter.set_type(v1::WorkItem::descriptor()->full_name());
  letter.set_id(LetterId({"work", key.org.value(), key.source, key.stream}));
  letter.set_value(item.SerializeAsString());
  letter.set_source(key.source);
  letter.set_entity(key.stream);
  return EventOf(letter, key.org, clock.Now());
}

void RowLetters::Add(const RejectedRow& row) {
  const OrgId& org = row.org.value().empty() ? stream_.org : row.org;
  v1::DeadLetter letter;
  letter.set_topic("source:" + stream_.source);
  letter.set_code(row.code);
  letter.set_reason(PrintableMessage(row.reason, kReasonBytesMax));
  letter.set_type("sluice.source.Row");
  letter.set_value(std::string(CutText(row.row, kValueBytesMax)));
  letter.set_id(LetterId(
      {"row", org.value(), stream_.source, row.entity, row.key, row.code, letter.value()}));
  letter.set_source(stream_.source);
  letter.set_entity(PrintableMessage(row.entity, kKeyBytesMax));
  // What is no UTF-8 is no string of a message, and makes one that nobody can read.
  const std::string key(CutText(row.key, kKeyBytesMax));
  letter.set_key(IsValidUtf8(key) ? key : absl::CHexEscape(key));
  eventlog::Event event = EventOf(letter, org, clock_.Now());
  bytes_ += event.ByteSize();
  letters_[log_.PartitionFor(eventlog::Topic::kDeadletter, org.value())].push_back(
      std::move(event));
}

absl::Status RowLetters::Flush(milliseconds timeout, const std::function<bool()>& stopping) {
  while (!letters_.empty()) {
    const auto& [partition, events] = *letters_.begin();
    RETURN_IF_ERROR(
        AppendSurely(log_, eventlog::Topic::kDeadletter, partition, events, timeout, stopping)
            .status());
    letters_.erase(letters_.begin());
  }
  bytes_ = 0;
  return absl::OkStatus();
}

}  // namespace sluice::gateways
