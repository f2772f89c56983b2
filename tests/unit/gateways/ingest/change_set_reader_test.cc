#include "gateways/ingest/change_set_reader.h"

#include <gmock/gmock.h>

#include <functional>

#include "eventlog/event.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using projectors::OrgModel;

template <typename Message>
std::shared_ptr<const OrgModel> With(const std::shared_ptr<const OrgModel>& model,
                                     const Message& message) {
  eventlog::Event event;
  event.type = Message::descriptor()->full_name();
  event.value = message.SerializeAsString();
  return *model->Apply(event);
}

// account(accountid string key, name string, employees int32) and item(n int64 key).
std::shared_ptr<const OrgModel> Model() {
  v1::OrgOpened opened;
  opened.set_incarnation(1);
  auto model = With(OrgModel::Empty(), opened);
  uint32_t id = 1;
  for (const auto& [name, json] :
       {std::pair{
            "account",
            R"({"primary_key":"accountid","attributes":[{"name":"accountid","type":"string"},)"
            R"({"name":"name","type":"string"},{"name":"employees","type":"int32"}]})"},
        std::pair{"item", R"({"primary_key":"n","attributes":[{"name":"n","type":"int64"}]})"}}) {
    v1::EntityDefined defined;
    *defined.mutable_schema() = *schemas::EvolveSchema(
        nullptr, *schemas::ParseEntityDefinition(name, json), schemas::EntityId(id++));
    model = With(model, defined);
  }
  return model;
}

class ChangeSetReaderTest : public ::testing::Test {
 protected:
  ReadChangeSet Read(const std::string& json) { return reader_.Read(*model_, json); }
  std::string Code(const std::string& json) {
    const ReadChangeSet read = Read(json);
    return read.status.ok() ? "ok" : ErrorCode(read.status);
  }
  // One operation in a set.
  std::string OpCode(const std::string& op) { return Code(R"({"id":"1","ops":[)" + op + "]}"); }

  const std::shared_ptr<const OrgModel> model_ = Model();
  ChangeSetReader reader_{{.line_bytes_max = 4096, .ops_max = 3}};
};

TEST_F(ChangeSetReaderTest, ReadsEveryKindOfOperation) {
  const ReadChangeSet read = Read(
      R"({"ops":[{"row":{"accountid":"A1","name":"Contoso"},"version":"17","entity":"account","op":"upsert"},)"
      R"({"op":"patch","entity":"account","key":"A1","row":{"name":null,"employees":5}},)"
      R"({"op":"delete","entity":"item","key":9,"version":3}],"source":"crm","id":"7f"})");
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.id, "7f");
  EXPECT_EQ(read.set.id(), "7f");
  EXPECT_EQ(read.set.source(), "crm");
  ASSERT_EQ(read.set.ops_size(), 3);
  EXPECT_EQ(read.set.ops(0).kind(), v1::Operation::KIND_UPSERT);
  EXPECT_EQ(read.set.ops(0).key(), "A1");
  EXPECT_EQ(read.set.ops(0).version(), 17);
  EXPECT_FALSE(read.set.ops(0).row().empty());
  EXPECT_EQ(read.set.ops(1).kind(), v1::Operation::KIND_PATCH);
  EXPECT_EQ(read.set.ops(1).cleared_size(), 1);
  EXPECT_FALSE(read.set.ops(1).has_version());
  EXPECT_EQ(read.set.ops(2).kind(), v1::Operation::KIND_DELETE);
  EXPECT_EQ(read.set.ops(2).key(), "9");
  EXPECT_EQ(read.set.ops(2).entity_id(), 2U);
}

TEST_F(ChangeSetReaderTest, EveryCode) {
  EXPECT_EQ(OpCode(R"({"op":"upsert","entity":"nope","row":{}})"), "unknown_entity");
  EXPECT_EQ(OpCode(R"({"op":"upsert","entity":"account","row":{"accountid":"1","x":1}})"),
            "unknown_attribute");
  EXPECT_EQ(OpCode(R"({"op":"upsert","entity":"account","row":{"accountid":"1","employees":"x"}})"),
            "type_mismatch");
  EXPECT_EQ(OpCode(R"({"op":"upsert","entity":"account","row":{"name":"x"}})"), "missing_key");
  EXPECT_EQ(OpCode(R"({"op":"patch","entity":"account","row":{"name":"x"}})"), "missing_key");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account"})"), "missing_key");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":""})"), "invalid_key");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":"a\u0000b"})"), "invalid_key");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":null})"), "invalid_key");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":["A"]})"), "invalid_key");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":"A","version":true})"),
            "type_mismatch");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"item","key":"x"})"), "invalid_key");
  EXPECT_EQ(OpCode(R"({"op":"patch","entity":"account","key":"A","row":{"accountid":"B"}})"),
            "invalid_key");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":"A","version":"x"})"),
            "type_mismatch");
  EXPECT_EQ(OpCode(R"({"op":"merge","entity":"account","key":"A"})"), "invalid_argument");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":"A","row":{}})"), "invalid_argument");
  EXPECT_EQ(OpCode(R"({"op":"upsert","entity":"account"})"), "invalid_argument");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":"A","extra":1})"),
            "invalid_argument");
  EXPECT_EQ(OpCode(R"({"op":"delete","op":"delete","entity":"account","key":"A"})"),
            "invalid_json");
  EXPECT_EQ(OpCode("7"), "invalid_argument");
}

