#include "clients/cpp/frame_reader.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/support/clients/sync_frames.h"

namespace sluice::client {
namespace {

using ::sluice::testing::CheckpointFrame;
using ::sluice::testing::CompleteFrame;
using ::sluice::testing::OpsFrame;
using ::sluice::testing::PutOp;
using ::sluice::testing::RemoveOp;
using ::sluice::testing::ResetFrame;
using ::testing::ElementsAre;

// Writes down what it is told.
class Recorder final : public FrameHandler {
 public:
  absl::Status OnCheckpoint(Checkpoint checkpoint) override {
    std::string text = fmt::format("checkpoint {}", checkpoint.position);
    for (const BucketSummary& bucket : checkpoint.buckets) {
      text += fmt::format(" {}:{}:{:x}", bucket.bucket, bucket.count, bucket.checksum);
    }
    for (const std::string& bucket : checkpoint.removed) {
      text += " -" + bucket;
    }
    if (checkpoint.entities.has_value()) {
      text += " entities";
      for (const ClientEntity& entity : *checkpoint.entities) {
        text += fmt::format(" {}({})", entity.name, entity.primary_key);
        for (const ClientEntity::Column& column : entity.columns) {
          text += fmt::format(" {}:{}", column.name, column.type);
        }
      }
    }
    if (!checkpoint.history.empty()) {
      text += " history " + checkpoint.history;
    }
    return Note(text);
  }
  absl::Status OnBucket(std::string_view bucket) override {
    return Note(fmt::format("bucket {}", bucket));
  }
  absl::Status OnPut(std::string_view entity, std::string_view key, std::string_view position,
                     const std::vector<RowValue>& row) override {
    std::string text = fmt::format("put {}/{}@{}", entity, key, position);
    for (const RowValue& value : row) {
      switch (value.kind) {
        case RowValue::Kind::kText:
          text += fmt::format(" {}='{}'", value.name, value.text);
          break;
        case RowValue::Kind::kInteger:
          text += fmt::format(" {}={}", value.name, value.integer);
          break;
        case RowValue::Kind::kBool:
          text += fmt::format(" {}={}", value.name, value.integer != 0);
          break;
        case RowValue::Kind::kDouble:
          text += fmt::format(" {}=~{}", value.name, value.real);
          break;
      }
    }
    return Note(text);
  }
  absl::Status OnRemove(std::string_view entity, std::string_view key) override {
    return Note(fmt::format("remove {}/{}", entity, key));
  }
  absl::Status OnOpsDone(int64_t to) override { return Note(fmt::format("to {}", to)); }
  absl::Status OnReset(std::string_view bucket) override {
    return Note(fmt::format("reset {}", bucket));
  }
  absl::Status OnComplete(int64_t position) override {
    return Note(fmt::format("complete {}", position));
  }

  std::vector<std::string> calls;
  absl::Status answer;

