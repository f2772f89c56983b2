#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>
#include <string>

#include "tests/support/gateways/odata_stream.h"
#include "tests/support/random_history.h"

// A service whose rows change all the time, also amid a load, and that fails in every way it can,
// read by the connector over a real socket, with runs that are stopped and whose log fails at any
// set. At quiet moments the rows are the service's. A row counts as changed no more often than it
// was: what is read again, by a load, a link that expired or a page that was cut, changes nothing.
// The seed is printed; SLUICE_SEED replays it, SLUICE_STEPS multiplies the histories.
namespace sluice::gateways {
namespace {

using testing::FakeOData;
using testing::ODataStream;
using Fault = FakeOData::Fault;

struct Reached {
  size_t loads_again = 0;  // of a stream that had been loaded
  size_t compared = 0;     // keys
  size_t rejected = 0;
  size_t stopped = 0;
  size_t failed_append = 0;
  size_t doubted = 0;
  std::set<std::string> codes;  // of runs
};

class History {
 public:
  History(uint64_t seed, Reached& reached)
      : random_(seed), reached_(reached), stream_(RandomOptions()) {
    // Services that do not track are polled, or read as a whole each time.
    if (Chance(70)) {
      stream_.entity().set_modified("Changed");
    } else if (Chance(50)) {
      // What a page skips comes with the next load, so there has to be one.
      by_offset_ = true;
      stream_.service.Change([](FakeOData::Options& options) {
        options.by_offset = true;
        options.tracks = false;
      });
    }
    stream_.settings.set_odata_version(Chance(50) ? "4.01" : "");
    stream_.service.set_before_page([this] {
      for (size_t edits = Chance(30) ? Below(4) : 0; edits > 0; --edits) {
        Edit();
      }
    });
  }

  void Run(size_t steps) {
    for (size_t step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE(fmt::format("step {}", step));
      for (size_t edits = Below(6); edits > 0; --edits) {
        Edit();
      }
      Trouble();
      RunOnce();
      Rest();
      if (Chance(15)) {
        ComeToRest();
      }
    }
    ComeToRest();
  }

 private:
  FakeOData::Options RandomOptions() {
    FakeOData::Options options;
    options.composed_key = Chance(40);
    options.tracks = Chance(70);
    options.counts = Chance(80);
    options.no_count_status = Chance(50) ? 400 : 501;
    options.partial = Chance(50);
    options.relative_links = Chance(50);
    options.keys_in_deletes = Chance(50);
    options.page_rows = 1 + Below(9);
    return options;
  }
  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  bool Chance(size_t percent) { return Below(100) < percent; }

  // Used by the service's thread too, but only while this one waits for it.
  void Edit() {
    const auto id = static_cast<int64_t>(Below(30));
    stream_.service.Advance(static_cast<int64_t>(Below(3) * 40'000'000));
    if (Chance(30)) {
      stream_.service.Remove(id);
      bad_.erase(id);
      return;
    }
    FakeOData::Row row;
    if (Chance(80)) {
      row.name = fmt::format("n{}", Below(3));
    }
    const bool bad = Chance(3);
    row.balance = bad ? "much" : fmt::format("{}", Below(4));
    bad ? static_cast<void>(bad_.insert(id)) : static_cast<void>(bad_.erase(id));
    stream_.service.Put(id, row);
    if (Chance(10)) {  // made and deleted before anybody sees it, or changed twice
      Chance(50) ? stream_.service.Remove(id) : stream_.service.Put(id, row);
      if (!stream_.service.rows().contains(id)) {
        bad_.erase(id);
      }
    }
  }

