#include "gateways/odata/odata_row.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/unit/gateways/odata/shop_entities.h"

namespace sluice::gateways {
namespace {

using testing::SchemaOf;
using testing::ShopEntity;

class ODataRowTest : public ::testing::Test {
 protected:
  void Use(const std::string& set) {
    const MappedEntity entity = ShopEntity(set);
    schema_ = SchemaOf(entity);
    auto reader = ODataRowReader::Create(entity, schema_);
    ASSERT_TRUE(reader.ok()) << reader.status();
    reader_ = *std::move(reader);
  }

  // An upsert as the JSON that we serve, "delete KEY", "-", or the error's code.
  std::string Read(std::string_view json) {
    last_ = reader_->Read(json);
    if (!last_.status.ok()) {
      return ErrorCode(last_.status);
    }
    if (last_.kind != ODataRow::Kind::kUpsert) {
      return last_.kind == ODataRow::Kind::kDelete ? "delete " + last_.key : "-";
    }
    EXPECT_TRUE(schemas::ValidateRow(*schema_, last_.bytes).ok()) << json;
    std::string text;
    EXPECT_TRUE(schemas::AppendRowJson(*schema_, last_.bytes, {}, &text).ok());
    return text;
  }
  // What becomes of one property of Items.
  std::string Value(std::string_view name, std::string_view json) {
    return Read(fmt::format(R"({{"ID":1,"{}":{}}})", name, json));
  }
  std::vector<std::string> Missing() const {
    std::vector<std::string> names;
    for (const schemas::AttributeId id : last_.missing) {
      names.push_back(schema_->Find(id)->name);
    }
    return names;
  }

  std::shared_ptr<const schemas::EntitySchema> schema_;
  std::unique_ptr<ODataRowReader> reader_;
  ODataRow last_;
};

TEST_F(ODataRowTest, EveryType) {
  Use("Items");
  EXPECT_EQ(Read(R"({"@odata.etag":"W/\"1\"","ID@odata.type":"#Int64","ID":"9223372036854775807",
      "Name":"\u00e4\"","Guid":"8C9E6679-7425-40DE-944B-E07FC1F90AE7","Bytes":"_-8","Flag":true,
      "Small":255,"Ratio":1.5e3,"Price":"12345678901234567890.10","Day":"2026-01-31",
      "Time":"10:30:00.5","At":"2026-01-31T12:00:00.1234567+02:00","For":"PT1M","Color":"Green",
      "Address":{"@odata.type":"#shop.Address","Street":"s","Zip":4000,"More":[{}]},"Other":{"ID":5}})"),
            R"({"ID":"9223372036854775807","Name":"ä\"",)"
            R"("Guid":"8c9e6679-7425-40de-944b-e07fc1f90ae7","Bytes":"/+8=","Flag":true,)"
            R"("Small":255,"Ratio":1500,"Price":"12345678901234567890.1","Day":"2026-01-31",)"
            R"("Time":"10:30:00.500000","At":"2026-01-31T10:00:00.123456Z","For":"PT1M",)"
            R"("Color":"Green","Address_Street":"s","Address_Zip":4000})");
  EXPECT_EQ(last_.key, "9223372036854775807");
  EXPECT_TRUE(last_.missing.empty());
}

TEST_F(ODataRowTest, NumbersWhereStringsWereAskedFor) {
  Use("Items");
  EXPECT_EQ(Read(R"({"ID":9007199254740993,"Price":12345678901234567890.10,"Color":1})"),
            R"({"ID":"9007199254740993","Price":"12345678901234567890.1","Color":"Red"})");
  EXPECT_EQ(Value("Small", "\"7\""), R"({"ID":"1","Small":7})");
  EXPECT_EQ(Value("At", "\"2026-01-31T10:00Z\""),
            R"({"ID":"1","At":"2026-01-31T10:00:00.000000Z"})");
  EXPECT_EQ(Value("At", "\"2026-01-31T10:00:00.999999999Z\""),
            R"({"ID":"1","At":"2026-01-31T10:00:00.999999Z"})");
}

TEST_F(ODataRowTest, NullIsNotMissing) {
  Use("Items");
  EXPECT_EQ(Read(R"({"ID":1,"Name":null,"Address":null,"Ratio":2})"), R"({"ID":"1","Ratio":2})");
  EXPECT_EQ(Missing(), (std::vector<std::string>{"Guid", "Bytes", "Flag", "Small", "Price", "Day",
                                                 "Time", "At", "For", "Color"}));
  EXPECT_EQ(Read(R"({"ID":1,"Address":{"Zip":null}})"), R"({"ID":"1"})");
  EXPECT_THAT(Missing(), ::testing::Contains("Address_Street"));
  EXPECT_THAT(Missing(), ::testing::Not(::testing::Contains("Address_Zip")));
}

