#include "eventlog/log.h"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eventlog/epoch.h"
#include "schemas/base/status.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/unit/eventlog/log_testing.h"

// What the functions over every log make of its answers: silence above all.
namespace sluice::eventlog {
namespace {

using Answer = absl::StatusOr<std::vector<StoredEvent>>;

constexpr std::chrono::milliseconds kNoPatience{0};

StoredEvent At(int64_t offset, const std::string& value = "v") {
  StoredEvent stored;
  stored.offset = Offset(offset);
  stored.event.id = value;
  stored.event.value = value;
  return stored;
}

// Reads what it was given; then nothing.
class ScriptedReader final : public Reader {
 public:
  ScriptedReader(Offset from, std::deque<Answer>& answers) : next_(from), answers_(answers) {}

  Answer Read(const ReadLimits&) override {
    if (answers_.empty()) {
      return std::vector<StoredEvent>();
    }
    Answer answer = std::move(answers_.front());
    answers_.pop_front();
    if (answer.ok() && !answer->empty()) {
      next_ = Offset(answer->back().offset.value() + 1);
    }
    return answer;
  }
  Offset next() const override { return next_; }
  void Cancel() override {}

 private:
  Offset next_;
  std::deque<Answer>& answers_;
};

class ScriptedLog final : public Log {
 public:
  OffsetRange range{Offset(0), Offset(10)};
  std::deque<Answer> answers;

  const std::string& id() const override { return id_; }
  int32_t PartitionCount(Topic) const override { return 1; }
  void AppendAsync(Topic, PartitionId, std::vector<Event>, AppendCallback done) override {
    done(absl::UnavailableError("not scripted"));
  }
  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(Topic, PartitionId, Offset from) override {
    return std::make_unique<ScriptedReader>(from, answers);
  }
  absl::StatusOr<OffsetRange> Range(Topic, PartitionId) override { return range; }
  absl::Status TruncateBefore(Topic, PartitionId, Offset) override { return absl::OkStatus(); }
  absl::Status Health() override { return absl::OkStatus(); }

