#include "eventlog/murmur2.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace sluice {
namespace {

// The vectors of Apache Kafka's own UtilsTest.testMurmur2.
TEST(Murmur2, AgreesWithKafka) {
  const std::map<std::string, int32_t> vectors = {
      {"21", -973932308},
      {"foobar", -790332482},
      {"a-little-bit-long-string", -985981536},
      {"a-little-bit-longer-string", -1486304829},
      {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
      {"abc", 479470107}};
  for (const auto& [key, hash] : vectors) {
    EXPECT_EQ(static_cast<int32_t>(Murmur2(key)), hash) << key;
  }
}

TEST(Murmur2, TakesBytesAboveSevenBits) {
  EXPECT_NE(Murmur2("\xff"), Murmur2("\x7f"));
  EXPECT_NE(Murmur2(std::string_view("\0", 1)), Murmur2(""));
}

TEST(PartitionForKey, DropsTheSignBeforeTheRemainder) {
  EXPECT_EQ(PartitionForKey("21", 4), PartitionId((-973932308 & 0x7fffffff) % 4));
  EXPECT_EQ(PartitionForKey("foobar", 1000), PartitionId((-790332482 & 0x7fffffff) % 1000));
  for (int i = 0; i < 1000; ++i) {
    const PartitionId partition = PartitionForKey(std::to_string(i), 7);
    EXPECT_GE(partition, PartitionId(0));
    EXPECT_LT(partition, PartitionId(7));
    EXPECT_EQ(PartitionForKey(std::to_string(i), 1), PartitionId(0));
  }
}

}  // namespace
}  // namespace sluice
