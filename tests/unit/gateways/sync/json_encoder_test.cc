#include "gateways/sync/json_encoder.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/support/change_events.h"

namespace sluice::gateways {
namespace {

TEST(JsonEncoderTest, FramesStayAsTheyAre) {
  const FrameEncoder& frames = EncoderFor(FrameFormat::kNdjson);
  std::string out;
  frames.BeginOps("b1", kNoOffset, Offset(1043), &out);
  out += R"({"op":1},{"op":2})";
  frames.EndOps(&out);
  frames.CheckpointComplete(Offset(1043), &out);
  frames.Heartbeat(kNoOffset, &out);
  frames.TokenExpires(30, &out);
  EXPECT_EQ(out, R"({"ops":{"bucket":"b1","from":"0","to":"1043","ops":[{"op":1},{"op":2}]}})"
                 "\n"
                 R"({"checkpoint_complete":{"position":"1043"}})"
                 "\n"
                 R"({"heartbeat":{"position":"0"}})"
                 "\n"
                 R"({"token_expires":{"in_s":30}})"
                 "\n");
  EXPECT_EQ(frames.content_type(), "application/x-ndjson");
}

TEST(JsonEncoderTest, EventsStayAsTheyAre) {
  const FrameEncoder& frames = EncoderFor(FrameFormat::kSse);
  std::string out;
  frames.Heartbeat(Offset(7), &out);
  EXPECT_EQ(out, "event: heartbeat\ndata: {\"heartbeat\":{\"position\":\"7\"}}\n\n");
  EXPECT_EQ(frames.content_type(), "text/event-stream");
  // What is kept of a bucket serves both.
  EXPECT_EQ(&frames.operations(), &EncoderFor(FrameFormat::kNdjson).operations());
}

TEST(JsonEncoderTest, ACheckpointAndItsResetsStayAsTheyAre) {
  for (const size_t piece : {size_t{1}, size_t{1'000}}) {
    const auto writer = EncoderFor(FrameFormat::kNdjson)
                            .Write({.position = Offset(9),
                                    .history = "1.9.0a",
                                    .buckets = {{"b1", 2, 0xabc}, {"b2", 0, 0}},
                                    .removed = {"b3", "b4"},
                                    .resets = {"b2"},
                                    .columns = nullptr});
    std::string out;
    while (!writer->Write(out.size() + piece, &out)) {
    }
    EXPECT_EQ(
        out, R"({"checkpoint":{"position":"9","history":"1.9.0a","buckets":[)"
             R"({"bucket":"b1","count":"2","checksum":"0000000000000abc"},)"
             R"({"bucket":"b2","count":"0","checksum":"0000000000000000"}],"removed":["b3","b4"]}})"
             "\n"
             R"({"reset":{"bucket":"b2"}})"
             "\n");
  }
}

TEST(JsonEncoderTest, APageStaysAsItIs) {
  const auto schema = schemas::EntitySchema::FromProto(
                          testing::DefineEntity(1, "account", {{1, "id"}, {2, "name"}}).schema())
                          .value();
  testing::RowWriter row;
  row.Text(1, "A\"1").Text(2, "n");
  const std::vector<schemas::AttributeId> denied = {schemas::AttributeId(2)};
  OperationView put{.entity = "account",
                    .key = "A\"1",
                    .position = {Offset(1042), 3},
                    .schema = schema.get(),
                    .denied = denied,
                    .row = row.bytes()};
  const OperationEncoder& encoder = JsonOperations();
  std::string out;
  encoder.BeginPage(&out);
  EXPECT_TRUE(encoder.Append(put, true, &out).ok());
  EXPECT_TRUE(
      encoder
          .Append({.put = false, .entity = "account", .key = "A2", .position = {Offset(1043), 0}},
                  false, &out)
          .ok());
  const size_t before = out.size();
  put.row = "\xff";
  EXPECT_EQ(ErrorCode(encoder.Append(put, false, &out)), "malformed_row");
  EXPECT_EQ(out.size(), before);
  encoder.EndPage("AjuojO", Offset(1043), true, &out);
  EXPECT_EQ(
      out,
      R"({"ops":[{"op":"put","entity":"account","key":"A\"1","position":"1042.3","row":{"id":"A\"1"}},)"
      R"({"op":"remove","entity":"account","key":"A2","position":"1043.0"}],)"
      R"("cursor":"AjuojO","position":"1043","more":true})");
}

}  // namespace
}  // namespace sluice::gateways
