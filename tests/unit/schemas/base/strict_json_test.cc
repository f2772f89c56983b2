#include "schemas/base/strict_json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>

#include "schemas/base/status.h"

namespace sluice {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string Nested(int depth) {
  return "{\"a\":" + std::string(static_cast<size_t>(depth) - 1, '[') +
         std::string(static_cast<size_t>(depth) - 1, ']') + "}";
}

TEST(StrictJsonTest, RefusesNamesTwiceAtAnyDepth) {
  EXPECT_TRUE(ParseStrictObject(R"({"a":{"b":1},"b":[{"b":1},{"b":1}]})").ok());
  for (const char* refused :
       {R"({"a":1,"a":1})", R"({"a":1,"\u0061":2})", R"({"":1,"":1})", R"({"x":{"a":1,"a":2}})",
        R"([{"a":1,"a":2}])", R"({"x":[{"a":1,"b":2,"a":3}]})"}) {
    const auto parsed = ParseStrictJson(refused);
    EXPECT_EQ(ErrorCode(parsed.status()), "invalid_json") << refused;
    EXPECT_THAT(std::string(Message(parsed.status())), ::testing::HasSubstr("comes twice"));
    EXPECT_FALSE(ParseStrictJson<ordered_json>(refused).ok()) << refused;
  }
}

TEST(StrictJsonTest, RefusesWhatIsNoJson) {
  for (const char* refused : {"", "{", "{}x", "{\"a\":\"\xff\"}", R"({"a":NaN})", R"({"a":1e999})",
                              R"({"a":1,})", R"({'a':1})", "// c\n{}", R"({"a":"\ud800"})"}) {
    EXPECT_EQ(ErrorCode(ParseStrictJson(refused).status()), "invalid_json") << refused;
  }
}

TEST(StrictJsonTest, AnErrorRepeatsNothingOfTheText) {
  const absl::Status status = ParseStrictJson(R"({"client_secret":"Tr0ub\!x"})").status();
  EXPECT_EQ(Message(status).find("Tr0ub"), std::string_view::npos) << status;
  EXPECT_NE(Message(status).find("column"), std::string_view::npos) << status;
}

TEST(StrictJsonTest, AnObjectIsAskedForOrAnyDocument) {
  for (const char* other : {"[]", "1", "null", "\"{}\""}) {
    EXPECT_TRUE(ParseStrictJson(other).ok()) << other;
    EXPECT_EQ(ErrorCode(ParseStrictObject(other).status()), "invalid_json") << other;
  }
}

TEST(StrictJsonTest, RefusesWhatIsNestedTooDeep) {
  EXPECT_TRUE(ParseStrictObject(Nested(kJsonDepthMax)).ok());
  for (const int depth : {kJsonDepthMax + 1, 5'000, 1'000'000}) {
    EXPECT_EQ(Message(ParseStrictObject(Nested(depth)).status()), "nested deeper than 16");
  }
  EXPECT_FALSE(ParseStrictJson("[[]]", 1).ok());
  EXPECT_TRUE(ParseStrictJson(R"(["[[\"[["])", 1).ok()) << "brackets of a string do not count";
}

TEST(StrictJsonTest, MembersAreKnownAndOfTheirKind) {
  const auto object = *ParseStrictObject<ordered_json>(R"({"name":"a","size":1,"empty":""})");
  EXPECT_TRUE(CheckMembers(object, "it", {"empty", "name", "size", "more"}).ok());
  const absl::Status unknown = CheckMembers(object, "it", {"name", "empty"});
  EXPECT_EQ(ErrorCode(unknown), "invalid_argument");
  EXPECT_EQ(Message(unknown), "it has no member \"size\": known are name, empty");
  EXPECT_EQ(Message(CheckMembers(json::array(), "it", {})), "it must be an object");
  EXPECT_EQ(*StringMember(object, "it", "name"), "a");
  EXPECT_EQ(*StringMember(object, "it", "empty"), "");
  EXPECT_EQ(*StringMember(object, "it", "none"), std::nullopt);
  const absl::Status number = StringMember(object, "it", "size").status();
  EXPECT_EQ(ErrorCode(number), "invalid_argument");
  EXPECT_EQ(Message(number), "it: \"size\" must be a string");
}

TEST(StrictJsonTest, TheOrderOfMembersIsKeptWhereAskedFor) {
  const std::string text = R"({"b":1,"a":2})";
  EXPECT_EQ(ParseStrictObject<ordered_json>(text)->dump(), text);
  EXPECT_EQ(ParseStrictObject(text)->dump(), R"({"a":2,"b":1})");
}

}  // namespace
}  // namespace sluice