  void Trouble() {
    if (Chance(15)) {
      stream_.service.Expire();
    }
    if (Chance(5)) {
      stream_.service.Change([&](FakeOData::Options& options) {
        options.tracks = !options.tracks && !by_offset_;
        options.page_rows = 1 + Below(9);
      });
    }
    while (Chance(30)) {
      constexpr Fault kFaults[] = {Fault::kTooManyRequests,
                                   Fault::kFailed,
                                   Fault::kUnauthorized,
                                   Fault::kGone,
                                   Fault::kCut,
                                   Fault::kCutJson,
                                   Fault::kHtml,
                                   Fault::kLoop,
                                   Fault::kElsewhere};
      stream_.service.Fail(kFaults[Below(std::size(kFaults))]);
    }
    if (Chance(25)) {
      stream_.sink.stop_at = static_cast<int>(Below(6));
    }
    if (Chance(15)) {
      stream_.sink.fail_at = static_cast<int>(Below(6));
      stream_.sink.failure = absl::UnavailableError("the log is away");
    }
  }
  void Rest() {
    reached_.stopped += stream_.sink.stopping() ? 1 : 0;
    reached_.failed_append += stream_.sink.fail_at == 0 ? 1 : 0;
    stream_.sink.stop_at.reset();
    stream_.sink.fail_at.reset();
    stream_.service.ClearFaults();
    stream_.clock.Advance(std::chrono::minutes(Below(40)));
  }

  void RunOnce() {
    reached_.codes.insert(stream_.Run());
    EXPECT_LE(stream_.sink.changed, stream_.service.changes())
        << "a row counted as changed more often than it was";
    ASSERT_LT(stream_.sink.sets.size(), 100'000U);
  }

  // Nothing changes any more: the load or comparison of keys that was amid the changes, which may
  // be doubted, and two that were not, as that is how deleted rows are found, bring all there is;
  // and then there is nothing new, however it is read.
  void ComeToRest() {
    stream_.service.set_before_page({});
    stream_.service.Advance(600'000'000);
    for (int i = 0; i < 3; ++i) {
      const std::string code = stream_.Run();
      ASSERT_TRUE(code == "ok" || (i == 0 && code == "suspicious_short")) << stream_.last;
      reached_.doubted += code == "ok" ? 0 : 1;
      stream_.clock.Advance(std::chrono::hours(1));
    }
    ASSERT_EQ(stream_.Run(), "ok") << stream_.last;
    Compare();
    const uint64_t changed = stream_.sink.changed;
    reached_.compared += stream_.Cursor().reconciled() > 0 ? 1 : 0;
    if (Chance(50)) {
      stream_.service.Expire();
      ++reached_.loads_again;
    }
    ASSERT_EQ(stream_.Run(), "ok") << stream_.last;
    EXPECT_EQ(stream_.sink.changed, changed) << "what has not changed counted as changed";
    Compare();
    reached_.rejected += stream_.sink.rejected.size();
    stream_.sink.rejected.clear();
    stream_.sink.sets.clear();
    stream_.service.set_before_page([this] {
      for (size_t edits = Chance(30) ? Below(4) : 0; edits > 0; --edits) {
        Edit();
      }
    });
  }

  // Rows that do not fit are as they were when they did, if they ever did.
  void Compare() {
    auto stored = stream_.Stored();
    auto expected = stream_.Expected();
    for (const int64_t id : bad_) {
      stored.erase(stream_.service.KeyOf(id));
      expected.erase(stream_.service.KeyOf(id));
    }
    EXPECT_EQ(stored, expected);
  }

  std::mt19937_64 random_;
  Reached& reached_;
  ODataStream stream_;
  std::set<int64_t> bad_;
  bool by_offset_ = false;
};

TEST(ODataSyncPropertyTest, RowsAreTheServicesAndChangeNoMoreOftenThanThere) {
  const uint64_t seed = testing::TestSeed();
  Reached reached;
  const size_t histories = std::getenv("SLUICE_SEED") != nullptr ? 1 : testing::TestSteps(60);
  for (size_t i = 0; i < histories && !HasFailure(); ++i) {
    SCOPED_TRACE(fmt::format("replay with SLUICE_SEED={}", seed + i));
    History(seed + i, reached).Run(25);
  }
  if (histories == 1) {
    return;
  }
  EXPECT_GT(reached.loads_again, 0U);
  EXPECT_GT(reached.compared, 0U);
  EXPECT_GT(reached.rejected, 0U);
  EXPECT_GT(reached.stopped, 0U);
  EXPECT_GT(reached.failed_append, 0U);
  for (const char* code :
       {"ok", "cancelled", "source_answer_invalid", "source_unreachable", "source_unauthorized",
        "link_loop", "link_elsewhere", "suspicious_short"}) {
    EXPECT_TRUE(reached.codes.contains(code)) << "no run ended with " << code;
  }
}

}  // namespace
}  // namespace sluice::gateways