TEST_F(ChangeSetReaderTest, AnEntityThatASourceHasIsItsOwn) {
  v1::SourceDefined source;
  source.mutable_settings()->set_name("crm");
  source.mutable_settings()->set_kind("odata");
  v1::EntityDefined owned;
  *owned.mutable_schema() = model_->entities().at("account")->proto();
  owned.mutable_schema()->set_source("odata:crm");
  const std::shared_ptr<const OrgModel> without = With(model_, owned);
  const std::shared_ptr<const OrgModel> model = With(without, source);
  const std::string delete_one = R"({"ops":[{"op":"delete","entity":"account","key":"A1"}]})";
  EXPECT_TRUE(reader_.Read(*without, delete_one).status.ok());
  EXPECT_EQ(ErrorCode(reader_.Read(*model, delete_one).status), "entity_has_source");
  EXPECT_TRUE(
      reader_.Read(*model, R"({"ops":[{"op":"delete","entity":"item","key":9}]})").status.ok());
  v1::ChangeSet set = reader_.Read(*without, delete_one).set;
  EXPECT_EQ(ErrorCode(CheckChangeSet(*model, {}, set).status), "entity_has_source");
  EXPECT_TRUE(CheckChangeSet(*without, {}, set).status.ok());
}

// What would move a source's chain, or be applied by a source's rules.
TEST_F(ChangeSetReaderTest, OnlySourcesHaveSteps) {
  const v1::ChangeSet good =
      Read(R"({"ops":[{"op":"upsert","entity":"account","row":{"accountid":"A1"}}]})").set;
  const auto code = [&](const std::function<void(v1::ChangeSet&)>& change) {
    v1::ChangeSet set = good;
    change(set);
    const ReadChangeSet read = CheckChangeSet(*model_, {}, set);
    return read.status.ok() ? "ok" : ErrorCode(read.status);
  };
  EXPECT_EQ(code([](auto&) {}), "ok");
  EXPECT_EQ(code([](auto& set) { set.mutable_step(); }), "invalid_argument");
  EXPECT_EQ(code([](auto& set) { set.set_only_changes(true); }), "invalid_argument");
  EXPECT_EQ(code([](auto& set) { set.mutable_ops(0)->add_kept(2); }), "invalid_argument");
  EXPECT_EQ(code([](auto& set) { set.mutable_ops(0)->set_kept_from("A2"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& set) { set.mutable_ops(0)->set_kind(v1::Operation::KIND_SWEEP); }),
            "invalid_argument");
  EXPECT_EQ(code([](auto& set) { set.mutable_ops(0)->set_kind(v1::Operation::KIND_TOUCH); }),
            "invalid_argument");
}

TEST_F(ChangeSetReaderTest, WhatIsNoChangeSet) {
  EXPECT_EQ(Code(""), "invalid_json");
  EXPECT_EQ(Code("nonsense"), "invalid_json");
  EXPECT_EQ(Code("[]"), "invalid_json");
  EXPECT_EQ(Code("{\"ops\":[}"), "invalid_json");
  EXPECT_EQ(Code("{\"id\":\"\xff\",\"ops\":[]}"), "invalid_json");
  EXPECT_EQ(Code(R"({"id":"1","ops":[{"op":"delete","entity":"account","key":"A"}]} 7)"),
            "invalid_json");
  EXPECT_EQ(Code("{}"), "invalid_argument");
  EXPECT_EQ(Code(R"({"ops":[]})"), "invalid_argument");
  EXPECT_EQ(Code(R"({"ops":{}})"), "invalid_argument");
  EXPECT_EQ(Code(R"({"id":7,"ops":[]})"), "invalid_argument");
  EXPECT_EQ(Code(R"({"id":"","ops":[]})"), "invalid_argument");
  EXPECT_EQ(Code(R"({"sets":[]})"), "invalid_argument");
}

TEST_F(ChangeSetReaderTest, LimitsAndDepth) {
  const std::string op = R"({"op":"delete","entity":"account","key":"A"})";
  EXPECT_EQ(Code(R"({"ops":[)" + op + "," + op + "," + op + "]}"), "ok");
  EXPECT_EQ(Code(R"({"ops":[)" + op + "," + op + "," + op + "," + op + "]}"), "too_large");
  EXPECT_EQ(Code(R"({"source":")" + std::string(5'000, 'x') + R"(","ops":[]})"), "too_large");
  EXPECT_NE(Code(R"({"ops":)" + std::string(2'000, '[') + std::string(2'000, ']') + "}"), "ok");
  EXPECT_NE(OpCode(R"({"op":"upsert","entity":"account","row":)" + std::string(1'500, '[') + "}"),
            "ok");
  EXPECT_NE(OpCode(R"({"op":"upsert","entity":"account","row":{"accountid":{"a":[1]}}})"), "ok");
}

TEST_F(ChangeSetReaderTest, TheIdIsToldEvenWhereTheSetIsBad) {
  const ReadChangeSet read = Read(R"({"ops":[{"op":"nope"}],"id":"late"})");
  EXPECT_FALSE(read.status.ok());
  EXPECT_EQ(read.id, "late");
}

TEST_F(ChangeSetReaderTest, IsGoodAgainAfterAnError) {
  EXPECT_NE(Code("{\"ops\":[{\"op\":\"upsert\",\"entity\":\"account\",\"row\":{\"accou"), "ok");
  EXPECT_EQ(OpCode(R"({"op":"delete","entity":"account","key":"A"})"), "ok");
}

}  // namespace
}  // namespace sluice::gateways