TEST_F(ODataRowTest, ValuesThatDoNotFit) {
  Use("Items");
  const std::vector<std::pair<std::string, std::string>> cases = {{"Flag", "\"true\""},
                                                                  {"Flag", "1"},
                                                                  {"Name", "1"},
                                                                  {"Name", "true"},
                                                                  {"Name", "[]"},
                                                                  {"Name", "{}"},
                                                                  {"Small", "1.5"},
                                                                  {"Small", "2147483648"},
                                                                  {"Ratio", "\"INF\""},
                                                                  {"Ratio", "\"NaN\""},
                                                                  {"Ratio", "1e999"},
                                                                  {"Price", "\"1e99\""},
                                                                  {"Price", "\"INF\""},
                                                                  {"Guid", "\"x\""},
                                                                  {"Bytes", "\"*\""},
                                                                  {"Day", "\"2026-02-30\""},
                                                                  {"Day", "\"-0001-01-01\""},
                                                                  {"Time", "\"24:00:00\""},
                                                                  {"At", "\"2026-01-31\""},
                                                                  {"At", "1"},
                                                                  {"Color", "3"},
                                                                  {"Address", "1"},
                                                                  {"Address", "[]"},
                                                                  {"Address", R"({"Zip":"x"})"}};
  for (const auto& [name, json] : cases) {
    EXPECT_EQ(Value(name, json), "type_mismatch") << name << " " << json;
    EXPECT_EQ(last_.key, "1") << "so that people can find the row";
    EXPECT_TRUE(absl::IsInvalidArgument(last_.status));
  }
  EXPECT_EQ(Value("Name", "\"" + std::string(kPropertyBytesMax + 1, 'x') + "\""), "too_large");
  EXPECT_EQ(Read(R"({"ID":1,"Name":"a","Name":"b"})"), "invalid_json");
  EXPECT_EQ(Value("Name", "\"fine\""), R"({"ID":"1","Name":"fine"})") << "nothing is left behind";
}

TEST_F(ODataRowTest, Keys) {
  Use("Items");
  EXPECT_EQ(Read("{}"), "missing_key");
  EXPECT_EQ(Read(R"({"ID":null})"), "missing_key");
  EXPECT_EQ(Read(R"({"ID":"x"})"), "type_mismatch");
  Use("Named");
  EXPECT_EQ(Read(R"({"id":""})"), "invalid_key");
  EXPECT_EQ(Read(fmt::format(R"({{"id":"{}"}})", std::string(513, 'x'))), "invalid_key");
  EXPECT_EQ(Read(R"({"id":"a","note":"b"})"), R"({"id":"a","note":"b"})");
  EXPECT_EQ(Read(R"({"id":"a","id":"b"})"), "invalid_json");
  EXPECT_EQ(Read(R"({"id":1})"), "type_mismatch");
}

TEST_F(ODataRowTest, AComposedKeyIsAnAttribute) {
  Use("Lines");
  EXPECT_EQ(Read(R"({"Order":7,"Product":"a,b","At":{"Value":"2026-01-31"},"Count":2})"),
            R"({"Product":"a,b","Order":7,"At_Value":"2026-01-31","Count":2,)"
            R"("_key":"7,a~1b,2026-01-31"})");
  EXPECT_EQ(last_.key, "7,a~1b,2026-01-31");
  EXPECT_EQ(Read(R"({"Order":7,"Product":"a","At":null})"), "missing_key");
}

TEST_F(ODataRowTest, DeletedEntitiesInBothForms) {
  Use("Items");
  for (
      const char* json :
      {R"_({"@odata.context":"$metadata#Items/$deletedEntity","id":"Items(6)","reason":"deleted"})_",
       R"_({"id":"https://h.example/svc/Items(6)","@odata.context":"#Items(6)/$deletedEntity"})_",
       R"_({"@removed":{"reason":"changed"},"@id":"Items(6)"})_",
       R"_({"@odata.removed":{"reason":"deleted"},"@odata.id":"Items(6)"})_",
       R"_({"@removed":{"reason":"deleted"},"ID":"6"})_",
       R"_({"@removed":{},"ID":6,"Name":true,"@id":"Items(7)"})_",
       R"_({"@removed":{},"id":"Items(6)"})_"}) {
    EXPECT_EQ(Read(json), "delete 6") << json;
  }
  EXPECT_EQ(Read(R"_({"@removed":{"reason":"deleted"}})_"), "missing_key");
  EXPECT_EQ(Read(R"_({"@removed":{},"@id":"Items(x)"})_"), "invalid_key");
  EXPECT_EQ(Read(R"_({"@removed":{},"@id":7})_"), "missing_key");
}

