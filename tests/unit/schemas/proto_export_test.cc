#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "schemas/entity_schema.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"
#include "tests/support/temp_dir.h"

// What `sluice schema export` prints, read by the distribution's protoc.
namespace sluice::schemas {
namespace {

using ::testing::HasSubstr;
using testing::MakeProto;
using testing::ValueOrDie;

void Write(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string Read(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

// What protoc prints for these row bytes; where it fails, its messages.
std::string Decode(const v1::EntitySchema& schema, std::string_view message, std::string_view row) {
  const sluice::testing::TempDir dir;
  const std::string folder = dir.path().string();
  Write(folder + "/row.proto", EntitySchemaToProtoFile(schema, "acme.v1"));
  Write(folder + "/row", row);
  const std::string command = std::string(SLUICE_PROTOC) + " -I" + folder + " --decode=acme.v1." +
                              std::string(message) + " " + folder + "/row.proto <" + folder +
                              "/row >" + folder + "/out 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0) << Read(folder + "/out");
  return Read(folder + "/out");
}

TEST(ProtoExportTest, TheFileAsItIs) {
  const v1::EntitySchema first = MakeProto("every", testing::kEveryType);
  const v1::EntitySchema schema = ValueOrDie(
      EvolveSchema(&first,
                   ValueOrDie(ParseEntityDefinition(
                       "every", R"({"primary_key":"s","attributes":[{"name":"s","type":"string"},
                       {"name":"d","type":"decimal"},{"name":"u","type":"uuid","references":"o"},
                       {"name":"n","type":"int64"}]})")),
                   EntityId(1)));
  EXPECT_EQ(
      EntitySchemaToProtoFile(schema, "acme.v1"),
      R"(// Reads the rows of entity "every" as Sluice keeps and sends them. A null attribute is absent.
// A field's number is the attribute's id, which is never given again.
syntax = "proto3";

package acme.v1;

message Every {
  reserved 2 to 4, 6 to 7, 9 to 11;
  optional string s = 1 [json_name = "s"];  // primary key
  optional string d = 5 [json_name = "d"];  // decimal: canonical text, at most 38 digits, no exponent
  optional bytes u = 8 [json_name = "u"];  // uuid: 16 bytes; key of o
  optional int64 n = 12 [json_name = "n"];
}
)");
}

TEST(ProtoExportTest, ProtocReadsRowsOfEveryType) {
  const v1::EntitySchema proto = MakeProto("every", testing::kEveryType);
  const auto schema = ValueOrDie(EntitySchema::FromProto(proto));
  RowEncoder encoder;
  const EncodedRow row = ValueOrDie(encoder.Encode(
      *schema, R"({"s":"k1","i":-5,"l":-9223372036854775808,"f":0.5,"d":"-12.50","b":true,
                   "t":"1970-01-01T00:00:01Z","u":"61626364-6566-6768-696a-6b6c6d6e6f70",
                   "x":"YWJj","da":"1969-12-30","ti":"00:00:01.000002"})"));
  EXPECT_EQ(Decode(proto, "Every", row.bytes), R"(s: "k1"
i: -5
l: -9223372036854775808
f: 0.5
d: "-12.5"
b: true
t: 1000000
u: "abcdefghijklmnop"
x: "abc"
da: -2
ti: 1000002
)");
  const std::string file = EntitySchemaToProtoFile(proto, "");
  EXPECT_THAT(file,
              HasSubstr("optional sint32 da = 10 [json_name = \"da\"];  // date: days since"));
  EXPECT_THAT(file, HasSubstr("optional uint64 ti = 11 [json_name = \"ti\"];  // time: micro"));
}

TEST(ProtoExportTest, ProtocTakesNamesThatItWouldConfuse) {
  const v1::EntitySchema proto = MakeProto("message", R"({"primary_key":"a_b","attributes":[
      {"name":"a_b","type":"string"},{"name":"aB","type":"string"},{"name":"_a","type":"string"},
      {"name":"a","type":"string"},{"name":"a_4","type":"string"},{"name":"_","type":"string"},
      {"name":"__","type":"string"},{"name":"optional","type":"string"},
      {"name":"reserved","type":"string"},{"name":"Message","type":"string"}]})");
  const auto schema = ValueOrDie(EntitySchema::FromProto(proto));
  RowEncoder encoder;
  const EncodedRow row =
      ValueOrDie(encoder.Encode(*schema, R"({"a_b":"1","aB":"2","_":"6","__":"7"})"));
  EXPECT_EQ(Decode(proto, "Message", row.bytes), R"(a_b: "1"
aB_2: "2"
_: "6"
___7: "7"
)");
  EXPECT_THAT(EntitySchemaToProtoFile(proto, ""), HasSubstr("aB_2 = 2 [json_name = \"aB\"]"));
}

TEST(ProtoExportTest, ProtocTakesIdsAroundItsReservedOnes) {
  v1::EntitySchema current =
      MakeProto("e", R"({"primary_key":"a","attributes":[{"name":"a","type":"string"}]})");
  current.set_next_attribute_id(18'999);
  const v1::EntitySchema next = ValueOrDie(
      EvolveSchema(&current,
                   ValueOrDie(ParseEntityDefinition(
                       "e", R"({"primary_key":"a","attributes":[{"name":"a","type":"string"},
                   {"name":"b","type":"string"},{"name":"c","type":"string"}]})")),
                   EntityId(1)));
  EXPECT_EQ(Decode(next, "E", ""), "");
}

}  // namespace
}  // namespace sluice::schemas
