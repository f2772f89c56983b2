#include "gateways/odata/mapping_cache.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/fake_clock.h"

namespace sluice::gateways {
namespace {

std::shared_ptr<const EntityMapping> Mapping(size_t columns) {
  EntityMapping mapping;
  mapping.entities.emplace_back().columns.resize(columns);
  return std::make_shared<const EntityMapping>(std::move(mapping));
}

TEST(MappingCacheTest, KeepsAMappingForAWhile) {
  testing::FakeClock clock;
  MappingCache cache(clock);
  EXPECT_EQ(cache.Find("a"), nullptr);
  const auto mapping = Mapping(1);
  cache.Put("a", mapping);
  clock.Advance(std::chrono::minutes(14));
  EXPECT_EQ(cache.Find("a"), mapping);
  EXPECT_EQ(cache.Find("b"), nullptr);
  clock.Advance(std::chrono::minutes(1));
  EXPECT_EQ(cache.Find("a"), nullptr);
  cache.Put("a", mapping);
  cache.Forget("a");
  cache.Forget("a");
  EXPECT_EQ(cache.Find("a"), nullptr);
}

TEST(MappingCacheTest, WhatWasNotUsedForLongestGoes) {
  testing::FakeClock clock;
  MappingCache cache(clock, 30);  // each one here counts 10
  cache.Put("a", Mapping(8));
  cache.Put("b", Mapping(8));
  cache.Put("c", Mapping(8));
  EXPECT_NE(cache.Find("a"), nullptr);
  cache.Put("c", Mapping(8));
  cache.Put("d", Mapping(8));
  EXPECT_EQ(cache.Find("b"), nullptr);
  EXPECT_NE(cache.Find("a"), nullptr);
  EXPECT_NE(cache.Find("c"), nullptr);
  cache.Put("e", Mapping(29));
  EXPECT_EQ(cache.Find("e"), nullptr) << "larger than all may be";
  EXPECT_NE(cache.Find("a"), nullptr) << "so nothing goes for its sake";
}

}  // namespace
}  // namespace sluice::gateways
