#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "schemas/base/status.h"

// The contract of eventlog/log.h as one suite over every implementation. An implementation's test
// links the object library `log_conformance` and instantiates the suite:
//
//   INSTANTIATE_TEST_SUITE_P(Embedded, LogConformance,
//                            ::testing::Values(LogUnderTest{"Embedded", [] { return ...; }}),
//                            LogUnderTestName);
namespace sluice::eventlog {

// One log, empty at first; another fixture is another log. Owns what the log lives in.
class LogFixture {
 public:
  virtual ~LogFixture() = default;

  // Opens the fixture's log, with at least 2 partitions (not `nodes`). Called again after the
  // former Log is gone, opens the same one, as a process does that starts again.
  virtual absl::StatusOr<std::unique_ptr<Log>> Open(const AppendLimits& limits) = 0;

  // Whether a batch shows itself to readers and Range() wholly or not at all.
  virtual bool batches_are_atomic() const = 0;
};

struct LogUnderTest {
  std::string name;
  std::function<std::unique_ptr<LogFixture>()> make_fixture;
};

inline std::string LogUnderTestName(const ::testing::TestParamInfo<LogUnderTest>& info) {
  return info.param.name;
}

// Longer than anything takes that succeeds; no test waits for it to pass.
inline constexpr std::chrono::seconds kPatience{60};
inline constexpr PartitionId kP0{0};
inline constexpr PartitionId kP1{1};

class LogConformance : public ::testing::TestWithParam<LogUnderTest> {
 protected:
  void SetUp() override;

  // The log, opened at first use.
  Log& log() { return *log_; }
  LogFixture& fixture() { return *fixture_; }
  // Closes the log and opens it again, with other limits if need be.
  void Reopen(const AppendLimits& limits = {});
  // Closes the log; Reopen() opens it again.
  void Close() { log_.reset(); }

  // An event that is like no other, with `value`.
  static Event MakeEvent(const std::string& value);
  // Events with the values "<prefix>0", "<prefix>1", ...
  static std::vector<Event> MakeEvents(const std::string& prefix, int count);

  // Appends and expects success; the offsets.
  std::vector<Offset> MustAppend(PartitionId partition, std::vector<Event> batch,
                                 Topic topic = Topic::kChanges);
  // The next `count` events of `from` on; fewer, with a failure, where they don't come.
  std::vector<StoredEvent> MustRead(PartitionId partition, Offset from, size_t count,
                                    Topic topic = Topic::kChanges);
  OffsetRange MustRange(PartitionId partition, Topic topic = Topic::kChanges);

 private:
  std::unique_ptr<LogFixture> fixture_;
  std::unique_ptr<Log> log_;
};

// The values of events, to compare with EXPECT_EQ.
std::vector<std::string> Values(const std::vector<StoredEvent>& events);
std::vector<std::string> Values(const std::vector<Event>& events);
std::vector<Offset> Offsets(const std::vector<StoredEvent>& events);

// Matches an error of the kind and stable code.
MATCHER_P2(FailsWith, kind, code, "") {
  *result_listener << "status " << arg.ToString() << ", code " << ErrorCode(arg);
  return arg.code() == kind && ErrorCode(arg) == code;
}

}  // namespace sluice::eventlog

namespace sluice {

// For readable failures.
inline void PrintTo(const Offset& offset, std::ostream* out) { *out << offset.value(); }

}  // namespace sluice