 private:
  absl::Status Note(std::string text) {
    calls.push_back(std::move(text));
    return answer;
  }
};

std::string AllFrames() {
  return CheckpointFrame(9, {{"b1", {{{"account", "A1"}, "8.0"}}}, {"b2", {}}}, {"b7"}) +
         ResetFrame("b1") +
         OpsFrame("b1", 0, 9,
                  {PutOp("account", "A1", "8.0",
                         R"({"id":"A1","name":"Z\u00fcrich \"x\"","n":-5,"d":1.5,"b":true})"),
                   RemoveOp("account", "A2", "9.1")}) +
         "{\"heartbeat\":{\"position\":\"9\"}}\n{\"token_expires\":{\"in_s\":30}}\n" +
         "{\"frame_of_2031\":{\"ops\":[1]}}\n\n" + CompleteFrame(9);
}

std::vector<std::string> CallsOf(const std::string& bytes, size_t cut) {
  Recorder recorder;
  FrameReader reader(recorder);
  EXPECT_TRUE(reader.Feed(std::string_view(bytes).substr(0, cut)).ok());
  EXPECT_TRUE(reader.Feed(std::string_view(bytes).substr(cut)).ok());
  return recorder.calls;
}

TEST(FrameReaderTest, EachFrameIsHandedOn) {
  const std::string bytes = AllFrames();
  EXPECT_THAT(CallsOf(bytes, 0),
              ElementsAre(fmt::format("checkpoint 9 b1:1:{:x} b2:0:0 -b7",
                                      sluice::testing::ChecksumOf({{{"account", "A1"}, "8.0"}})),
                          "reset b1", "bucket b1",
                          "put account/A1@8.0 id='A1' name='Zürich \"x\"' n=-5 d=~1.5 b=true",
                          "remove account/A2", "to 9", "complete 9"));
}

TEST(FrameReaderTest, ACheckpointsColumnsAndHistoryAreHandedOn) {
  Recorder recorder;
  FrameReader reader(recorder);
  ASSERT_TRUE(
      reader
          .Feed(R"({"checkpoint":{"position":"9","buckets":[],"history":"1.x/y=","entities":[)"
                R"({"entity":"a","key":"id","columns":[{"name":"id","type":"string"}]},)"
                R"({"entity":"b","primary_key":"no","attributes":[{"name":"no","type":"int64",)"
                R"("references":"a"}]}]}})"
                "\n"
                R"({"checkpoint":{"position":"9","buckets":[],"entities":[]}})"
                "\n")
          .ok());
  EXPECT_THAT(recorder.calls,
              ElementsAre("checkpoint 9 entities a(id) id:string b(no) no:int64 history 1.x/y=",
                          "checkpoint 9 entities"));
}

// Each just over what clients/cpp/README.md says.
TEST(FrameReaderTest, WhatIsTooLongIsRefused) {
  const auto op = [](const std::string& key, const std::string& row) {
    return OpsFrame("b", 0, 1, {PutOp("e", key, "1.0", row)});
  };
  const auto entities = [](const std::string& list) {
    return R"({"checkpoint":{"position":"9","buckets":[],"entities":[)" + list + "]}}\n";
  };
  std::string many = R"({"entity":"a","key":"k","columns":[)";
  for (int i = 0; i < 2001; ++i) {
    many += fmt::format(R"({}{{"name":"c{}","type":"string"}})", i == 0 ? "" : ",", i);
  }
  for (const std::string& frame :
       {op(std::string(4097, 'k'), "{}"), op("k", "{\"" + std::string(129, 'a') + "\":1}"),
        op("k", "{\"a\":\"" + std::string((32 << 20) + 1, 'x') + "\"}"),
        ResetFrame(std::string(65, 'b')), ResetFrame("b.1"), CheckpointFrame(9, {{"a b", {}}}),
        R"({"checkpoint":{"position":"9","buckets":[],"history":")" + std::string(65, 'h') +
            "\"}}\n",
        std::string(R"({"checkpoint":{"position":"9","buckets":[],"history":7}})") + "\n",
        std::string(R"({"checkpoint":{"position":"9","buckets":[],"entities":{}}})") + "\n",
        entities("7"), entities(many + "]}")}) {
    Recorder recorder;
    FrameReader reader(recorder);
    EXPECT_EQ(ErrorCode(reader.Feed(frame)), "malformed_frame") << frame.substr(0, 100);
  }
  Recorder recorder;
  FrameReader reader(recorder);
  EXPECT_TRUE(
      reader.Feed(op(std::string(4096, 'k'), "{\"" + std::string(128, 'a') + "\":1}")).ok());
}

// A server's bytes must not reach a terminal as they are.
TEST(FrameReaderTest, WhatIsQuotedInAnErrorIsPrintable) {
  Recorder recorder;
  FrameReader reader(recorder);
  const absl::Status status = reader.Feed("\x1b[2J\a{\xff\n");
  EXPECT_EQ(std::string(Message(status)),
            "the server sent a line that is no JSON object: \\x1b[2J\\x07{\\xff");
}

