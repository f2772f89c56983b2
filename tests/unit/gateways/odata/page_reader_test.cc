#include "gateways/odata/page_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

struct PageRead {
  absl::Status status;
  std::vector<std::string> rows;
  std::vector<bool> too_large;
  PageEnd end;

  std::string code() const { return status.ok() ? "ok" : ErrorCode(status); }
};

PageRead ReadPage(std::string_view text, size_t piece = 1 << 20, size_t row_bytes_max = 1 << 20) {
  PageRead read;
  PageReader reader(row_bytes_max);
  while (!text.empty() && read.status.ok()) {
    read.status = reader.Feed(text.substr(0, piece), [&](std::string_view row, bool too_large) {
      read.rows.emplace_back(row);
      read.too_large.push_back(too_large);
      return absl::OkStatus();
    });
    text.remove_prefix(std::min(piece, text.size()));
  }
  if (read.status.ok()) {
    auto end = reader.Finish();
    read.status = end.status();
    if (end.ok()) {
      read.end = *std::move(end);
    }
  }
  return read;
}

constexpr char kPage[] = R"({"@odata.context":"$metadata#Items","@odata.count":"12",
  "@vendor.more":{"value":[{"a":1}],"@odata.nextLink":"no"},"value" : [ {"ID":1,"Name":"a\"]}\\"},
  {"ID":2,"Sub":{"value":[1,[2]],"x":null}}, {} ] ,
  "@odata.nextLink":"Items?a=1\u0026b=\"2\"\/" } )";

TEST(PageReaderTest, RowsAndWhatThePageSays) {
  const PageRead read = ReadPage(kPage);
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.rows,
            (std::vector<std::string>{R"({"ID":1,"Name":"a\"]}\\"})",
                                      R"({"ID":2,"Sub":{"value":[1,[2]],"x":null}})", "{}"}));
  EXPECT_EQ(read.end.next_link, "Items?a=1&b=\"2\"/");
  EXPECT_EQ(read.end.delta_link, std::nullopt);
  EXPECT_EQ(read.end.count, 12U);
  EXPECT_EQ(read.end.rows, 3U);
}

TEST(PageReaderTest, PiecesOfAnySizeAreTheSame) {
  const PageRead whole = ReadPage(kPage);
  for (size_t piece = 1; piece < 40; ++piece) {
    const PageRead read = ReadPage(kPage, piece);
    ASSERT_TRUE(read.status.ok()) << piece << ": " << read.status;
    EXPECT_EQ(read.rows, whole.rows) << piece;
    EXPECT_EQ(read.end.next_link, whole.end.next_link) << piece;
  }
}

TEST(PageReaderTest, CutAtEveryByte) {
  const std::string_view page(kPage);
  for (size_t size = 0; size <= page.rfind('}'); ++size) {
    EXPECT_EQ(ReadPage(page.substr(0, size)).code(), "source_answer_invalid")
        << page.substr(0, size);
  }
}

TEST(PageReaderTest, BothSpellings) {
  const PageRead read =
      ReadPage("\xef\xbb\xbf{\"@context\":\"x\",\"@count\":3,\"@deltaLink\":\"d\",\"value\":[]}");
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.end.count, 3U);
  EXPECT_EQ(read.end.delta_link, "d");
  EXPECT_EQ(read.end.rows, 0U);
  EXPECT_EQ(ReadPage(R"({"\u0040odata.nextLink":"n","\u0076alue":[{}]})").end.next_link, "n");
  EXPECT_EQ(ReadPage(R"({"value":[],"@odata.nextLink":null})").end.next_link, std::nullopt);
  EXPECT_EQ(ReadPage(R"({"value":[],"x@odata.nextLink":"n","nextLink":"n"})").end.next_link,
            std::nullopt);
  EXPECT_EQ(ReadPage(R"({"@odata.nextLink":"n","value":[],"@nextLink":null})").end.next_link, "n");
  EXPECT_EQ(ReadPage(R"({"value":[],"@odata.count":-1})").end.count, std::nullopt);
}

