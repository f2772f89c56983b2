#include "eventlog/event.h"

#include <gtest/gtest.h>
#include <xxhash.h>

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

TEST(EventHash, IsXxh64OverPartsWithTheirLengths) {
  const std::string bytes(
      "\x02\0\0\0id"
      "\x01\0\0\0t"
      "\x04\0\0\0"
      "acme"
      "\x02\0\0\0v\x01",
      25);
  EXPECT_EQ(EventHash(Sample()), XXH64(bytes.data(), bytes.size(), 0));
}

TEST(EventHash, NoticesEachPartAndWhereItEnds) {
  std::set<uint64_t> hashes = {EventHash(Sample())};
  for (std::string Event::*part : {&Event::id, &Event::type, &Event::key, &Event::value}) {
    Event event = Sample();
    (event.*part) += "x";
    EXPECT_TRUE(hashes.insert(EventHash(event)).second);
  }
  Event shifted = Sample();
  shifted.id = "idt";
  shifted.type = "";
  EXPECT_TRUE(hashes.insert(EventHash(shifted)).second);
}

TEST(EventHash, LeavesOutWhatATransportMayChange) {
  Event event = Sample();
  event.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_EQ(EventHash(event), EventHash(Sample()));
}

TEST(Event, ByteSizeCountsEveryString) {
  Event event = Sample();
  const size_t before = event.ByteSize();
  for (std::string Event::*part : {&Event::id, &Event::source, &Event::type, &Event::subject,
                                   &Event::traceparent, &Event::key, &Event::value}) {
    (event.*part) += "12345";
  }
  EXPECT_EQ(event.ByteSize(), before + 35);
}

}  // namespace
}  // namespace sluice::eventlog
