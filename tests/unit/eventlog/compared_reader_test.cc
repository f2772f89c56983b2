#include "eventlog/compared_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "schemas/base/status.h"
#include "tests/support/blocking_log.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/eventlog/log_testing.h"

// What was read is held back until what was applied has been compared. One thread, so the scripts
// of the log are plain.
namespace sluice::eventlog {
namespace {

using ::testing::ElementsAre;

// A log that may lose its end and grow again, at moments of the test's choice.
class LossyLog final : public Log {
 public:
  // From now on `letters` are its events. A reader tells of it only where `tells`.
  void Be(const std::string& letters, bool tells) {
    letters_ = letters;
    session_ += tells ? 1 : 0;
  }
  void FailNextRead(absl::Status error) { failure_ = std::move(error); }

  const std::string& id() const override { return id_; }
  int32_t PartitionCount(Topic) const override { return 1; }
  void AppendAsync(Topic, PartitionId, std::vector<Event>, AppendCallback done) override {
    done(absl::UnimplementedError(""));
  }
  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(Topic, PartitionId, Offset from) override {
    return std::make_unique<LossyReader>(*this, from);
  }
  absl::StatusOr<OffsetRange> Range(Topic, PartitionId) override {
    return OffsetRange{Offset(0), Offset(static_cast<int64_t>(letters_.size()))};
  }
  absl::Status TruncateBefore(Topic, PartitionId, Offset) override { return absl::OkStatus(); }
  absl::Status Health() override { return absl::OkStatus(); }

 private:
  class LossyReader final : public Reader {
   public:
    LossyReader(LossyLog& log, Offset from) : log_(log), next_(from) {}
    absl::StatusOr<std::vector<StoredEvent>> Read(const ReadLimits& limits) override {
      if (log_.failure_.has_value()) {
        return *std::exchange(log_.failure_, std::nullopt);
      }
      session_ = log_.session_;
      std::vector<StoredEvent> events;
      for (auto at = static_cast<size_t>(next_.value());
           at < log_.letters_.size() && events.size() < limits.events_max; ++at) {
        StoredEvent stored;
        stored.offset = Offset(static_cast<int64_t>(at));
        stored.event.value = log_.letters_[at];
        events.push_back(stored);
      }
      next_ = Offset(next_.value() + static_cast<int64_t>(events.size()));
      return events;
    }
    Offset next() const override { return next_; }
    uint64_t session() const override { return session_; }
    void Cancel() override {}

   private:
    LossyLog& log_;
    Offset next_;
    uint64_t session_ = 0;
  };

  const std::string id_ = "lossy";
  std::string letters_;
  uint64_t session_ = 1;
  std::optional<absl::Status> failure_;
};

class ComparedReaderTest : public ::testing::Test {
 protected:
  ComparedReader MakeReader(ComparedReader::Compare compare = {}) {
    return {log_, clock_, Topic::kChanges, kP0, Offset(0), std::move(compare)};
  }
  // What Read() returns, as text; or the code of its error.
  static std::string Read(ComparedReader& reader, size_t events_max = 2) {
    const auto events = reader.Read({.events_max = events_max});
    std::string text;
    for (const StoredEvent& event : events.ok() ? *events : std::vector<StoredEvent>()) {
      text += event.event.value;
    }
    return events.ok() ? text : ErrorCode(events.status());
  }

