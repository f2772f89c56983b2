#include "projectors/provisioning/answered_requests.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

std::string IdOf(size_t number, char version = '8') {
  return fmt::format("{:08x}-0000-{}000-8000-000000000000", number, version);
}

Directory::Outcome OutcomeOf(const std::string& id, int64_t offset) {
  Directory::Outcome outcome;
  outcome.request_id = id;
  outcome.changes_offset = Offset(offset);
  outcome.existed = offset % 2 == 0;
  return outcome;
}

TEST(AnsweredRequestsTest, TheFirstOutcomeStands) {
  AnsweredRequests answered;
  EXPECT_FALSE(answered.Find(IdOf(1)).has_value());
  answered.Add(OutcomeOf(IdOf(1), 4));
  answered.Add(OutcomeOf(IdOf(1), 5));
  auto refused = OutcomeOf(IdOf(2), -1);
  refused.status = Error(absl::StatusCode::kInvalidArgument, "unknown_entity", "no 'x'");
  answered.Add(refused);
  const auto found = answered.Find(IdOf(1));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->request_id, IdOf(1));
  EXPECT_EQ(found->changes_offset, Offset(4));
  EXPECT_TRUE(found->existed);
  EXPECT_EQ(ErrorCode(answered.Find(IdOf(2))->status), "unknown_entity");
}

// Those that nobody sends again would only fill it.
TEST(AnsweredRequestsTest, IdsThatAreMadeAnewEachTimeAreNotKept) {
  AnsweredRequests answered;
  answered.Add(OutcomeOf(IdOf(1, '7'), 4));
  answered.Add(OutcomeOf("store-deleted/acme/1", 4));
  EXPECT_FALSE(answered.Find(IdOf(1, '7')).has_value());
  EXPECT_FALSE(answered.Find("store-deleted/acme/1").has_value());
}

TEST(AnsweredRequestsTest, AsManyAsTheSequencerKnows) {
  AnsweredRequests answered;
  for (size_t i = 0; i <= RequestLedger::kDecidedMax; ++i) {
    answered.Add(OutcomeOf(IdOf(i), 1));
  }
  EXPECT_FALSE(answered.Find(IdOf(0)).has_value());
  EXPECT_TRUE(answered.Find(IdOf(1)).has_value());
  EXPECT_TRUE(answered.Find(IdOf(RequestLedger::kDecidedMax)).has_value());
}

}  // namespace
}  // namespace sluice::projectors
