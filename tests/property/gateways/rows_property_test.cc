#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "tests/support/random_history.h"
#include "tests/support/rows/rows_history.h"

// Who may have which rows, exact at every position: random organisations in real stores, clients of
// `delta` and `stream`, and a plain model that decides by asking every rule of every row.
//
// SLUICE_SEED replays: it is the first history's, and the one that fails is told. SLUICE_STEPS runs
// so many times as many histories.
namespace sluice::testing {
namespace {

constexpr size_t kHistories = 200;

RowsReport RunHistories(uint64_t seed, size_t histories) {
  RowsReport report;
  for (size_t i = 0; i < histories && report.ok(); ++i) {
    RowsHistory history(seed + i, report);
    history.Run();
    if (!report.ok()) {
      report.problem +=
          "\nreplay with SLUICE_SEED=" + std::to_string(seed + i) + "\n" + history.Describe();
    }
  }
  return report;
}

void Print(const RowsCounters& c) {
  std::printf(
      "%zu histories, %zu events, %zu parts (%zu looked at), %zu times reopened, %zu rejected\n",
      c.histories, c.events, c.parts, c.stops_amid, c.reopened, c.rejected);
  std::printf("%zu looks at chains of three rules or more\n", c.deep);
  std::printf("%zu pages, %zu complete pulls, %zu expired cursors (%zu restless), %zu refused\n",
              c.pages, c.pulls, c.expired, c.restless, c.refused);
  std::printf("%zu complete checkpoints, %zu breaks, %zu superseded, %zu resets\n", c.streams,
              c.breaks, c.superseded, c.resets);
  std::printf("%zu puts (%zu related, %zu masked, %zu repeats), %zu rows in several buckets\n",
              c.puts, c.related, c.masked, c.repeats, c.shared_rows);
  std::printf("%zu puts with a date or time at an end of its range\n", c.edges);
  std::printf("%zu removals (%zu of rows not held, %zu only in a bucket)\n", c.removes, c.unknown,
              c.never_had);
}

class RowsPropertyTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    spdlog::set_level(spdlog::level::warn);
    // Hundreds of stores are opened and closed, and nothing here is about disks.
    if (::access("/dev/shm", W_OK) == 0) {
      ::setenv("TMPDIR", "/dev/shm", 0);
    }
    report_ = std::make_unique<RowsReport>(RunHistories(TestSeed(), TestSteps(kHistories)));
    Print(report_->counters);
  }
  static void TearDownTestSuite() { report_.reset(); }

  static std::unique_ptr<RowsReport> report_;
};

std::unique_ptr<RowsReport> RowsPropertyTest::report_;

TEST_F(RowsPropertyTest, ClientsHaveExactlyTheirRows) {
  EXPECT_TRUE(report_->ok()) << report_->problem;
}

// Histories that are too tame would prove little.
TEST_F(RowsPropertyTest, HistoriesReachWhatTheyShould) {
  ASSERT_TRUE(report_->ok()) << "they ended early, as the test above says";
  const RowsCounters& c = report_->counters;
  const uint64_t n = c.histories;
  EXPECT_GT(c.deep, n);
  EXPECT_GT(c.parts, n);
  EXPECT_GT(c.stops_amid, n / 10);
  EXPECT_GT(c.reopened, n / 2);
  EXPECT_GT(c.rejected, n / 10);
  EXPECT_GT(c.pulls, n * 10);
  EXPECT_GT(c.streams, n * 8);
  EXPECT_GT(c.breaks, n * 2);
  EXPECT_GT(c.superseded, n / 10);
  EXPECT_GT(c.expired, n / 10);
  EXPECT_GT(c.resets, n / 10);
  EXPECT_GT(c.refused, n);
  EXPECT_GT(c.related, n * 4);
  EXPECT_GT(c.masked, n * 4);
  EXPECT_GT(c.edges, n * 4);
  EXPECT_GT(c.shared_rows, n * 4);
  EXPECT_GT(c.repeats, n);
  EXPECT_GT(c.removes, n * 8);
}

}  // namespace
}  // namespace sluice::testing
