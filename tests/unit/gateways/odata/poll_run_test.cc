#include "gateways/odata/poll_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gateways/odata_stream.h"

namespace sluice::gateways {
namespace {

using testing::FakeOData;
using ::testing::HasSubstr;
using testing::ODataStream;
using ::testing::SizeIs;
using Fault = FakeOData::Fault;

constexpr int64_t kMinute = 60'000'000;

class PollRunTest : public ::testing::Test {
 protected:
  explicit PollRunTest() {
    stream.entity().set_modified("Changed");
    stream.Fill(10);
    EXPECT_EQ(stream.Run(), "ok") << stream.last;
    EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_POLL);
  }
  std::string RunAndRequest() {
    EXPECT_EQ(stream.Run(), "ok") << stream.last;
    return stream.service.requests().back();
  }

  ODataStream stream{FakeOData::Options{.tracks = false, .page_rows = 4}};
};

TEST_F(PollRunTest, ReadsWhatHasChangedSinceTheLoadBegan) {
  stream.service.Advance(kMinute);
  stream.service.Put(3, {.name = "changed"});
  stream.service.Put(11, {.name = "new"});
  stream.service.Remove(5);
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  auto expected = stream.Expected();
  expected["5"] = "n5 5";
  EXPECT_EQ(stream.Stored(), expected) << "deleted rows are found by comparing keys";
  EXPECT_EQ(stream.sink.reported.state(), "following");
  EXPECT_EQ(stream.sink.reported.position(), stream.Cursor().watermark());
  stream.clock.Advance(std::chrono::hours(1));
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), expected) << "of which one has to be confirmed by another";
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_POLL);
  EXPECT_EQ(stream.Cursor().reconciled(), 1U);
  stream.clock.Advance(std::chrono::hours(1));
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_EQ(stream.Cursor().reconciled(), 2U);
}

