#include "gateways/sources/row_letters.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_log.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;

const projectors::StreamKey kStream{OrgId::Parse("acme").value(), 1, "crm", "account"};

// A text of two-byte characters, the first of which begins at an odd place.
std::string Umlauts(size_t count) {
  std::string text = "x";
  for (size_t i = 0; i < count; ++i) {
    text += "\xc3\xb6";
  }
  return text;
}

v1::DeadLetter Parsed(const eventlog::Event& event) {
  v1::DeadLetter letter;
  EXPECT_TRUE(letter.ParseFromString(event.value)) << "nobody can read it";
  return letter;
}

TEST(RowLetters, WhatIsCutStaysText) {
  sluice::testing::MemoryLog log;
  const sluice::testing::FakeClock clock;
  RowLetters letters(log, clock, kStream);
  const std::string row = Umlauts(40'000);
  letters.Add({{}, "account", "k", "type_mismatch", Umlauts(600), row});
  ASSERT_TRUE(letters.Flush(std::chrono::milliseconds(0), [] { return false; }).ok());
  const v1::DeadLetter letter = Parsed(log.All(Topic::kDeadletter).at(0).event);
  EXPECT_LT(letter.reason().size(), 1'010U);
  EXPECT_EQ(letter.value().size(), 65'535U);
  EXPECT_TRUE(IsValidUtf8(letter.value()));
}

TEST(RowLetters, BytesThatAreNoTextAreSpelledOut) {
  sluice::testing::MemoryLog log;
  const sluice::testing::FakeClock clock;
  RowLetters letters(log, clock, kStream);
  letters.Add({{}, "acc\xff", "k\xff", "invalid_key", "no key: \xff", "\xff\xfe"});
  ASSERT_TRUE(letters.Flush(std::chrono::milliseconds(0), [] { return false; }).ok());
  const v1::DeadLetter letter = Parsed(log.All(Topic::kDeadletter).at(0).event);
  EXPECT_EQ(letter.key(), "k\\xff");
  EXPECT_EQ(letter.reason(), "no key: \\xff");
  EXPECT_EQ(letter.entity(), "acc\\xff");
  EXPECT_EQ(letter.value(), "\xff\xfe");
}

TEST(LetterOfItem, HasAReasonThatCanBeRead) {
  const sluice::testing::FakeClock clock;
  const eventlog::Event event =
      LetterOfItem(kStream, v1::WorkItem(),
                   Error(absl::StatusCode::kUnavailable, "x", Umlauts(600)), PartitionId(0), clock);
  EXPECT_TRUE(IsValidUtf8(Parsed(event).reason()));
}

}  // namespace
}  // namespace sluice::gateways
