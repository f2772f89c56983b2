#include "gateways/events/cloud_event.h"

#include <gmock/gmock.h>

#include <string>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using ::testing::HasSubstr;
using Headers = std::vector<std::pair<std::string, std::string>>;

const Headers kBinary = {{"Content-Type", "application/json"},
                         {"ce-specversion", "1.0"},
                         {"ce-id", "7"},
                         {"ce-source", "/crm"},
                         {"ce-type", "sluice.org.disabled"}};

HttpHead Head(Headers headers) {
  HttpHead head;
  head.method = "POST";
  head.headers = std::move(headers);
  return head;
}

Headers With(const std::string& name, const std::string& value) {
  Headers headers;
  for (const auto& header : kBinary) {
    if (header.first != name) {
      headers.push_back(header);
    }
  }
  headers.emplace_back(name, value);
  return headers;
}

absl::StatusOr<CloudEvent> Binary(Headers headers, std::string_view body = "{}") {
  const auto read = ReadHttpEvents(Head(std::move(headers)), body);
  if (!read.ok()) {
    return read.status();
  }
  EXPECT_FALSE(read->batch);
  EXPECT_EQ(read->events.size(), 1U);
  return read->events.front();
}

void ExpectRefused(const absl::Status& status, std::string_view text,
                   std::string_view code = "invalid_event") {
  EXPECT_EQ(ErrorCode(status), code) << status;
  EXPECT_THAT(std::string(Message(status)), HasSubstr(std::string(text)));
}

std::string Structured(const std::string& more = "", const std::string& version = "1.0") {
  return R"({"specversion":")" + version + R"(","id":"7","source":"/crm","type":"t")" + more + "}";
}

eventlog::Record RecordOf(Headers headers, std::optional<std::string> value = "{}") {
  return {.topic = "events",
          .partition = PartitionId(0),
          .offset = Offset(3),
          .key = std::nullopt,
          .value = std::move(value),
          .headers = std::move(headers)};
}

TEST(CloudEventTest, BinaryModeOfHttp) {
  const auto event = Binary({{"content-TYPE", "application/json; charset=UTF-8"},
                             {"CE-SpecVersion", "1.0"},
                             {"ce-id", "A%20%C3%A9%25"},
                             {"ce-source", "\"/c\\\"rm\""},
                             {"ce-type", "t"},
                             {"ce-subject", "s"},
                             {"ce-time", "2026-01-31T10:00:00+01:00"},
                             {"ce-myextension", "x"}},
                            R"({"org":"acme"})");
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->id, "A \xc3\xa9%");
  EXPECT_EQ(event->source, "/c\"rm");
  EXPECT_EQ(event->type, "t");
  EXPECT_EQ(event->subject, "s");
  EXPECT_EQ(event->time, SystemTime(std::chrono::seconds(1'769'850'000)));
  EXPECT_EQ(event->data, R"({"org":"acme"})");
}

TEST(CloudEventTest, BinaryModeIsStrict) {
  ASSERT_TRUE(Binary(kBinary).ok());
  ExpectRefused(Binary(With("ce-specversion", "0.3")).status(), "\"0.3\"");
  ExpectRefused(Binary(With("ce-id", "")).status(), "no 'id'");
  ExpectRefused(Binary(With("ce-source", "a b")).status(), "URI");
  ExpectRefused(Binary(With("ce-time", "yesterday")).status(), "RFC 3339");
  ExpectRefused(Binary(With("ce-id", "%zz")).status(), "'%'");
  ExpectRefused(Binary(With("ce-id", "%ff")).status(), "UTF-8");
  ExpectRefused(Binary(With("ce-id", "a%00b")).status(), "control");
  ExpectRefused(Binary(With("ce-id", "a%C2%85b")).status(), "control");
  ExpectRefused(Binary(With("ce-my_extension", "x")).status(), "name of an attribute");
  ExpectRefused(Binary(With("ce-datacontenttype", "application/json")).status(), "Content-Type");
  ExpectRefused(Binary(With("Content-Type", "application/x-protobuf")).status(),
                "application/json");
  ExpectRefused(Binary(With("Content-Type", "application/json; charset=latin1")).status(),
                "application/json");
  Headers doubled = kBinary;
  doubled.emplace_back("Ce-Id", "8");
  ExpectRefused(Binary(doubled).status(), "'id' comes twice");
  Headers two_types = kBinary;
  two_types.emplace_back("content-type", "application/cloudevents+json");
  ExpectRefused(Binary(two_types).status(), "twice");
  for (const char* missing : {"ce-specversion", "ce-id", "ce-source", "ce-type"}) {
    Headers headers = kBinary;
    std::erase_if(headers, [&](const auto& header) { return header.first == missing; });
    ExpectRefused(Binary(headers).status(), std::string("no '") + (missing + 3) + "'");
  }
  // Some other JSON.
  ExpectRefused(Binary({{"Content-Type", "application/json"}}).status(), "ce-specversion");
}

TEST(CloudEventTest, StructuredMode) {
  const Headers type = {{"Content-Type", "application/cloudevents+json; charset=utf-8"}};
  const auto event = Binary(
      type,
      Structured(R"(,"datacontenttype":"application/vnd.crm+json","n":5,"b":true,"none":null,)"
                 R"("data":{"org":"acme","z":1,"a":[1.50]})"));
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->data, R"({"org":"acme","z":1,"a":[1.5]})");
  EXPECT_FALSE(event->time.has_value());
  EXPECT_EQ(Binary(type, Structured(R"(,"data_base64":"e30=")"))->data, "{}");
  EXPECT_EQ(Binary(type, Structured())->data, "");
  ExpectRefused(Binary(type, Structured("", "2.0")).status(), "\"2.0\"");
  ExpectRefused(Binary(type, Structured(R"(,"data":1,"data_base64":"")")).status(), "data_base64");
  ExpectRefused(Binary(type, Structured(R"(,"data_base64":"e30")")).status(), "base64");
  ExpectRefused(Binary(type, Structured(R"(,"data_base64":5)")).status(), "base64");
  ExpectRefused(Binary(type, Structured(R"(,"ext":{})")).status(), "\"ext\"");
  ExpectRefused(Binary(type, Structured(R"(,"ext":1.5)")).status(), "\"ext\"");
  ExpectRefused(Binary(type, Structured(R"(,"Ext":"x")")).status(), "\"Ext\"");
  ExpectRefused(Binary(type, Structured(R"(,"datacontenttype":"text/xml")")).status(), "text/xml");
  ExpectRefused(Binary(type, Structured(R"(,"id":"8")")).status(), "twice", "invalid_json");
  ExpectRefused(Binary(type, "{").status(), "", "invalid_json");
  ExpectRefused(Binary(type, "[]").status(), "object");
  ExpectRefused(Binary(type, Structured(",\"subject\":\"\xff\"")).status(), "", "invalid_json");
  ExpectRefused(
      Binary({{"Content-Type", "application/cloudevents+json; charset=utf-16"}}, Structured())
          .status(),
      "UTF-8");
  ExpectRefused(Binary({{"Content-Type", "application/cloudevents+avro"}}, "x").status(),
                "application/cloudevents+json");
  std::string deep(20, '[');
  deep.append(20, ']');
  ExpectRefused(Binary(type, Structured(",\"data\":" + deep)).status(), "nested", "invalid_json");
}

TEST(CloudEventTest, ABatchHasEachEventByItself) {
  const Headers type = {{"Content-Type", "application/cloudevents-batch+json"}};
  const auto read =
      ReadHttpEvents(Head(type), "[" + Structured() + ",{\"id\":\"x\"},5," + Structured() + "]");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->batch);
  ASSERT_EQ(read->events.size(), 4U);
  EXPECT_TRUE(read->events[0].ok());
  ExpectRefused(read->events[1].status(), "specversion");
  ExpectRefused(read->events[2].status(), "object");
  EXPECT_TRUE(read->events[3].ok());
  EXPECT_TRUE(ReadHttpEvents(Head(type), "[]")->events.empty());
  ExpectRefused(ReadHttpEvents(Head(type), Structured()).status(), "list");
  std::string many = "[";
  for (size_t i = 0; i <= kEventsPerBatchMax; ++i) {
    many += i == 0 ? "0" : ",0";
  }
  ExpectRefused(ReadHttpEvents(Head(type), many + "]").status(), "1001", "too_large");
}