TEST_F(PollRunTest, AsksInOrderAndLeavesAMargin) {
  EXPECT_THAT(RunAndRequest(), HasSubstr("GET /svc/Items?"));
  // The filter is that of the poll's first page.
  const auto filter = [&] {
    std::string last;
    for (const std::string& request : stream.service.requests()) {
      const size_t at = request.find("$filter=Changed%20ge%20");
      last = at == std::string::npos ? last : request.substr(at + 23, 27);
    }
    return last;
  };
  const std::string after_load = filter();
  stream.service.Advance(30 * kMinute);
  stream.service.Put(3, {.name = "changed"});
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Advance(5 * kMinute);
  ASSERT_EQ(stream.Run(), "ok");
  ASSERT_EQ(stream.Run(), "ok");
  const std::string margin = filter();
  EXPECT_GT(margin, after_load);
  const size_t sets = stream.sink.sets.size();
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(filter(), margin) << "an older one may become visible yet";
  EXPECT_THAT(stream.sink.sets, SizeIs(sets)) << "a quiet source writes nothing";
  stream.service.Put(4, {.name = "changed"});
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST_F(PollRunTest, WhatBecomesVisibleLateIsRead) {
  stream.service.Advance(30 * kMinute);
  stream.service.Put(3, {.name = "changed"});
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(stream.Run(), "ok");
  }
  stream.service.Advance(-2 * kMinute);
  stream.service.Put(4, {.name = "committed late"});
  stream.service.Advance(2 * kMinute);
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST_F(PollRunTest, ManyRowsOfAMarginAreWrittenOnce) {
  stream.service.Advance(30 * kMinute);
  stream.Fill(3'000);
  stream.service.Change([](FakeOData::Options& options) { options.page_rows = 2'000; });
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(stream.Run(), "ok");
    EXPECT_EQ(stream.Stored(), stream.Expected());
  }
  const size_t sets = stream.sink.sets.size();
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_THAT(stream.sink.sets, SizeIs(sets));
  stream.service.Put(3'001, {.name = "new"});
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_THAT(stream.sink.sets, SizeIs(sets + 1)) << "the last of the margin's sets";
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

// A service may show what is then taken back, or answer from copies of different age. In a poll
// that begins as the one before did a row is not left as a later set of that had it.
TEST_F(PollRunTest, ARowThatWasInTwoSetsIsAsTheServiceHasIt) {
  stream.service.Advance(30 * kMinute);
  const int64_t first_us = stream.service.now_us();
  for (int64_t id = 1; id <= 10; ++id) {
    stream.service.Put(id, {.name = "changed"});
  }
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(stream.Run(), "ok");
  }
  bool changed = false;
  stream.service.set_before_page([&] {
    if (!changed && stream.service.requests().back().find("$skiptoken") != std::string::npos) {
      changed = true;
      stream.service.Put(1, {.name = "taken back"});  // was on the first page, is on the last too
    }
  });
  ASSERT_EQ(stream.Run(), "ok");
  ASSERT_EQ(stream.Stored()["1"], "taken back 0");
  stream.service.set_before_page({});
  const int64_t back_us = stream.service.now_us() - first_us;
  stream.service.Advance(-back_us);
  stream.service.Put(1, {.name = "changed"});
  stream.service.Advance(back_us - 1);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(stream.Run(), "ok");
  }
  EXPECT_EQ(stream.Stored(), stream.Expected());
  const size_t sets = stream.sink.sets.size();
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(stream.Run(), "ok");
  }
  EXPECT_THAT(stream.sink.sets, SizeIs(sets)) << "and is written no more";
}

TEST_F(PollRunTest, ARowWithATimeToComeHidesNoOther) {
  // By the service's own clock: its Date stays behind.
  stream.service.Advance(1000 * kMinute);
  stream.service.Put(3, {.name = "from the future"});
  stream.service.Advance(-990 * kMinute);
  ASSERT_EQ(stream.Run(), "ok");
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Advance(20 * kMinute);
  stream.service.Put(4, {.name = "now"});
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST_F(PollRunTest, ALongPollGoesOnAtItsPage) {
  for (int64_t id = 100; id < 140; ++id) {
    stream.service.Advance(10 * kMinute);
    stream.service.Put(id, {.name = "new"});
  }
  const std::string watermark = stream.Cursor().watermark();
  stream.sink.stop_at = 6;
  EXPECT_EQ(stream.Run(), "cancelled");
  EXPECT_EQ(stream.Cursor().watermark(), watermark) << "it moves when all was read";
  EXPECT_THAT(stream.Cursor().poll_link(), HasSubstr("$skiptoken="));
  stream.sink.stop_at.reset();
  const size_t requests = stream.service.requests().size();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_LT(stream.service.requests().size() - requests, 8U);
  EXPECT_GT(stream.Cursor().watermark(), watermark);
  EXPECT_EQ(stream.Cursor().poll_link(), "");

  for (int64_t id = 200; id < 240; ++id) {
    stream.service.Put(id, {.name = "new"});
  }
  stream.sink.stop_at = 6;
  EXPECT_EQ(stream.Run(), "cancelled");
  stream.sink.stop_at.reset();
  stream.service.Expire();
  ASSERT_EQ(stream.Run(), "ok") << "its link has expired, so it begins anew: " << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST_F(PollRunTest, ALoopIsLeft) {
  stream.service.Advance(10 * kMinute);
  stream.Fill(30);
  stream.service.Fail(Fault::kLoop);
  EXPECT_EQ(stream.Run(), "link_loop") << stream.last;
  EXPECT_EQ(stream.Cursor().poll_link(), "");
  stream.service.ClearFaults();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST_F(PollRunTest, AComparisonThatFailsStopsNoPoll) {
  stream.clock.Advance(std::chrono::hours(1));
  stream.service.set_before_page([&] {
    if (stream.service.requests().back().find("%24select=ID HTTP") != std::string::npos) {
      stream.service.Fail(Fault::kFailed);  // the second page of keys
    }
  });
  for (int64_t id = 1; id <= 3; ++id) {
    stream.service.Put(id, {.name = "changed"});
    EXPECT_EQ(stream.Run(), "source_unreachable");
    EXPECT_EQ(stream.Stored(), stream.Expected());
    EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_RECONCILE);
  }
}

TEST_F(PollRunTest, AComparisonThatIsDueInTheFarFutureIsNotWaitedFor) {
  v1::ODataCursor cursor = stream.Cursor();
  cursor.set_reconciled_at_us(cursor.reconciled_at_us() + 100'000 * kMinute);
  SourceContext context = stream.Context();
  context.cursor = cursor.SerializeAsString();
  ASSERT_TRUE(stream.connector->Run(context, stream.sink).ok());
  EXPECT_EQ(stream.Cursor().reconciled(), 0U);
  stream.clock.Advance(std::chrono::hours(1));
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.Cursor().reconciled(), 1U);
}

TEST_F(PollRunTest, AComparisonGoesOnWhereItWasStopped) {
  stream.service.Advance(10 * kMinute);
  stream.service.Put(2, {.name = "changed"});
  ASSERT_EQ(stream.Run(), "ok");
  ASSERT_EQ(stream.Run(), "ok") << "from now on polls find nothing new";
  stream.service.Remove(5);
  stream.service.Remove(9);
  stream.service.Change([](FakeOData::Options& options) { options.page_rows = 50; });
  for (int i = 0; i < 2; ++i) {
    stream.clock.Advance(std::chrono::hours(1));
    ASSERT_EQ(stream.Run(), "ok") << "keys: " << stream.last;
    EXPECT_THAT(stream.service.requests().back(), HasSubstr("?$select=ID&$orderby=ID HTTP"));
  }
  EXPECT_EQ(stream.Stored(), stream.Expected());
  stream.service.Change([](FakeOData::Options& options) { options.page_rows = 4; });

  stream.service.Remove(1);
  stream.clock.Advance(std::chrono::hours(1));
  stream.sink.stop_at = 2;  // behind the poll's set, and the first page of keys
  EXPECT_EQ(stream.Run(), "cancelled");
  stream.sink.stop_at.reset();
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_RECONCILE);
  stream.service.Expire();
  ASSERT_EQ(stream.Run(), "ok") << "its link has expired, so it begins anew: " << stream.last;
  stream.clock.Advance(std::chrono::hours(1));
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST_F(PollRunTest, EveryTwentyFourthComparisonReadsAllRows) {
  stream.entity().set_reconcile_s(600);
  stream.service.Put(3, {.name = "changed"});
  for (int i = 1; i < 24; ++i) {
    stream.clock.Advance(std::chrono::minutes(10));
    ASSERT_EQ(stream.Run(), "ok") << stream.last;
    ASSERT_EQ(stream.Cursor().reconciled(), static_cast<uint32_t>(i));
  }
  stream.service.Change([](FakeOData::Options& options) { options.tracks = true; });
  stream.clock.Advance(std::chrono::minutes(10));
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_DELTA) << "it tracks by now";
}

TEST_F(PollRunTest, KeysThatAllWentAreSuspicious) {
  stream.Fill(101);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Change([](FakeOData::Options& options) { options.page_rows = 500; });
  stream.clock.Advance(std::chrono::hours(1));
  ASSERT_EQ(stream.Run(), "ok");
  ASSERT_EQ(stream.Cursor().last_loaded(), 101U);
  for (int64_t id = 1; id <= 101; ++id) {
    stream.service.Remove(id);
  }
  stream.clock.Advance(std::chrono::hours(1));
  EXPECT_EQ(stream.Run(), "suspicious_empty") << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(101));
  EXPECT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(0));
}

TEST_F(PollRunTest, AFilterThatIsRefusedIsNoReasonToLoad) {
  const std::string cursor = stream.sink.cursor();
  stream.service.Fail(Fault::kGone);
  EXPECT_EQ(stream.Run(), "source_refused");
  EXPECT_EQ(stream.sink.cursor(), cursor);
}

}  // namespace
}  // namespace sluice::gateways