 private:
  const std::string id_ = "scripted";
};

absl::Status Verify(ScriptedLog& log, int64_t applied, const StoredEvent& event) {
  return VerifyContinuity(log, Topic::kChanges, kP0, Offset(applied), EventHash(event.event),
                          kNoPatience);
}

TEST(VerifyContinuity, AcceptsTheEventThatWasApplied) {
  ScriptedLog log;
  log.answers = {std::vector{At(7)}};
  EXPECT_TRUE(Verify(log, 7, At(7)).ok());
  EXPECT_TRUE(Verify(log, kNoOffset.value(), At(7)).ok());
  log.range.begin = Offset(8);
  EXPECT_TRUE(Verify(log, 7, At(7)).ok()) << "what retention removed can't be compared";
}

TEST(VerifyContinuity, SilenceIsNoDifference) {
  ScriptedLog log;
  log.answers = {std::vector<StoredEvent>()};
  const absl::Status status = Verify(log, 7, At(7));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(ErrorCode(status), "log_unavailable");
  log.answers = {absl::UnavailableError("away")};
  EXPECT_EQ(Verify(log, 7, At(7)).code(), absl::StatusCode::kUnavailable);
}

TEST(VerifyContinuity, NoticesAnotherEventAHoleAndALostEnd) {
  ScriptedLog log;
  log.answers = {std::vector{At(7, "another")}};
  EXPECT_EQ(ErrorCode(Verify(log, 7, At(7))), "log_diverged");
  log.answers = {std::vector{At(8)}};
  const absl::Status hole = Verify(log, 7, At(7));
  EXPECT_EQ(ErrorCode(hole), "log_diverged");
  EXPECT_NE(Message(hole).find("goes on at 8"), std::string_view::npos) << hole;
  EXPECT_NE(Message(hole).find("sluice log new-epoch"), std::string_view::npos) << hole;
  const absl::Status lost = Verify(log, 10, At(10));
  EXPECT_EQ(ErrorCode(lost), "log_truncated");
  EXPECT_EQ(lost.code(), absl::StatusCode::kDataLoss);
  log.answers = {BeyondEndError(Topic::kChanges, kP0, Offset(7), Offset(3))};
  EXPECT_EQ(ErrorCode(Verify(log, 7, At(7))), "log_truncated");
}

TEST(VerifyContinuity, RetentionMayPassBetweenTheQuestions) {
  ScriptedLog log;
  log.answers = {BelowBeginError(Topic::kChanges, kP0, Offset(7), Offset(9))};
  EXPECT_TRUE(Verify(log, 7, At(7)).ok());
}

TEST(ReadUntil, VisitsWhatLiesBelowTheKnownEnd) {
  ScriptedLog log;
  log.answers = {std::vector{At(2), At(3)}, std::vector{At(5), At(6), At(7)}};
  std::vector<int64_t> seen;
  const auto visit = [&seen](const StoredEvent& event) {
    seen.push_back(event.offset.value());
    return absl::OkStatus();
  };
  EXPECT_TRUE(ReadUntil(log, Topic::kChanges, kP0, Offset(2), Offset(7), visit, kNoPatience).ok());
  EXPECT_EQ(seen, (std::vector<int64_t>{2, 3, 5, 6}));
}

TEST(ReadUntil, SilenceIsNotTheEnd) {
  ScriptedLog log;
  log.answers = {std::vector{At(0)}, std::vector<StoredEvent>()};
  int visited = 0;
  const absl::Status status = ReadUntil(
      log, Topic::kChanges, kP0, Offset(0), Offset(2),
      [&visited](const StoredEvent&) {
        ++visited;
        return absl::OkStatus();
      },
      kNoPatience);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(visited, 1);
}

TEST(ReadUntil, EndsWithTheVisitorsError) {
  ScriptedLog log;
  log.answers = {std::vector{At(0), At(1)}};
  const absl::Status status = ReadUntil(
      log, Topic::kChanges, kP0, Offset(0), Offset(2),
      [](const StoredEvent&) { return absl::InternalError("enough"); }, kNoPatience);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
}

StoredEvent Started(const std::string& epoch, const std::string& replaces, int32_t partitions = 4) {
  return {Offset(0), MakeLogStarted(RealClock(), epoch, replaces, partitions)};
}

TEST(EpochFold, TheFirstCountsAndThenWhatReplacesTheOneInForce) {
  EpochFold fold;
  EXPECT_EQ(fold.epoch(), "");
  fold.Apply(At(0));
  fold.Apply(Started("a", ""));
  EXPECT_EQ(fold.epoch(), "a");
  fold.Apply(Started("b", ""));  // another process that started on the fresh log
  EXPECT_EQ(fold.epoch(), "a");
  fold.Apply(Started("c", "a", 8));
  fold.Apply(Started("d", "a"));  // declared at the same time, and later in the log
  EXPECT_EQ(fold.epoch(), "c");
  EXPECT_EQ(fold.partitions(), 4) << "they are fixed when the log is started";
}

TEST(EpochFold, IgnoresWhatIsNoStart) {
  EpochFold fold;
  StoredEvent damaged = Started("a", "");
  damaged.event.value = "\xff";
  fold.Apply(damaged);
  fold.Apply(Started("", ""));
  fold.Apply(Started("late", "one that is not in force"));
  EXPECT_EQ(fold.epoch(), "");
}

TEST(Epoch, IsRandomAndPartOfTheId) {
  EXPECT_EQ(NewEpoch().size(), 16U);
  EXPECT_NE(NewEpoch(), NewEpoch());
  EXPECT_EQ(LogIdOf("kafka:c/sluice.", "ab"), "kafka:c/sluice.#ab");
  EXPECT_EQ(LogIdOf("kafka:c/sluice.", ""), "kafka:c/sluice.");
}

TEST(OtherHistory, KeepsTheCodeAndNamesThePartition) {
  EXPECT_TRUE(OtherHistory(PartitionId(3), "").ok());
  EXPECT_FALSE(IsOtherHistory(absl::OkStatus()));
  EXPECT_FALSE(IsOtherHistory(Error(absl::StatusCode::kUnavailable, "not_caught_up", "")));
  for (const char* code : {"log_truncated", "log_diverged"}) {
    const absl::Status fault = OtherHistory(PartitionId(3), code);
    EXPECT_EQ(fault.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ErrorCode(fault), code);
    EXPECT_TRUE(Message(fault).starts_with("partition 3 of the log does not hold what it held"));
    EXPECT_TRUE(IsOtherHistory(fault));
    EXPECT_FALSE(IsDoubtedEnd(fault));
  }
  const absl::Status damaged = OtherHistory(PartitionId(3), "log_corrupt");
  EXPECT_EQ(ErrorCode(damaged), "log_corrupt");
  EXPECT_TRUE(Message(damaged).starts_with("partition 3 of the log can't be read"));
  EXPECT_FALSE(IsOtherHistory(damaged));
  EXPECT_TRUE(IsDoubtedEnd(Error(absl::StatusCode::kUnavailable, "log_end_doubted", "")));
}

}  // namespace
}  // namespace sluice::eventlog
