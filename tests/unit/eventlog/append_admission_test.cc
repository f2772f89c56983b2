#include "eventlog/append_admission.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"
#include "tests/unit/eventlog/log_testing.h"

namespace sluice::eventlog {
namespace {

using absl::StatusCode;

// Of every event here.
const size_t kSize = MakeEvent("x").ByteSize();

std::vector<Event> Batch(size_t events) { return std::vector<Event>(events, MakeEvent("x")); }

TEST(AppendAdmission, TakesUpToTheLimitsAndCountsWhatWasAnsweredNoMore) {
  AppendAdmission admission({.queue_bytes_max = 3 * kSize, .queue_events_max = 3});
  EXPECT_EQ(*admission.Admit(Batch(2)), 2 * kSize);
  const absl::Status full = admission.Admit(Batch(2)).status();
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorCode(full), "append_queue_full");
  EXPECT_NE(Message(full).find("2 events and " + std::to_string(2 * kSize) + " bytes wait"),
            std::string::npos)
      << full;
  // What was refused does not count.
  EXPECT_TRUE(admission.Admit(Batch(1)).ok());
  EXPECT_FALSE(admission.Admit(Batch(1)).ok());
  admission.Release(2, 2 * kSize);
  EXPECT_TRUE(admission.Admit(Batch(2)).ok());
  admission.Release(2, 2 * kSize);
  admission.Release(1, kSize);
  EXPECT_TRUE(admission.Admit(Batch(3)).ok());
}

TEST(AppendAdmission, EachLimitOfTheQueueRefusesByItself) {
  AppendAdmission by_events({.queue_events_max = 1});
  EXPECT_TRUE(by_events.Admit(Batch(1)).ok());
  EXPECT_EQ(ErrorCode(by_events.Admit(Batch(1)).status()), "append_queue_full");
  AppendAdmission by_bytes({.queue_bytes_max = kSize + 1});
  EXPECT_TRUE(by_bytes.Admit(Batch(1)).ok());
  EXPECT_EQ(ErrorCode(by_bytes.Admit(Batch(1)).status()), "append_queue_full");
}

// Sending it again would never help: that is said before the queue is looked at.
TEST(AppendAdmission, WhatAnEmptyQueueCouldNotTakeIsTooLargeWhateverTheQueueHolds) {
  const AppendLimits limits = {
      .event_bytes_max = kSize, .queue_bytes_max = 3 * kSize - 1, .queue_events_max = 3};
  AppendAdmission admission(limits);
  ASSERT_TRUE(admission.Admit(Batch(2)).ok());
  std::vector<Event> with_large = Batch(2);
  with_large[1] = MakeEvent("large");
  const absl::Status event = admission.Admit(with_large).status();
  EXPECT_EQ(event.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorCode(event), "too_large");
  EXPECT_NE(Message(event).find("event large has"), std::string::npos) << event;
  const absl::Status bytes = admission.Admit(Batch(3)).status();
  EXPECT_EQ(bytes.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorCode(bytes), "too_large");
  EXPECT_EQ(ErrorCode(AppendAdmission({.queue_events_max = 2}).Admit(Batch(3)).status()),
            "too_large");
  // The event over the limit is told of, also in a batch that is too large besides.
  with_large.resize(9, MakeEvent("x"));
  EXPECT_EQ(admission.Admit(with_large).status(), event);
}

}  // namespace
}  // namespace sluice::eventlog
