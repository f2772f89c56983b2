#include "gateways/odata/load_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gateways/odata_stream.h"

namespace sluice::gateways {
namespace {

using ::testing::Each;
using testing::FakeOData;
using ::testing::HasSubstr;
using testing::ODataStream;
using ::testing::SizeIs;
using Fault = FakeOData::Fault;

std::string TargetOf(const std::string& head) { return head.substr(4, head.find(" HTTP") - 4); }

TEST(LoadRunTest, AllPagesThenASweepThenTheDeltaLink) {
  ODataStream stream({.page_rows = 5});
  stream.Fill(12);
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  const auto requests = stream.service.requests();
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_EQ(TargetOf(requests[0]), "/svc/Items?$select=ID,Name,Balance,Changed&$count=true");
  EXPECT_THAT(requests[0], HasSubstr("Prefer: odata.track-changes,odata.maxpagesize=5000\r\n"));
  EXPECT_THAT(requests[0], HasSubstr("Accept: application/json;odata.metadata=minimal;"
                                     "IEEE754Compatible=true\r\nOData-MaxVersion: 4.0\r\n"));
  // One set a page, with the cursor in its last, and the sweep by itself.
  ASSERT_THAT(stream.sink.sets, SizeIs(4));
  EXPECT_TRUE(stream.sink.sets[0].cursor.has_value());
  EXPECT_FALSE(stream.sink.sets[2].cursor.has_value()) << "the last page's rows come again if the "
                                                          "run ends before the sweep";
  ASSERT_THAT(stream.sink.sets[3].ops, SizeIs(1));
  EXPECT_EQ(stream.sink.sets[3].ops[0].kind(), v1::Operation::KIND_SWEEP);
  EXPECT_EQ(stream.sink.sets[3].ops[0].version(), 0) << "below the load's first step";
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_DELTA);
  EXPECT_THAT(stream.Cursor().link(), HasSubstr("$deltatoken="));
  EXPECT_EQ(stream.Cursor().loaded(), 12U);
  EXPECT_EQ(stream.sink.reported.total(), 12U);
  EXPECT_EQ(stream.sink.reported.state(), "following");
  EXPECT_THAT(stream.sink.reported.position(), SizeIs(16)) << "a link may hold a token";
  EXPECT_FALSE(stream.sink.is_loading);
}

TEST(LoadRunTest, GoesOnAtThePageWhereItWasStopped) {
  ODataStream stream({.page_rows = 3});
  stream.Fill(10);
  stream.sink.stop_at = 2;
  EXPECT_EQ(stream.Run(), "cancelled");
  EXPECT_EQ(stream.Cursor().loaded(), 6U);
  stream.sink.stop_at.reset();
  const size_t before = stream.service.requests().size();
  EXPECT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_LE(stream.service.requests().size() - before, 2U);
  EXPECT_EQ(stream.Cursor().loaded(), 10U);
}

TEST(LoadRunTest, RowsThatHaveGoneAreSweptAndOthersDoNotChange) {
  ODataStream stream;
  stream.Fill(20);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Remove(3);
  stream.service.Put(4, {.name = "changed"});
  stream.service.Expire();
  const uint64_t changed = stream.sink.changed;
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_EQ(stream.sink.changed, changed + 2);
}

TEST(LoadRunTest, APageThatIsNoneMovesNothing) {
  for (const Fault fault : {Fault::kCut, Fault::kCutJson, Fault::kHtml, Fault::kFailed}) {
    ODataStream stream({.page_rows = 4});
    stream.Fill(10);
    stream.service.Fail(fault);
    EXPECT_FALSE(stream.Run() == "ok");
    EXPECT_EQ(stream.last.code(), absl::StatusCode::kUnavailable) << stream.last;
    EXPECT_EQ(stream.sink.cursor(), "");
    for (const SourceSet& set : stream.sink.sets) {
      EXPECT_THAT(set.ops,
                  Each(::testing::Property(&v1::Operation::kind, v1::Operation::KIND_UPSERT)));
    }
    EXPECT_EQ(stream.Run(), "ok");
    EXPECT_EQ(stream.Stored(), stream.Expected());
  }
}

TEST(LoadRunTest, LinksThatLoopOrLeadElsewhereFail) {
  ODataStream stream({.page_rows = 4});
  stream.Fill(10);
  stream.service.Fail(Fault::kLoop);
  EXPECT_EQ(stream.Run(), "link_loop") << stream.last;
  EXPECT_EQ(stream.Cursor().link(), "") << "the next load does not go on within the loop";
  stream.service.ClearFaults();
  stream.service.Fail(Fault::kElsewhere);
  EXPECT_EQ(stream.Run(), "link_elsewhere") << stream.last;
  EXPECT_EQ(stream.last.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(stream.last.ToString(), ::testing::Not(HasSubstr("?x"))) << "a query may be secret";
}

TEST(LoadRunTest, ALinkThatHasExpiredBeginsTheLoadAnewThreeTimesAtMost) {
  ODataStream stream({.page_rows = 4});
  stream.Fill(10);
  stream.sink.stop_at = 1;
  EXPECT_EQ(stream.Run(), "cancelled");
  stream.sink.stop_at.reset();
  stream.service.Remove(1);  // was read, and nothing tells that it has gone but the sweep
  stream.service.Expire();
  EXPECT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());

  int pages = 0;
  stream.service.Expire();
  stream.service.set_before_page([&] {
    if (++pages % 2 == 0) {
      stream.service.Expire();
    }
  });
  EXPECT_EQ(stream.Run(), "source_refused");
  EXPECT_LE(pages, 10);
  stream.service.set_before_page({});
  EXPECT_EQ(stream.Run(), "ok") << "the next run begins anew: " << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(LoadRunTest, ALinkThatCanNotBeReadIsNoEnd) {
  ODataStream stream({.tracks = false, .page_rows = 4});
  stream.Fill(10);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(stream.Run(), "ok") << stream.last;
    stream.service.Fail(Fault::kBadLink);
    EXPECT_EQ(stream.Run(), "source_answer_invalid");
    EXPECT_EQ(stream.last.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(stream.Stored(), stream.Expected());
  }
}

TEST(LoadRunTest, ATrackedLoadWithoutADeltaLinkIsNotWhole) {
  ODataStream stream({.page_rows = 4});
  stream.Fill(10);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Expire();
  stream.service.Fail(Fault::kGone);
  stream.service.Fail(Fault::kNoLink);
  EXPECT_EQ(stream.Run(), "source_answer_invalid") << stream.last;
  EXPECT_EQ(stream.last.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(stream.Stored(), stream.Expected()) << "nothing is swept";
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_DELTA);
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(LoadRunTest, FewerRowsThanCountedAreBelievedTheSecondTime) {
  ODataStream stream({.tracks = false, .page_rows = 4});
  stream.Fill(12);
  stream.service.Fail(Fault::kNoLink);  // behind four of the twelve
  EXPECT_EQ(stream.Run(), "suspicious_short") << stream.last;
  EXPECT_EQ(stream.last.code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_FALSE(stream.Cursor().short_seen());

  // One of the rows that are counted is never seen.
  ODataStream tracked({.count_more = 1});
  tracked.Fill(5);
  EXPECT_EQ(tracked.Run(), "suspicious_short");
  ASSERT_EQ(tracked.Run(), "ok") << tracked.last;
  tracked.service.Remove(3);
  tracked.service.Expire();
  EXPECT_EQ(tracked.Run(), "suspicious_short");
  EXPECT_THAT(tracked.Stored(), SizeIs(5));
  ASSERT_EQ(tracked.Run(), "ok") << tracked.last;
  EXPECT_EQ(tracked.Stored(), tracked.Expected());
}

TEST(LoadRunTest, AHundredthOfTheRowsMayGoWhileTheyAreLoaded) {
  for (const int64_t more : {2, 3}) {
    ODataStream stream({.count_more = more, .page_rows = 100});
    stream.Fill(250);  // of which 2 are a hundredth
    EXPECT_EQ(stream.Run(), more == 2 ? "ok" : "suspicious_short") << stream.last;
    EXPECT_EQ(stream.Stored(), stream.Expected());
  }
}

TEST(LoadRunTest, ACountThatIsTooLowIsNone) {
  ODataStream stream({.count_more = -6, .page_rows = 4});
  stream.Fill(10);
  stream.sink.stop_at = 1;
  EXPECT_EQ(stream.Run(), "cancelled");
  EXPECT_EQ(stream.sink.reported.total(), 0U) << "all are loaded, but there are more";
}

TEST(LoadRunTest, ARowThatAPageSkipsIsNotSwept) {
  ODataStream stream({.tracks = false, .counts = false, .by_offset = true, .page_rows = 4});
  stream.Fill(12);
  ASSERT_EQ(stream.Run(), "ok");
  const auto before = stream.Stored();
  stream.service.set_before_page([&] {
    if (stream.service.requests().back().find("$skiptoken") != std::string::npos) {
      stream.service.Remove(1);  // so the fifth row is on neither page
    }
  });
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), before);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(stream.Run(), "ok") << stream.last;
  }
  EXPECT_EQ(stream.Stored(), stream.Expected()) << "two passes have not seen it";
}

TEST(LoadRunTest, LoadsThatAreNotTrackedAskForAnOrder) {
  ODataStream stream({.tracks = false});
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(TargetOf(stream.service.requests().back()),
            "/svc/Items?$select=ID,Name,Balance,Changed&$count=true&$orderby=ID");
}

TEST(LoadRunTest, WhereAKeyIsNotKnownNothingIsSwept) {
  ODataStream stream;
  stream.Fill(6);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Put(2, {.name = std::string(size_t{2} << 20, 'x'), .balance = "2"});
  stream.service.Remove(3);
  stream.service.Expire();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  ASSERT_THAT(stream.sink.rejected, SizeIs(1));
  EXPECT_EQ(stream.sink.rejected[0].code, "too_large");
  EXPECT_EQ(stream.Stored()["2"], "n2 2") << "it is there, but who it is can't be read";
  stream.service.Put(2, {.name = "small", .balance = "2"});
  stream.service.Expire();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(LoadRunTest, BadRowsCountOverTheWholeLoad) {
  ODataStream stream({.page_rows = 5});
  stream.Fill(60);
  ASSERT_EQ(stream.Run(), "ok");
  for (int64_t id = 1; id <= 40; ++id) {
    stream.service.Put(id, {.name = "x", .balance = "much"});
  }
  stream.service.Remove(60);
  stream.service.Expire();
  EXPECT_EQ(stream.Run(), "too_many_rejected") << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(60));
  stream.Fill(59);
  ASSERT_EQ(stream.Run(), "ok") << "it begins anew: " << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(LoadRunTest, NothingButBadRowsIsNotEmpty) {
  ODataStream stream;
  stream.Fill(6);
  ASSERT_EQ(stream.Run(), "ok");
  for (int64_t id = 2; id <= 5; ++id) {
    stream.service.Put(id, {.name = "x", .balance = "much"});
  }
  stream.service.Remove(1);
  stream.service.Remove(6);
  stream.service.Expire();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(6));
}

TEST(LoadRunTest, PagesWithoutRowsEnd) {
  ODataStream stream;
  stream.Fill(6);
  stream.service.Fail(Fault::kHollow);
  EXPECT_EQ(stream.Run(), "link_loop") << stream.last;
  EXPECT_THAT(stream.service.requests(), SizeIs(1'001));
  stream.service.ClearFaults();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(LoadRunTest, ARowThatDoesNotFitIsRejectedByItselfAndStaysAsItWas) {
  ODataStream stream;
  stream.Fill(6);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Put(2, {.name = "bad", .balance = "much"});
  stream.service.Expire();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  ASSERT_THAT(stream.sink.rejected, SizeIs(1));
  EXPECT_EQ(stream.sink.rejected[0].entity, "item");
  EXPECT_EQ(stream.sink.rejected[0].key, "2");
  EXPECT_EQ(stream.sink.rejected[0].code, "type_mismatch");
  EXPECT_THAT(stream.sink.rejected[0].row, HasSubstr("much"));
  EXPECT_EQ(stream.Stored()["2"], "n2 2") << "not swept: it is there, but can't be read";
}

TEST(LoadRunTest, ABrokenMappingSweepsNothing) {
  ODataStream stream({.page_rows = 50});
  stream.Fill(60);
  ASSERT_EQ(stream.Run(), "ok");
  for (int64_t id = 1; id <= 40; ++id) {
    stream.service.Put(id, {.name = "x", .balance = "much"});
  }
  stream.service.Remove(41);
  stream.service.Expire();
  EXPECT_EQ(stream.Run(), "too_many_rejected") << stream.last;
  EXPECT_EQ(stream.last.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(stream.Stored(), SizeIs(60));
  stream.sink.rejected_max = stream.sink.rejected.size() + 3;
  EXPECT_EQ(stream.Run(), "too_many_rejected") << "the sink's own limit: " << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(60));
}

TEST(LoadRunTest, AnEmptyAnswerWhereThereWasMuchIsBelievedTheSecondTime) {
  ODataStream stream({.page_rows = 500});
  stream.Fill(101);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Expire();
  // The link is refused, then the load has no rows.
  stream.service.Fail(Fault::kGone);
  stream.service.Fail(Fault::kEmpty);
  EXPECT_EQ(stream.Run(), "suspicious_empty") << stream.last;
  EXPECT_EQ(stream.last.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(stream.Stored(), SizeIs(101));
  EXPECT_EQ(stream.Run(), "ok") << "there are rows again: " << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_FALSE(stream.Cursor().empty_seen());

  for (int64_t id = 1; id <= 101; ++id) {
    stream.service.Remove(id);
  }
  stream.service.Expire();
  EXPECT_EQ(stream.Run(), "suspicious_empty");
  EXPECT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(0));
}

TEST(LoadRunTest, EmptinessIsSuspiciousAlsoOfRowsThatDeltasBrought) {
  ODataStream stream({.page_rows = 500});
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  stream.Fill(150);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Fail(Fault::kGone);
  stream.service.Fail(Fault::kEmpty);
  EXPECT_EQ(stream.Run(), "suspicious_empty") << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(150));
}

TEST(LoadRunTest, AfterARestartOfTheStreamEmptinessIsSuspiciousToo) {
  ODataStream stream({.page_rows = 500});
  stream.Fill(101);
  ASSERT_EQ(stream.Run(), "ok");
  SourceContext context = stream.Context();
  context.former_cursor = std::exchange(context.cursor, "");
  stream.service.Fail(Fault::kEmpty);
  EXPECT_EQ(ErrorCode(stream.connector->Run(context, stream.sink)), "suspicious_empty");
}

TEST(LoadRunTest, AServiceThatDoesNotCountIsReadAllTheSame) {
  for (const int status : {400, 501}) {
    ODataStream stream({.counts = false, .no_count_status = status, .page_rows = 4});
    stream.Fill(10);
    EXPECT_EQ(stream.Run(), "ok") << stream.last;
    EXPECT_EQ(stream.Stored(), stream.Expected());
    EXPECT_EQ(stream.sink.reported.total(), 0U);
  }
}

TEST(LoadRunTest, WithoutTrackingAndWithoutATimeEachRunIsALoad) {
  ODataStream stream({.tracks = false, .page_rows = 4});
  stream.Fill(10);
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_LOAD);
  stream.service.Remove(7);
  stream.service.Put(8, {.name = "changed"});
  const uint64_t changed = stream.sink.changed;
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.sink.changed, changed + 1) << "one pass that has not seen a row is no proof";
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_EQ(stream.sink.changed, changed + 2);
}

TEST(LoadRunTest, AnotherSelectionIsLoadedAnew) {
  ODataStream stream;
  stream.entity().add_select("Name");
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.sink.Find(ODataStream::Org(), "item")->Find("Balance"), nullptr);
  stream.entity().add_select("Balance");
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  const size_t requests = stream.service.requests().size();
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.service.requests().size(), requests + 1) << "and then deltas again";
}

TEST(LoadRunTest, ManyRowsGoInSetsOfAThousandWithOneCursor) {
  ODataStream stream({.page_rows = 5'000});
  stream.Fill(2'500);
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  ASSERT_THAT(stream.sink.sets, SizeIs(4));
  EXPECT_THAT(stream.sink.sets[0].ops, SizeIs(1'000));
  EXPECT_THAT(stream.sink.sets[2].ops, SizeIs(500));
  EXPECT_FALSE(stream.sink.sets[0].cursor.has_value());
  EXPECT_TRUE(stream.sink.sets[0].number_is_version);
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(LoadRunTest, RowsThatComeAndGoBehindTheLoadsBack) {
  ODataStream stream({.page_rows = 4});
  stream.Fill(20);
  int pages = 0;
  stream.service.set_before_page([&] {
    ++pages;
    stream.service.Remove(pages);       // was read
    stream.service.Remove(20 - pages);  // was not
    stream.service.Put(pages + 1, {.name = "changed"});
    stream.service.Put(100 + pages, {.name = "new"});
  });
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  stream.service.set_before_page({});
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

}  // namespace
}  // namespace sluice::gateways
