#include "gateways/odata/delta_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gateways/odata_stream.h"

namespace sluice::gateways {
namespace {

using testing::FakeOData;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ODataStream;
using ::testing::SizeIs;
using Fault = FakeOData::Fault;

// What a delta has to be right about, in each form that services give it.
class DeltaFormTest : public ::testing::TestWithParam<FakeOData::Options> {};

void ChangeAll(ODataStream& stream) {
  stream.service.Put(2, {.name = std::nullopt, .balance = "2"});
  stream.service.Put(3, {.name = "three", .balance = "3"});
  stream.service.Put(3, {.name = "three", .balance = "33"});
  stream.service.Remove(5);
  stream.service.Put(99, {.name = "short-lived"});
  stream.service.Remove(99);
  stream.service.Put(50, {.name = "new"});
  stream.service.Remove(6);
  stream.service.Put(6, {.name = "again"});
}

TEST_P(DeltaFormTest, ChangedMadeAndDeletedRows) {
  for (const char* version : {"", "4.01"}) {
    ODataStream stream(GetParam());
    stream.settings.set_odata_version(version);
    stream.Fill(10);
    ASSERT_EQ(stream.Run(), "ok") << stream.last;
    ChangeAll(stream);
    const uint64_t changed = stream.sink.changed;
    ASSERT_EQ(stream.Run(), "ok") << stream.last;
    EXPECT_EQ(stream.Stored(), stream.Expected());
    EXPECT_EQ(stream.sink.changed, changed + 5) << "rows 2, 3, 5, 50 and 6, each once";
    EXPECT_THAT(stream.sink.rejected, SizeIs(0));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Forms, DeltaFormTest,
    ::testing::Values(FakeOData::Options{.page_rows = 2},
                      FakeOData::Options{.composed_key = true, .relative_links = true},
                      FakeOData::Options{.partial = true, .page_rows = 3},
                      FakeOData::Options{
                          .composed_key = true, .partial = true, .keys_in_deletes = true}));

TEST(DeltaRunTest, NothingNewMovesTheLinkAloneOnceItDoes) {
  ODataStream stream;
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  const size_t sets = stream.sink.sets.size();
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_THAT(stream.sink.sets, SizeIs(sets)) << "the same link: nothing to remember";
  stream.service.Put(9, {});
  stream.service.Remove(9);
  const auto rows = stream.Stored();
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.Stored(), rows);
  EXPECT_THAT(stream.service.requests().back(), Not(HasSubstr("track-changes")));
}

TEST(DeltaRunTest, ALinkThatIsGoneLoadsAnewAndChangesOnlyTheDifference) {
  ODataStream stream({.page_rows = 4});
  stream.Fill(10);
  ASSERT_EQ(stream.Run(), "ok");
  ChangeAll(stream);
  stream.service.Expire();
  const uint64_t changed = stream.sink.changed;
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_EQ(stream.sink.changed, changed + 5);
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_DELTA);
}

TEST(DeltaRunTest, RefusalsThatPassDoNotLoadAnew) {
  for (const Fault fault : {Fault::kUnauthorized, Fault::kFailed, Fault::kTooManyRequests}) {
    ODataStream stream;
    stream.Fill(3);
    ASSERT_EQ(stream.Run(), "ok");
    const std::string cursor = stream.sink.cursor();
    for (int i = 0; i < 10; ++i) {
      stream.service.Fail(fault);
    }
    EXPECT_NE(stream.Run(), "ok");
    EXPECT_EQ(stream.sink.cursor(), cursor);
    EXPECT_THAT(stream.service.requests().back(), HasSubstr("$deltatoken="));
  }
}

TEST(DeltaRunTest, ADeltaWithoutALinkIsAskedForAgain) {
  ODataStream stream;
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  const std::string cursor = stream.sink.cursor();
  stream.service.Put(2, {.name = "changed"});
  stream.service.Fail(Fault::kNoLink);
  EXPECT_EQ(stream.Run(), "source_answer_invalid");
  EXPECT_EQ(stream.last.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(stream.Stored(), stream.Expected()) << "its rows are good";
  EXPECT_EQ(stream.sink.cursor(), cursor);
  EXPECT_EQ(stream.Run(), "ok");
  EXPECT_NE(stream.sink.cursor(), cursor);
}

TEST(DeltaRunTest, APartOfARowThatWasRejectedLoadsItWhole) {
  ODataStream stream({.partial = true});
  stream.Fill(3);
  stream.service.Put(2, {.name = "two", .balance = "much"});
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_FALSE(stream.Stored().contains("2"));
  stream.service.Put(2, {.name = "two", .balance = "2"});  // the name does not come
  const size_t before = stream.service.requests().size();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  const size_t sets = stream.sink.sets.size();
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_THAT(stream.sink.sets, SizeIs(sets)) << "a quiet source writes nothing";
  EXPECT_EQ(stream.service.requests().size(), before + 2) << "not more than one load an hour";
  EXPECT_FALSE(stream.Stored().contains("2"));
  stream.clock.Advance(std::chrono::hours(1));
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_EQ(stream.service.requests().size(), before + 3);

  // Rejected by a delta: what is stored is older than what the next delta leaves out.
  stream.service.Put(3, {.name = "three", .balance = "much"});
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.Stored()["3"], "n3 3");
  stream.service.Put(3, {.name = "three", .balance = "33"});
  stream.clock.Advance(std::chrono::hours(1));
  stream.sink.stop_at = 1;  // behind the delta
  EXPECT_EQ(stream.Run(), "cancelled");
  stream.sink.stop_at.reset();
  EXPECT_TRUE(stream.Cursor().load_due());
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  const size_t after = stream.service.requests().size();
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.service.requests().size(), after + 1) << "deltas again";
}

TEST(DeltaRunTest, MuchThatIsBadIsNotPassedOver) {
  ODataStream stream({.page_rows = 5});
  stream.Fill(60);
  ASSERT_EQ(stream.Run(), "ok");
  for (int64_t id = 1; id <= 40; ++id) {
    stream.service.Put(id, {.name = "x", .balance = "much"});
  }
  EXPECT_EQ(stream.Run(), "too_many_rejected") << stream.last;
  EXPECT_EQ(stream.last.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(stream.Cursor().phase(), v1::ODataCursor::PHASE_DELTA);
  stream.Fill(60);
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(DeltaRunTest, ALoopLoadsAnewAtTheThirdTime) {
  ODataStream stream({.page_rows = 2});
  stream.Fill(5);
  ASSERT_EQ(stream.Run(), "ok");
  stream.Fill(7);
  stream.service.Put(3, {.name = "changed"});
  stream.service.Fail(Fault::kLoop);
  EXPECT_EQ(stream.Run(), "link_loop") << stream.last;
  EXPECT_EQ(stream.Run(), "link_loop") << stream.last;
  EXPECT_EQ(stream.Cursor().loops(), 2U);
  stream.service.set_before_page([&] {
    if (stream.service.requests().back().find("$count") != std::string::npos) {
      stream.service.ClearFaults();
    }
  });
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
  EXPECT_EQ(stream.Cursor().loops(), 0U);
}

TEST(DeltaRunTest, ADeltaLinkThatLeadsElsewhereIsNotKept) {
  ODataStream stream;
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  const std::string cursor = stream.sink.cursor();
  stream.service.Fail(Fault::kElsewhere);
  EXPECT_EQ(stream.Run(), "link_elsewhere");
  EXPECT_EQ(stream.sink.cursor(), cursor);
}

}  // namespace
}  // namespace sluice::gateways
