#include "eventlog/embedded/event_codec.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::string_literals::operator""s;

// What a log of before events named their cause holds; read for ever.
Event Format1Event() {
  Event event;
  event.id = "01890a5d-ac96-774b-bcce-b302099a8057";
  event.source = "sluice/admin";
  event.type = "sluice.v1.ChangeSet";
  event.subject = "acme/account";
  event.time = SystemTime(std::chrono::microseconds(1'700'000'000'000'000));
  event.key = "acme";
  event.value = "\x0a\x03xyz";
  return event;
}

// The worked example of eventlog/docs/embedded-log-format.md.
Event DocumentedEvent() {
  Event event = Format1Event();
  event.cause = {"alice", "https://login.example.com", "req-7"};
  return event;
}

std::string DocumentedBytes() {
  return "\x02\x80\x80\xf2\x81\x83\x89\x85\x06"
         "\x24"
         "01890a5d-ac96-774b-bcce-b302099a8057"
         "\x0csluice/admin"
         "\x13sluice.v1.ChangeSet"
         "\x0c"
         "acme/account"
         "\x00"
         "\x04"
         "acme"
         "\x05"
         "alice"
         "\x19https://login.example.com"
         "\x05req-7"
         "\x00"
         "\x0a\x03xyz"s;
}

std::string Format1Bytes() {
  return "\x01\x80\x80\xf2\x81\x83\x89\x85\x06"
         "\x24"
         "01890a5d-ac96-774b-bcce-b302099a8057"
         "\x0csluice/admin"
         "\x13sluice.v1.ChangeSet"
         "\x0c"
         "acme/account"
         "\x00"
         "\x04"
         "acme"
         "\x0a\x03xyz"s;
}

TEST(EventCodec, WritesTheDocumentedBytes) {
  std::string bytes;
  EncodeEvent(DocumentedEvent(), bytes);
  EXPECT_EQ(bytes, DocumentedBytes());
  EXPECT_EQ(EventKey(Topic::kChanges, PartitionId(3), Offset(1042)),
            "\x02\0\0\0\x03\0\0\0\0\0\0\x04\x12"s);
}

TEST(EventCodec, ATimeOrALengthThatDoesNotFit64BitsIsRefused) {
  const std::string ten = std::string(9, '\xff') + '\x02';
  EXPECT_EQ(ErrorCode(DecodeEvent("\x02" + ten + std::string(11, '\0')).status()), "log_corrupt");
  EXPECT_EQ(ErrorCode(DecodeEvent("\x02\x00"s + ten + std::string(11, '\0')).status()),
            "log_corrupt");
}

TEST(EventCodec, ReadsTheDocumentedBytes) {
  const auto event = DecodeEvent(DocumentedBytes());
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(*event, DocumentedEvent());
}

TEST(EventCodec, ReadsEventsOfFormat1) {
  const auto event = DecodeEvent(Format1Bytes());
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(*event, Format1Event());
  EXPECT_EQ(event->answers, kNoOffset);
}

TEST(EventCodec, KeepsThePositionThatAControlEventAnswers) {
  for (const int64_t answers : {int64_t{0}, int64_t{1042}, std::numeric_limits<int64_t>::max()}) {
    Event event = DocumentedEvent();
    event.answers = Offset(answers);
    std::string bytes;
    EncodeEvent(event, bytes);
    const auto back = DecodeEvent(bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, event);
  }
}

TEST(EventCodec, KeepsTimesBefore1970AndFarAway) {
  for (const int64_t us : {int64_t{-1}, int64_t{0}, std::numeric_limits<int64_t>::min(),
                           std::numeric_limits<int64_t>::max()}) {
    Event event = DocumentedEvent();
    event.time = SystemTime(std::chrono::microseconds(us));
    std::string bytes;
    EncodeEvent(event, bytes);
    const auto back = DecodeEvent(bytes);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->time, event.time);
  }
}

TEST(EventCodec, RefusesWhatIsCutShortOrOfAnotherFormat) {
  const std::string bytes = DocumentedBytes();
  const size_t value_size = DocumentedEvent().value.size();
  for (size_t size = 0; size < bytes.size() - value_size; ++size) {
    const auto event = DecodeEvent(std::string_view(bytes).substr(0, size));
    ASSERT_FALSE(event.ok()) << size;
    EXPECT_EQ(ErrorCode(event.status()), "log_corrupt");
  }
  EXPECT_FALSE(DecodeEvent("\x03" + bytes.substr(1)).ok());
  EXPECT_FALSE(DecodeEvent("\0"s + bytes.substr(1)).ok());
  EXPECT_FALSE(DecodeEvent("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s).ok());
  EXPECT_FALSE(DecodeEvent("\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f"s).ok());
}

TEST(EventCodec, KeysSortByTopicPartitionAndOffset) {
  EXPECT_LT(EventKey(Topic::kProvisioning, PartitionId(9), Offset(9)),
            EventKey(Topic::kChanges, PartitionId(0), Offset(0)));
  EXPECT_LT(EventKey(Topic::kChanges, PartitionId(0), Offset(1000)),
            EventKey(Topic::kChanges, PartitionId(1), Offset(0)));
  EXPECT_LT(EventKey(Topic::kChanges, PartitionId(1), Offset(255)),
            EventKey(Topic::kChanges, PartitionId(1), Offset(256)));
  EXPECT_EQ(OffsetOfKey(EventKey(Topic::kNodes, PartitionId(0), Offset(1LL << 40))),
            Offset(1LL << 40));
  EXPECT_EQ(OffsetOfKey("short"), kNoOffset);
}

}  // namespace
}  // namespace sluice::eventlog