TEST(FrameReaderTest, FramesMayBeCutAnywhere) {
  const std::string bytes = AllFrames();
  const std::vector<std::string> whole = CallsOf(bytes, 0);
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    ASSERT_EQ(CallsOf(bytes, cut), whole) << "cut at byte " << cut;
  }
}

TEST(FrameReaderTest, OneByteAtATime) {
  const std::string bytes = AllFrames();
  Recorder recorder;
  FrameReader reader(recorder);
  for (const char byte : bytes) {
    ASSERT_TRUE(reader.Feed({&byte, 1}).ok());
  }
  EXPECT_EQ(recorder.calls, CallsOf(bytes, 0));
}

TEST(FrameReaderTest, NumbersAndNullAndCarriageReturnAreTaken) {
  Recorder recorder;
  FrameReader reader(recorder);
  ASSERT_TRUE(reader
                  .Feed("{\"ops\":{\"bucket\":\"b\",\"from\":1,\"to\":2,\"ops\":[{\"op\":\"put\","
                        "\"entity\":\"e\",\"key\":\"k\",\"position\":\"2.0\",\"row\":{\"x\":null,"
                        "\"y\":1}}]}}\r\n")
                  .ok());
  EXPECT_THAT(recorder.calls, ElementsAre("bucket b", "put e/k@2.0 y=1", "to 2"));
}

TEST(FrameReaderTest, AnUnfinishedLineIsForgottenByRestart) {
  Recorder recorder;
  FrameReader reader(recorder);
  ASSERT_TRUE(reader.Feed("{\"reset\":{\"buck").ok());
  reader.Restart();
  ASSERT_TRUE(reader.Feed(CompleteFrame(3)).ok());
  EXPECT_THAT(recorder.calls, ElementsAre("complete 3"));
}

TEST(FrameReaderTest, AHandlersErrorStopsAndIsReturned) {
  Recorder recorder;
  recorder.answer = absl::AbortedError("enough");
  FrameReader reader(recorder);
  EXPECT_EQ(reader.Feed(AllFrames()), absl::AbortedError("enough"));
  EXPECT_EQ(recorder.calls.size(), 1U);
}

TEST(FrameReaderTest, WhatIsNoFrameIsRefused) {
  const std::string ops_head = R"({"ops":{"bucket":"b","from":"1","to":"2","ops":[)";
  for (
      const std::string& line : {
          std::string("<html>502</html>"),
          std::string("[1]"),
          std::string("{\"reset\":{\"bucket\":\"b\"}"),
          std::string("{\"reset\":{\"bucket\":\"\xff\"}}"),
          std::string("{\"reset\":{}}"),
          std::string("{\"reset\":7}"),
          std::string("{\"checkpoint_complete\":{}}"),
          std::string("{\"checkpoint_complete\":{\"position\":\"9x\"}}"),
          std::string("{\"checkpoint_complete\":{\"position\":\"-9\"}}"),
          std::string("{\"checkpoint\":{\"position\":\"9\"}}"),
          std::string("{\"checkpoint\":{\"buckets\":[]}}"),
          std::string(R"({"checkpoint":{"position":"9","buckets":[{"bucket":"b","count":"1"}]}})"),
          std::string(
              R"({"checkpoint":{"position":"9","buckets":[{"bucket":"b","checksum":"0000000000000000"}]}})"),
          std::string(
              R"({"checkpoint":{"position":"9","buckets":[{"bucket":"b","count":"1","checksum":"12"}]}})"),
          std::string(
              R"({"checkpoint":{"position":"9","buckets":[{"bucket":"b","count":"1","checksum":"000000000000000g"}]}})"),
          std::string(R"({"checkpoint":{"position":"9","buckets":[],"removed":[7]}})"),
          std::string(R"({"ops":{"from":"1","to":"2","ops":[]}})"),
          std::string(R"({"ops":{"bucket":"b","from":"1","ops":[]}})"),
          std::string(R"({"ops":{"bucket":"b","from":"1","to":"2"}})"),
          ops_head + R"({"op":"merge","entity":"e","key":"k"}]}})",
          ops_head + R"({"op":"remove","entity":"e"}]}})",
          ops_head + R"({"op":"remove","key":"k"}]}})",
          ops_head + R"({"op":"put","entity":"e","key":"k","position":"1.0"}]}})",
          ops_head + R"({"op":"put","entity":"e","key":"k","row":{}}]}})",
          ops_head + R"({"op":"put","entity":"e","key":"k","position":"1.0","row":{"a":[]}}]}})",
          ops_head + "7]}}",
          std::string(5000, '['),
      }) {
    Recorder recorder;
    FrameReader reader(recorder);
    const absl::Status status = reader.Feed(line + "\n");
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << line.substr(0, 100);
    EXPECT_EQ(ErrorCode(status), "malformed_frame") << line.substr(0, 100);
  }
}