TEST(PageReaderTest, WhatIsNoPage) {
  for (const char* text : {"",
                           " ",
                           "<!DOCTYPE html><html></html>",
                           "[]",
                           "null",
                           "{}",
                           R"({"value":{}})",
                           R"({"value":null})",
                           R"({"value":[1]})",
                           R"({"value":[{},]})",
                           R"({"value":[{}{}]})",
                           R"({"value":[null]})",
                           R"({"value":[[{}]]})",
                           R"({"value":[]}{)",
                           R"({"value":[]} x)",
                           R"({"value":[],})",
                           R"({"value":[] "a":1})",
                           R"({"value":[],"value":[]})",
                           R"({"a":,"value":[]})",
                           R"({"a" 1,"value":[]})",
                           R"({a:1,"value":[]})",
                           R"({"value":[{"a":[}]}]})",
                           R"({"value":[{"a":1]]})",
                           R"({"ID":1,"Name":"single"})",
                           R"({"value":[{}],"error":{"code":"x","message":"amid"}})",
                           R"({"value":[],"@odata.nextLink":5})",
                           R"({"value":[],"@odata.nextLink":{"a":"x"}})",
                           R"({"value":[],"@odata.nextLink":"\ud800"})",
                           "{\"value\":[],\"@odata.nextLink\":\"\xff\"}",
                           R"({"value":[],"@odata.deltaLink":false})",
                           R"({"\x":1,"value":[]})"}) {
    EXPECT_EQ(ReadPage(text).code(), "source_answer_invalid") << text;
    EXPECT_EQ(ReadPage(text, 1).code(), "source_answer_invalid") << text;
  }
}

TEST(PageReaderTest, DepthAndLengthAreBounded) {
  const auto nested = [](int depth) {
    return fmt::format(R"({{"value":[{{"a":{}{}}}]}})", std::string(depth, '['),
                       std::string(depth, ']'));
  };
  EXPECT_EQ(ReadPage(nested(60)).code(), "ok");
  EXPECT_EQ(ReadPage(nested(100'000)).code(), "source_answer_invalid");
  EXPECT_EQ(ReadPage("{\"" + std::string(100'000, 'x') + "\":1,\"value\":[]}").code(),
            "source_answer_invalid");
  EXPECT_EQ(ReadPage("{\"@nextLink\":\"" + std::string(100'000, 'x') + "\",\"value\":[]}").code(),
            "source_answer_invalid");
  EXPECT_EQ(ReadPage("{\"@note\":\"" + std::string(100'000, 'x') + "\",\"value\":[]}").code(),
            "ok");
}

TEST(PageReaderTest, ARowThatIsTooLarge) {
  const PageRead read = ReadPage(
      fmt::format(R"({{"value":[{{"a":1}},{{"b":"{}"}},{{"c":2}}]}})", std::string(200, 'x')), 7,
      100);
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.too_large, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(read.rows.at(1), R"({"b":")" + std::string(94, 'x'));
  EXPECT_EQ(read.rows.at(2), R"({"c":2})");
}

TEST(PageReaderTest, TheReaderOfRowsMayEndIt) {
  PageReader reader;
  int rows = 0;
  EXPECT_TRUE(absl::IsCancelled(reader.Feed(R"({"value":[{},{},{}]})", [&](auto, bool) {
    return ++rows == 2 ? absl::CancelledError("") : absl::OkStatus();
  })));
  EXPECT_EQ(rows, 2);
}

TEST(IsJsonContentTypeTest, Types) {
  for (const char* type :
       {"application/json", "application/json;odata.metadata=minimal;IEEE754Compatible=true",
        "Application/JSON ; charset=utf-8", "application/problem+json"}) {
    EXPECT_TRUE(IsJsonContentType(type)) << type;
  }
  for (const char* type : {"", "text/html", "text/html; x=application/json", "application/jsonx",
                           "application/xml", "+json"}) {
    EXPECT_FALSE(IsJsonContentType(type)) << type;
  }
}

}  // namespace
}  // namespace sluice::gateways
