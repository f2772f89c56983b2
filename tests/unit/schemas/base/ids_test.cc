#include "schemas/base/ids.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"

namespace sluice {
namespace {

TEST(OrgId, TakesDnsLabels) {
  for (const std::string& text :
       std::vector<std::string>{"a", "0", "acme", "acme-2", "x--y", std::string(63, 'a')}) {
    const auto org = OrgId::Parse(text);
    ASSERT_TRUE(org.ok()) << text << ": " << org.status();
    EXPECT_EQ(org->value(), text);
  }
}

TEST(OrgId, RefusesEverythingElse) {
  for (const std::string& text : std::vector<std::string>{
           "", "-a", "a-", "Acme", "a.b", "a_b", "a b", "ä", "a/b", "..", std::string(64, 'a')}) {
    const auto org = OrgId::Parse(text);
    ASSERT_FALSE(org.ok()) << text;
    EXPECT_EQ(org.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorCode(org.status()), "invalid_argument");
  }
  EXPECT_FALSE(OrgId::Parse(std::string_view("a\0b", 3)).ok());
}

TEST(Position, IsOrderedByOffsetThenIndex) {
  const Position nothing;
  EXPECT_LT(nothing, (Position{Offset(0), 0}));
  EXPECT_LT((Position{Offset(1), 9}), (Position{Offset(2), 0}));
  EXPECT_LT((Position{Offset(2), 0}), (Position{Offset(2), 1}));
  EXPECT_EQ((Position{Offset(1042), 3}).ToString(), "1042.3");
}

}  // namespace
}  // namespace sluice