TEST(CloudEventTest, Limits) {
  EXPECT_TRUE(Binary(With("ce-subject", std::string(kEventAttributeBytesMax, 'x'))).ok());
  ExpectRefused(Binary(With("ce-subject", std::string(kEventAttributeBytesMax + 1, 'x'))).status(),
                "1025");
  Headers many = kBinary;
  for (size_t i = many.size() - 1; i < kEventAttributesMax; ++i) {
    many.emplace_back("ce-x" + std::to_string(i), "x");
  }
  EXPECT_TRUE(Binary(many).ok());
  many.emplace_back("ce-last", "x");
  ExpectRefused(Binary(many).status(), "more than 64");
  EXPECT_TRUE(Binary(kBinary, std::string(kEventBytesMax, ' ')).ok());
  ExpectRefused(Binary(kBinary, std::string(kEventBytesMax + 1, ' ')).status(), "1048577",
                "too_large");
  ExpectRefused(ReadJsonEvent(std::string(kEventBytesMax + 1, ' ')).status(), "1048577",
                "too_large");
}

TEST(CloudEventTest, RecordsOfKafka) {
  const Headers binary = {
      {"ce_specversion", "1.0"}, {"ce_id", "%41"},  // which Kafka's binding does not encode
      {"ce_source", "/crm"},     {"ce_type", "t"}, {"content-type", "application/json"},
      {"traceparent", "\xff"}};
  const auto event = ReadKafkaEvent(RecordOf(binary, "{\"a\":1}"));
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->id, "%41");
  EXPECT_EQ(event->data, "{\"a\":1}");
  EXPECT_EQ(ReadKafkaEvent(RecordOf(binary, std::nullopt))->data, "");
  const Headers structured = {{"content-type", "application/cloudevents+json"}};
  EXPECT_EQ(ReadKafkaEvent(RecordOf(structured, Structured()))->id, "7");
  ExpectRefused(ReadKafkaEvent(RecordOf({}, Structured())).status(), "content-type");
  ExpectRefused(ReadKafkaEvent(RecordOf({{"content-type", "application/cloudevents-batch+json"}},
                                        "[" + Structured() + "]"))
                    .status(),
                "content-type");
  ExpectRefused(ReadKafkaEvent(RecordOf(structured, std::nullopt)).status(), "", "invalid_json");
  Headers doubled = binary;
  doubled.emplace_back("ce_id", "x");
  ExpectRefused(ReadKafkaEvent(RecordOf(doubled)).status(), "twice");
  Headers no_text = binary;
  no_text.emplace_back("ce_subject", "\xff");
  ExpectRefused(ReadKafkaEvent(RecordOf(no_text)).status(), "UTF-8");
}

}  // namespace
}  // namespace sluice::gateways
