#include "gateways/http/fair_places.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

// How many it gets before it is refused.
size_t TakeAll(FairPlaces& places, const Owner& owner) {
  size_t taken = 0;
  while (places.TryTake(owner)) {
    ++taken;
  }
  return taken;
}

TEST(FairPlacesTest, HoweverManyOwnersAskSomeAreLeft) {
  FairPlaces places(1'000);
  EXPECT_EQ(TakeAll(places, {"a", ""}), 800U);
  EXPECT_EQ(TakeAll(places, {"b", ""}), 160U);
  EXPECT_EQ(TakeAll(places, {"c", ""}), 32U);
  EXPECT_EQ(places.taken(), 992U);
  EXPECT_TRUE(places.TryTake({"d", ""}));
}

TEST(FairPlacesTest, HoweverManyCallersOfOneAskSomeAreLeftToTheOthers) {
  FairPlaces places(1'000);
  EXPECT_EQ(TakeAll(places, {"a", "mallory"}), 400U);
  EXPECT_EQ(TakeAll(places, {"a", "malcolm"}), 200U);
  EXPECT_EQ(TakeAll(places, {"a", "mordred"}), 100U);
  EXPECT_TRUE(places.TryTake({"a", "bob"}));
  EXPECT_EQ(TakeAll(places, {"b", "carol"}), 119U) << "of the 239 that it may have";
}

TEST(FairPlacesTest, SeveralAreTakenOrNone) {
  FairPlaces places(1'000);
  const Owner one{"a", "mallory"};
  EXPECT_FALSE(places.TryTake(one, 401));
  EXPECT_EQ(places.taken(), 0U);
  EXPECT_TRUE(places.TryTake(one, 399));
  EXPECT_FALSE(places.TryTake(one, 2));
  EXPECT_EQ(places.taken(), 399U);
  EXPECT_TRUE(places.TryTake(one, 1));
  EXPECT_TRUE(places.TryTake(one, 0));
  places.GiveBack(one, 300);
  EXPECT_EQ(places.taken(), 100U);
  places.GiveBack(one, 100);
  EXPECT_EQ(TakeAll(places, one), 400U);
}

TEST(FairPlacesTest, WhoHasNoneGetsOneWhileThereIsOne) {
  FairPlaces places(3);
  EXPECT_TRUE(places.TryTake({"a", "x"}));
  EXPECT_FALSE(places.TryTake({"a", "x"}));
  EXPECT_TRUE(places.TryTake({"a", "y"}));
  EXPECT_FALSE(places.TryTake({"a", "z"}));
  EXPECT_TRUE(places.TryTake({"b", "x"}));
  EXPECT_FALSE(places.TryTake({"c", "x"})) << "there is none";
}

TEST(FairPlacesTest, WhatIsGivenBackIsTakenAgain) {
  FairPlaces places(10);
  const Owner one{"a", "x"};
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(TakeAll(places, one), 4U);
    EXPECT_EQ(TakeAll(places, {"a", "y"}), 2U);
    for (int i = 0; i < 4; ++i) {
      places.GiveBack(one);
    }
    places.GiveBack({"a", "y"});
    places.GiveBack({"a", "y"});
    EXPECT_EQ(places.taken(), 0U);
  }
}

}  // namespace
}  // namespace sluice::gateways