TEST(FrameReaderTest, ALongLineIsRead) {
  Recorder recorder;
  FrameReader reader(recorder);
  const std::string value(3 << 20, 'x');
  const std::string frame =
      OpsFrame("b", 0, 1, {PutOp("e", "k", "1.0", fmt::format("{{\"v\":\"{}\"}}", value))});
  for (size_t at = 0; at < frame.size(); at += 10'000) {
    ASSERT_TRUE(reader.Feed(std::string_view(frame).substr(at, 10'000)).ok());
  }
  ASSERT_EQ(recorder.calls.size(), 3U);
  EXPECT_EQ(recorder.calls[1], "put e/k@1.0 v='" + value + "'");
}

TEST(FrameReaderTest, ALineWithoutEndIsBounded) {
  Recorder recorder;
  FrameReader reader(recorder);
  const std::string chunk(8 << 20, ' ');
  absl::Status status;
  int chunks = 0;
  while (status.ok() && chunks < 20) {
    status = reader.Feed(chunk);
    ++chunks;
  }
  EXPECT_EQ(ErrorCode(status), "malformed_frame");
  EXPECT_EQ(chunks, 9);  // 64 MiB are taken
}

TEST(ParseEntitiesTest, NamesAndTypes) {
  const auto entities = ParseEntities(
      R"({"entities":[{"entity":"account","primary_key":"id","attributes":[
          {"name":"id","type":"string","id":1},{"name":"n","type":"int64"}],"new":1}]})");
  ASSERT_TRUE(entities.ok()) << entities.status();
  ASSERT_EQ(entities->size(), 1U);
  EXPECT_EQ((*entities)[0].name, "account");
  EXPECT_EQ((*entities)[0].primary_key, "id");
  ASSERT_EQ((*entities)[0].columns.size(), 2U);
  EXPECT_EQ((*entities)[0].columns[1].name, "n");
  EXPECT_EQ((*entities)[0].columns[1].type, "int64");
}

TEST(ParseEntitiesTest, WhatIsNoneIsRefused) {
  for (const char* json :
       {"", "[]", "{}", R"({"entities":[{}]})", R"({"entities":[{"entity":"a"}]})",
        R"({"entities":[{"entity":"a","primary_key":"k","attributes":[{"name":"k"}]}]})"}) {
    EXPECT_EQ(ErrorCode(ParseEntities(json).status()), "malformed_frame") << json;
  }
}

TEST(ParseProblemTest, CodeAndDetailOfAProblem) {
  const Problem problem =
      ParseProblem(R"({ "status" : 403, "code" : "too_many_buckets", "detail":"rule \"x\"" })");
  EXPECT_EQ(problem.code, "too_many_buckets");
  EXPECT_EQ(problem.detail, "rule \"x\"");
  EXPECT_FALSE(problem.wipe);
  EXPECT_TRUE(ParseProblem(R"({"code":"c","wipe":true})").wipe);
  EXPECT_FALSE(ParseProblem(R"({"code":"c","wipe":"true"})").wipe);
  EXPECT_FALSE(ParseProblem(R"({"code":"c","wipe":false})").wipe);
  EXPECT_EQ(ParseProblem("<html>").code, "");
}

}  // namespace
}  // namespace sluice::client