TEST_F(ODataRowTest, DeletedEntitiesWhosePropertiesAreCalledId) {
  Use("Named");
  EXPECT_EQ(Read(R"_({"@odata.context":"x#Named/$deletedEntity","id":"Named('a')"})_"), "delete a");
  EXPECT_EQ(Read(R"_({"id":"Named('a')","@odata.context":"x#Named/$deletedEntity"})_"), "delete a");
  EXPECT_EQ(Read(R"_({"@removed":{},"id":"a"})_"), "delete a") << "the key, as 4.01 has it";
  Use("contacts");
  EXPECT_EQ(
      Read(
          R"_({"@odata.context":"https://h.example/api/data/v9.2/$metadata#contacts/$deletedEntity",)_"
          R"_("id":"8c9e6679-7425-40de-944b-e07fc1f90ae7","reason":"deleted"})_"),
      "delete 8c9e6679-7425-40de-944b-e07fc1f90ae7");
}

TEST_F(ODataRowTest, LinksArePassedOver) {
  Use("Items");
  EXPECT_EQ(Read(R"_({"@odata.context":"#Items/$link","source":"Items(1)","target":"x"})_"), "-");
  EXPECT_EQ(Read(R"_({"@context":"#Items/$deletedLink","source":"Items(1)"})_"), "-");
  EXPECT_EQ(Read(R"_({"ID":1,"Lines@delta":[{"@removed":{},"@id":"Lines(1)"}]})_"),
            R"_({"ID":"1"})_");
}

TEST_F(ODataRowTest, WhatIsNoJson) {
  Use("Items");
  for (const char* json : {"", "[]", "{", R"({"ID":1)", R"({"ID":tru})", R"({"ID":01})",
                           R"({"ID":1}})", R"({"ID":1} x)", R"({"ID"})"}) {
    EXPECT_EQ(Read(json), "source_answer_invalid") << json;
    EXPECT_TRUE(absl::IsUnavailable(last_.status));
  }
}

TEST_F(ODataRowTest, CharactersThatAreNoneAreTheRowsFault) {
  Use("Items");
  EXPECT_EQ(Read(R"({"Name":"\ud800","ID":7})"), "invalid_json");
  EXPECT_EQ(last_.key, "7") << "the rest was read";
  EXPECT_EQ(last_.status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* json : {"{\"ID\":7,\"Name\":\"\xff\"}", "{\"ID\":7,\"Name\":\"a\nb\"}",
                           R"({"ID":7,"\ud800":1})", R"({"ID":7,"Name":"\x"})"}) {
    EXPECT_EQ(Read(json), "invalid_json") << json;
    EXPECT_EQ(last_.status.code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(Value("Name", "\"a\""), R"({"ID":"1","Name":"a"})") << "and the next is read";
}

TEST(ODataRowReaderTest, TheSchemaMustHaveWhatTheSourceHas) {
  const MappedEntity items = ShopEntity("Items");
  const MappedEntity lines = ShopEntity("Lines");
  EXPECT_EQ(ErrorCode(ODataRowReader::Create(items, SchemaOf(lines)).status()),
            "incompatible_schema");
  MappedEntity other = items;
  other.definition.mutable_attributes(1)->set_type(v1::ATTRIBUTE_TYPE_INT32);
  EXPECT_EQ(ErrorCode(ODataRowReader::Create(items, SchemaOf(other)).status()),
            "incompatible_schema");
  other = items;
  other.definition.set_primary_key("Name");
  EXPECT_EQ(ErrorCode(ODataRowReader::Create(items, SchemaOf(other)).status()),
            "incompatible_schema");
  other = items;
  other.definition.add_attributes()->set_name("More");
  other.definition.mutable_attributes()->rbegin()->set_type(v1::ATTRIBUTE_TYPE_INT32);
  EXPECT_TRUE(ODataRowReader::Create(items, SchemaOf(other)).ok()) << "more is no harm";
}

}  // namespace
}  // namespace sluice::gateways
