#include "eventlog/event.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <set>
#include <string>

namespace sluice::eventlog {
namespace {

Event Sample() {
  Event event;
  event.id = "id";
  event.type = "t";
  event.key = "acme";
  event.value = "v\x01";
  return event;
}

// The worked example of eventlog/docs/embedded-log-format.md.
TEST(EventHash, IsTheDocumentedSha256) {
  Event event;
  event.id = "01890a5d-ac96-774b-bcce-b302099a8057";
  event.source = "sluice/admin";
  event.type = "sluice.v1.ChangeSet";
  event.subject = "acme/account";
  event.time = SystemTime(std::chrono::microseconds(1'700'000'000'000'000));
  event.key = "acme";
  event.value = "\x0a\x03xyz";
  event.cause = {"alice", "https://login.example.com", "req-7"};
  EXPECT_EQ(EventHash(event), 0xd71f39a6cc38d78eU);
  EXPECT_EQ(EventHash(Sample()), 0x42c6d4fc44fd8493U);
}

TEST(EventHash, NoticesEachAttributeAndWhereItEnds) {
  std::set<uint64_t> hashes = {EventHash(Sample())};
  const auto is_new = [&hashes](const Event& event) {
    return hashes.insert(EventHash(event)).second;
  };
  for (std::string Event::*part : {&Event::id, &Event::source, &Event::type, &Event::subject,
                                   &Event::traceparent, &Event::key, &Event::value}) {
    Event event = Sample();
    (event.*part) += "x";
    EXPECT_TRUE(is_new(event));
  }
  for (std::string Cause::*part : {&Cause::subject, &Cause::issuer, &Cause::request_id}) {
    Event event = Sample();
    (event.cause.*part) += "x";
    EXPECT_TRUE(is_new(event));
  }
  Event shifted = Sample();
  shifted.id = "idt";
  shifted.type = "";
  EXPECT_TRUE(is_new(shifted));
  Event later = Sample();
  later.time = SystemTime(std::chrono::microseconds(1));
  EXPECT_TRUE(is_new(later));
  Event answer = Sample();
  answer.answers = Offset(0);
  EXPECT_TRUE(is_new(answer));
}

TEST(Event, ByteSizeCountsEveryString) {
  Event event = Sample();
  const size_t before = event.ByteSize();
  for (std::string Event::*part : {&Event::id, &Event::source, &Event::type, &Event::subject,
                                   &Event::traceparent, &Event::key, &Event::value}) {
    (event.*part) += "12345";
  }
  for (std::string Cause::*part : {&Cause::subject, &Cause::issuer, &Cause::request_id}) {
    (event.cause.*part) += "12345";
  }
  EXPECT_EQ(event.ByteSize(), before + 50);
}

}  // namespace
}  // namespace sluice::eventlog
