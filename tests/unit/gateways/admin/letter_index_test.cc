#include "gateways/admin/letter_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const PartitionId kPartition(0);

OrgId OrgNamed(const std::string& name) { return OrgId::Parse(name).value(); }

v1::DeadLetter LetterOf(const std::string& id) {
  v1::DeadLetter letter;
  letter.set_topic("source:crm");
  letter.set_id(id);
  return letter;
}

class LetterIndexTest : public ::testing::Test {
 protected:
  void Add(const std::string& org, const v1::DeadLetter& letter) {
    index_.Apply(kPartition, {{Offset(next_++), eventlog::EventOf("sluice/source", org, letter)}});
  }
  void Add(const std::string& org, const std::string& id, bool handled = false) {
    v1::DeadLetter letter = LetterOf(id);
    letter.set_handled(handled);
    Add(org, letter);
  }
  std::vector<int64_t> List(const std::string& org, Offset before = kNoOffset, size_t count = 100) {
    std::vector<int64_t> places;
    for (const Offset place : index_.List(OrgNamed(org), before, count).places) {
      places.push_back(place.value());
    }
    return places;
  }

  LetterIndex index_{{.letters_max = 8, .per_org_max = 6}};
  int64_t next_ = 0;
};

TEST_F(LetterIndexTest, ALetterIsOpenUntilItIsHandledAndOpenAgainWhenItComesAgain) {
  Add("acme", "a");
  Add("acme", "b");
  Add("other", "c");
  EXPECT_THAT(List("acme"), ElementsAre(1, 0));
  EXPECT_THAT(List("other"), ElementsAre(2));
  EXPECT_THAT(List("nobody"), IsEmpty());
  Add("acme", "a");  // the same row again: one letter, and the newest
  EXPECT_THAT(List("acme"), ElementsAre(3, 1));
  EXPECT_EQ(index_.Find(OrgNamed("acme"), "a"), Offset(3));
  Add("acme", "a", true);
  EXPECT_THAT(List("acme"), ElementsAre(1));
  EXPECT_EQ(index_.Find(OrgNamed("acme"), "a"), std::nullopt);
  EXPECT_EQ(index_.Find(OrgNamed("other"), "b"), std::nullopt);
  Add("acme", "a", true);  // doubled
  Add("acme", "a");
  EXPECT_THAT(List("acme"), ElementsAre(6, 1));
  EXPECT_EQ(index_.size(), 3U);
}

TEST_F(LetterIndexTest, PagesGoOnFromAPlaceWhateverComesMeanwhile) {
  for (const char* id : {"a", "b", "c", "d"}) {
    Add("acme", id);
  }
  EXPECT_THAT(List("acme", kNoOffset, 2), ElementsAre(3, 2));
  EXPECT_TRUE(index_.List(OrgNamed("acme"), kNoOffset, 2).more);
  Add("acme", "e");
  Add("acme", "d", true);
  EXPECT_THAT(List("acme", Offset(2), 2), ElementsAre(1, 0));
  EXPECT_FALSE(index_.List(OrgNamed("acme"), Offset(2), 2).more);
}

TEST_F(LetterIndexTest, PastItsLimitsTheOldestGo) {
  for (int i = 0; i < 9; ++i) {
    Add("acme", "a" + std::to_string(i));
  }
  EXPECT_THAT(List("acme"), ElementsAre(8, 7, 6, 5, 4, 3));
  EXPECT_TRUE(index_.List(OrgNamed("acme"), kNoOffset, 1).forgot);
  EXPECT_EQ(index_.forgotten(), 3U);
  Add("acme", "a0", true);  // one that is not kept
  for (int i = 0; i < 3; ++i) {
    Add("other", "o" + std::to_string(i));
  }
  EXPECT_EQ(index_.size(), 8U);  // of all: who has most gives
  EXPECT_THAT(List("acme"), ElementsAre(8, 7, 6, 5, 4));
  EXPECT_THAT(List("other"), ElementsAre(12, 11, 10));
  EXPECT_FALSE(index_.List(OrgNamed("other"), kNoOffset, 1).forgot);
}

TEST_F(LetterIndexTest, APartitionThatIsReadAnewIsForgotten) {
  Add("acme", "a");
  index_.Apply(PartitionId(1),
               {{Offset(0), eventlog::EventOf("sluice/source", "other", LetterOf("b"))}});
  index_.Begin(kPartition);
  EXPECT_THAT(List("acme"), IsEmpty());
  EXPECT_THAT(List("other"), ElementsAre(0));
  EXPECT_EQ(index_.size(), 1U);
}

TEST_F(LetterIndexTest, WhatIsNoLetterIsPassedOver) {
  eventlog::Event event = eventlog::EventOf("x", "acme", LetterOf("a"));
  event.value = "\xff\xff";
  index_.Apply(kPartition, {{Offset(0), event}});
  event = eventlog::EventOf("x", "acme", v1::ChangeSet());
  index_.Apply(kPartition, {{Offset(1), event}});
  EXPECT_THAT(List("acme"), IsEmpty());
}

TEST(LetterIdOf, IsOneForALetterAndFitForAPath) {
  v1::DeadLetter letter;
  letter.set_topic("changes");
  letter.set_partition(3);
  letter.set_offset(1042);
  letter.set_op_index(7);
  letter.set_id("0192f1f4-aaaa");
  EXPECT_EQ(LetterIdOf(letter), "changes-3-1042-7");
  EXPECT_EQ(LetterIdOf(LetterOf("0192f1f4-aaaa")), "0192f1f4-aaaa");
  for (const std::string& odd : {std::string("a/b"), std::string(), std::string(65, 'a'),
                                 std::string(".."), std::string("\xff")}) {
    const std::string id = LetterIdOf(LetterOf(odd));
    EXPECT_EQ(id.size(), 32U) << id;
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos) << id;
  }
  EXPECT_NE(LetterIdOf(LetterOf("a/b")), LetterIdOf(LetterOf("a/c")));
}

}  // namespace
}  // namespace sluice::gateways