  sluice::testing::FakeClock clock_;
  LossyLog log_;
};

TEST_F(ComparedReaderTest, NothingOfANewSessionIsJoinedToWhatTheLogHasLost) {
  log_.Be("abcdef", true);
  ComparedReader reader = MakeReader();
  EXPECT_EQ(Read(reader), "ab");
  EXPECT_EQ(Read(reader), "cd");
  log_.Be("abcXYZ", true);
  EXPECT_EQ(Read(reader), "log_diverged");
  EXPECT_EQ(reader.next(), Offset(4)) << "what was read is no part of what was returned";
  EXPECT_EQ(Read(reader), "log_diverged");
  log_.Be("abcdXYZ", true);  // and what comes of a log that has it all is read again
  EXPECT_EQ(Read(reader, 10), "XYZ");
}

TEST_F(ComparedReaderTest, ASessionThatBeginsWithoutEventsIsComparedAtOnceAndAtTheFirst) {
  log_.Be("abcd", true);
  ComparedReader reader = MakeReader();
  EXPECT_EQ(Read(reader, 10), "abcd");
  log_.Be("abcX", true);
  EXPECT_EQ(Read(reader), "log_diverged") << "though nothing comes";
  log_.Be("abcd", true);
  EXPECT_EQ(Read(reader), "");
  log_.Be("abcXYZ", false);
  EXPECT_EQ(Read(reader), "log_diverged") << "what comes first need not be of that log";
}

// The log loses its end between a comparison and the read that follows.
// However many of them come without any.
TEST_F(ComparedReaderTest, EverySessionThatBeginsWithoutEventsIsCompared) {
  log_.Be("abcd", true);
  ComparedReader reader = MakeReader();
  EXPECT_EQ(Read(reader, 10), "abcd");
  log_.Be("abcd", true);  // some connection ended
  EXPECT_EQ(Read(reader), "");
  log_.Be("abcX", true);  // and another one, with the end
  EXPECT_EQ(Read(reader), "log_diverged");
}

TEST_F(ComparedReaderTest, WhatIsReadIsComparedAfterwards) {
  log_.Be("abcd", true);
  std::vector<std::string> compared;
  ComparedReader reader = MakeReader([&] {
    compared.push_back("ab");
    return absl::OkStatus();
  });
  reader.Doubt();
  EXPECT_EQ(Read(reader), "ab");
  EXPECT_THAT(compared, ElementsAre("ab", "ab")) << "before the read, and after it";
  EXPECT_EQ(Read(reader), "cd");
  EXPECT_THAT(compared, ElementsAre("ab", "ab")) << "it goes on as it was";
}

TEST_F(ComparedReaderTest, AfterASilenceItIsComparedWhateverTheReaderTells) {
  log_.Be("ab", true);
  ComparedReader reader = MakeReader();
  EXPECT_EQ(Read(reader), "ab");
  clock_.Advance(std::chrono::seconds(2));
  log_.Be("XYZ", false);
  EXPECT_EQ(Read(reader), "log_diverged");
}

// A leader may change though no connection ends; then nothing need ever come of the new one's log.
TEST_F(ComparedReaderTest, ASilenceIsComparedNowAndThen) {
  log_.Be("abcd", true);
  ComparedReader reader = MakeReader();
  EXPECT_EQ(Read(reader, 10), "abcd");
  log_.Be("abcX", false);
  EXPECT_EQ(Read(reader), "");
  clock_.Advance(std::chrono::seconds(31));
  EXPECT_EQ(Read(reader), "log_diverged");
}

TEST_F(ComparedReaderTest, WhatComesWithoutEndIsComparedNowAndThenToo) {
  log_.Be(std::string(100, 'a'), true);
  ComparedReader reader = MakeReader();
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(Read(reader, 1), "a");
    clock_.Advance(std::chrono::seconds(1));
  }
  log_.Be(std::string(100, 'b'), false);
  EXPECT_EQ(Read(reader, 1), "b") << "nothing has told of it";
  clock_.Advance(std::chrono::seconds(1));
  log_.Be(std::string(100, 'c'), false);
  EXPECT_EQ(Read(reader, 1), "log_diverged");
}

TEST_F(ComparedReaderTest, AfterAnErrorItIsComparedThoughNothingComes) {
  log_.Be("ab", true);
  ComparedReader reader = MakeReader();
  EXPECT_EQ(Read(reader), "ab");
  log_.FailNextRead(Error(absl::StatusCode::kUnavailable, "log_unavailable", "away"));
  EXPECT_EQ(Read(reader), "log_unavailable");
  log_.Be("a", false);
  EXPECT_EQ(Read(reader), "log_truncated");
}

TEST_F(ComparedReaderTest, WhereTheLogCannotTellNothingIsReturnedAndNothingIsLost) {
  log_.Be("abcd", true);
  bool well = false;
  ComparedReader reader = MakeReader([&] {
    return well ? absl::OkStatus()
                : Error(absl::StatusCode::kUnavailable, "log_unavailable", "away");
  });
  EXPECT_EQ(Read(reader), "log_unavailable");
  EXPECT_EQ(reader.next(), Offset(0));
  well = true;
  EXPECT_EQ(Read(reader), "ab");
}

// As of a partition whose leader is away.
TEST_F(ComparedReaderTest, CancelEndsAComparison) {
  sluice::testing::BlockingLog blocking(log_, Topic::kChanges);
  log_.Be("abcd", true);
  ComparedReader reader(blocking, clock_, Topic::kChanges, kP0, Offset(0));
  EXPECT_EQ(Read(reader), "ab");
  blocking.Block();
  reader.Doubt();
  std::thread reading([&] { EXPECT_TRUE(absl::IsCancelled(reader.Read({}).status())); });
  EXPECT_TRUE(blocking.AwaitBlocked(1));
  reader.Cancel();
  reading.join();
  EXPECT_TRUE(blocking.all_cancelled());
}

TEST_F(ComparedReaderTest, BeyondTheEndItGoesOnBehindTheLastEvent) {
  log_.Be("abcd", true);
  ComparedReader reader = MakeReader();
  EXPECT_EQ(Read(reader), "ab");
  log_.FailNextRead(BeyondEndError(Topic::kChanges, kP0, Offset(9), Offset(4)));
  EXPECT_EQ(Read(reader), "offset_beyond_end");
  EXPECT_EQ(Read(reader), "cd");
}

}  // namespace
}  // namespace sluice::eventlog
