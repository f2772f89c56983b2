#include "tests/integration/eventlog/record_source_conformance.h"

#include <gmock/gmock.h>

#include <chrono>
#include <map>
#include <thread>

#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::string_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Longer than anything takes that succeeds; no test waits for it to pass.
constexpr std::chrono::seconds kRecordPatience{60};
constexpr PartitionId kFirst{0};
constexpr PartitionId kSecond{1};

std::vector<std::string> ValuesOf(const std::vector<Record>& records) {
  std::vector<std::string> values;
  for (const Record& record : records) {
    values.push_back(record.value.value_or("(null)"));
  }
  return values;
}

Record Valued(std::string value) {
  Record record;
  record.value = std::move(value);
  return record;
}

}  // namespace

void RecordSourceConformance::SetUp() {
  fixture_ = GetParam().make_fixture();
  topic_ = fixture_->NewName();
  fixture_->Create(topic_, 2);
}

void RecordSourceConformance::Append(int partition, const std::string& prefix, int count) {
  for (int i = 0; i < count; ++i) {
    fixture_->Append(topic_, partition, Valued(prefix + std::to_string(i)));
  }
}

std::vector<Record> RecordSourceConformance::MustRead(RecordSource& source, size_t count) {
  std::vector<Record> records;
  while (records.size() < count) {
    auto more = source.Read({.events_max = count - records.size(), .wait_max = kRecordPatience});
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || more->empty()) {
      break;
    }
    std::ranges::move(*more, std::back_inserter(records));
  }
  EXPECT_EQ(records.size(), count);
  return records;
}

std::vector<RecordPlace> RecordSourceConformance::Both(Offset next) const {
  return {{topic_, kFirst, next}, {topic_, kSecond, next}};
}

TEST_P(RecordSourceConformance, RecordsComeAsTheyWereWritten) {
  Record full;
  full.key = "\0key \xff"s;
  full.value = "a value";
  full.headers = {{"one", "1"}, {"one", "twice"}, {"empty", ""}};
  fixture_->Append(topic_, 1, full);
  Record bare;
  bare.key = "k";
  fixture_->Append(topic_, 1, bare);  // a tombstone
  Record empty;
  empty.value = "";
  fixture_->Append(topic_, 1, empty);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  const std::vector<Record> records = MustRead(*source, 3);
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].topic, topic_);
  EXPECT_EQ(records[0].partition, kSecond);
  EXPECT_EQ(records[0].offset, Offset(0));
  EXPECT_EQ(records[0].key, full.key);
  EXPECT_EQ(records[0].value, full.value);
  EXPECT_EQ(records[0].headers, full.headers);
  EXPECT_EQ(records[1].key, "k");
  EXPECT_EQ(records[1].value, std::nullopt);
  EXPECT_EQ(records[2].key, std::nullopt);
  EXPECT_EQ(records[2].value, "");
}

TEST_P(RecordSourceConformance, EachPartitionInItsOrder) {
  Append(0, "a", 30);
  Append(1, "b", 30);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  std::map<PartitionId, int64_t> next;
  for (const Record& record : MustRead(*source, 60)) {
    EXPECT_EQ(record.offset.value(), next[record.partition]);
    EXPECT_EQ(*record.value,
              (record.partition == kFirst ? "a" : "b") + std::to_string(next[record.partition]++));
  }
  EXPECT_EQ(source->next(topic_, kFirst), Offset(30));
}

TEST_P(RecordSourceConformance, GoesOnWhereItIsToldTo) {
  Append(0, "a", 5);
  Append(1, "b", 5);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign({{topic_, kFirst, Offset(3)}}).ok());
  EXPECT_THAT(ValuesOf(MustRead(*source, 2)), ElementsAre("a3", "a4"));
  // Back in one place, while the other begins and a third is not read any more.
  ASSERT_TRUE(source->Assign({{topic_, kSecond, Offset(4)}, {topic_, kFirst, Offset(4)}}).ok());
  std::vector<std::string> values = ValuesOf(MustRead(*source, 2));
  std::ranges::sort(values);
  EXPECT_THAT(values, ElementsAre("a4", "b4"));
  ASSERT_TRUE(source->Assign({{topic_, kFirst, Offset(5)}}).ok());
  Append(1, "c", 1);
  Append(0, "d", 1);
  EXPECT_THAT(ValuesOf(MustRead(*source, 1)), ElementsAre("d0"));
}

TEST_P(RecordSourceConformance, SeeksWhileMoreIsAtHand) {
  Append(0, "a", 50);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  MustRead(*source, 10);
  ASSERT_TRUE(source->Assign({{topic_, kFirst, Offset(2)}, {topic_, kSecond, kNoOffset}}).ok());
  EXPECT_THAT(ValuesOf(MustRead(*source, 3)), ElementsAre("a2", "a3", "a4"));
  ASSERT_TRUE(source->Assign({{topic_, kFirst, Offset(48)}, {topic_, kSecond, kNoOffset}}).ok());
  EXPECT_THAT(ValuesOf(MustRead(*source, 2)), ElementsAre("a48", "a49"));
}

TEST_P(RecordSourceConformance, WhatIsPausedDoesNotCome) {
  Append(0, "a", 20);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  MustRead(*source, 5);
  ASSERT_TRUE(source->Pause(topic_, kFirst, true).ok());
  Append(1, "b", 3);
  EXPECT_THAT(ValuesOf(MustRead(*source, 3)), ElementsAre("b0", "b1", "b2"));
  ASSERT_TRUE(source->Pause(topic_, kFirst, false).ok());
  EXPECT_EQ(MustRead(*source, 15).front().value, "a5");
  EXPECT_FALSE(source->Pause("another", kFirst, true).ok());
}

TEST_P(RecordSourceConformance, OffsetsWithoutRecordsArePassedOver) {
  Append(0, "a", 1);
  const int gap = fixture_->AppendGap(topic_, 0);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  EXPECT_THAT(ValuesOf(MustRead(*source, 1)), ElementsAre("a0"));
  const auto end = source->End(topic_, kFirst);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, Offset(1 + gap));
  for (int i = 0; i < 100 && source->next(topic_, kFirst) < *end; ++i) {
    const auto more = source->Read({.wait_max = std::chrono::milliseconds(200)});
    ASSERT_TRUE(more.ok()) << more.status();
    EXPECT_THAT(*more, IsEmpty());
  }
  EXPECT_EQ(source->next(topic_, kFirst), *end);
  Append(0, "b", 1);
  EXPECT_EQ(MustRead(*source, 1).front().offset, *end);
}

TEST_P(RecordSourceConformance, LimitsAreKept) {
  Append(0, std::string(1000, 'x'), 20);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  MustRead(*source, 1);
  size_t read = 1;
  while (read < 20) {
    const auto few = source->Read({.bytes_max = 2500, .wait_max = kRecordPatience});
    ASSERT_TRUE(few.ok()) << few.status();
    ASSERT_FALSE(few->empty());
    EXPECT_LE(few->size(), 3U);
    read += few->size();
  }
}

TEST_P(RecordSourceConformance, TheEndIsAskedForNow) {
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  for (int count = 0; count < 3; ++count) {
    const auto end = source->End(topic_, kSecond);
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_EQ(*end, Offset(count));
    Append(1, "b", 1);
  }
}

TEST_P(RecordSourceConformance, WhatIsGoneIsNamed) {
  Append(0, "a", 10);
  fixture_->TruncateBefore(topic_, 0, Offset(4));
  const auto source = fixture_->Open();
  const auto begin = source->Begin(topic_, kFirst);
  ASSERT_TRUE(begin.ok()) << begin.status();
  EXPECT_EQ(*begin, Offset(4));
  for (const auto& [next, code] :
       {std::pair(Offset(2), "offset_below_begin"), {Offset(12), "offset_beyond_end"}}) {
    ASSERT_TRUE(source->Assign({{topic_, kFirst, next}}).ok());
    const auto read = source->Read({.wait_max = kRecordPatience});
    EXPECT_EQ(read.status().code(), absl::StatusCode::kOutOfRange) << read.status();
    EXPECT_EQ(ErrorCode(read.status()), code);
    EXPECT_THAT(std::string(Message(read.status())),
                HasSubstr(topic_ + "-0 at offset " + std::to_string(next.value())));
  }
  // From the begin, whatever it is now, and exactly from the end.
  ASSERT_TRUE(source->Assign({{topic_, kFirst, kNoOffset}}).ok());
  EXPECT_EQ(MustRead(*source, 6).front().value, "a4");
  ASSERT_TRUE(source->Assign({{topic_, kFirst, Offset(10)}}).ok());
  Append(0, "b", 1);
  EXPECT_THAT(ValuesOf(MustRead(*source, 1)), ElementsAre("b0"));
}

TEST_P(RecordSourceConformance, ATopicThatWasMadeAnewIsNoticed) {
  Append(0, "a", 10);
  fixture_->Delete(topic_);
  fixture_->Create(topic_, 2);
  Append(0, "b", 1);
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign({{topic_, kFirst, Offset(10)}}).ok());
  EXPECT_EQ(ErrorCode(source->Read({.wait_max = kRecordPatience}).status()), "offset_beyond_end");
}

TEST_P(RecordSourceConformance, WhichPartitionsThereAre) {
  const auto source = fixture_->Open();
  const auto both = source->Partitions(topic_);
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_THAT(*both, ElementsAre(kFirst, kSecond));
  const auto none = source->Partitions(fixture_->NewName());
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_THAT(*none, IsEmpty());
}

TEST_P(RecordSourceConformance, CancelEndsAWaitAndWhatComesAfter) {
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  std::thread cancels([&source] { source->Cancel(); });
  const auto read = source->Read({.wait_max = kRecordPatience});
  cancels.join();
  EXPECT_EQ(read.status().code(), absl::StatusCode::kCancelled) << read.status();
  EXPECT_EQ(source->Read({}).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(source->End(topic_, kFirst).status().code(), absl::StatusCode::kCancelled);
}

TEST_P(RecordSourceConformance, AnEmptyWaitEnds) {
  const auto source = fixture_->Open();
  ASSERT_TRUE(source->Assign(Both(kNoOffset)).ok());
  const auto read = source->Read({.wait_max = std::chrono::milliseconds(50)});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(*read, IsEmpty());
}

}  // namespace sluice::eventlog
