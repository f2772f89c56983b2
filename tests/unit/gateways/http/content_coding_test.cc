#include "gateways/http/content_coding.h"

#include <brotli/encode.h>
#include <gtest/gtest.h>

#include "gateways/http/byte_budget.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

absl::StatusOr<std::string> Decode(const std::string& encoding, const std::string& text,
                                   size_t piece) {
  ASSIGN_OR_RETURN(const auto decoder, ContentDecoder::For(encoding));
  std::string out;
  for (size_t at = 0; at < text.size(); at += piece) {
    RETURN_IF_ERROR(
        decoder->Feed(std::string_view(text).substr(at, piece), [&](std::string_view p) {
          out.append(p);
          return true;
        }));
  }
  RETURN_IF_ERROR(decoder->Finish());
  return out;
}

std::string Brotli(const std::string& text) {
  std::string out(text.size() + 1024, '\0');
  size_t size = out.size();
  EXPECT_TRUE(BrotliEncoderCompress(5, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_GENERIC, text.size(),
                                    reinterpret_cast<const uint8_t*>(text.data()), &size,
                                    reinterpret_cast<uint8_t*>(out.data())));
  out.resize(size);
  return out;
}

TEST(ContentCodingTest, WhateverThePieces) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) {
    text += std::to_string(i * 7919);
  }
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{1'000'000}}) {
    EXPECT_EQ(*Decode("", text, piece), text);
    EXPECT_EQ(*Decode("GZIP", Gzip(text), piece), text);
    EXPECT_EQ(*Decode("br", Brotli(text), piece), text);
  }
}

TEST(ContentCodingTest, DamagedCutOrUnknown) {
  const std::string zipped = Gzip(std::string(10'000, 'x'));
  EXPECT_FALSE(Decode("gzip", zipped.substr(0, zipped.size() / 2), 10).ok());
  EXPECT_FALSE(Decode("gzip", "rubbish that is no gzip", 10).ok());
  EXPECT_FALSE(Decode("gzip", zipped + "more", 10).ok());
  EXPECT_FALSE(Decode("br", Brotli(std::string(10'000, 'x')).substr(0, 5), 1).ok());
  EXPECT_EQ(ErrorCode(ContentDecoder::For("zstd").status()), "unsupported_media_type");
}

TEST(ContentCodingTest, ASinkThatHasEnoughEndsABomb) {
  std::string large;
  large.resize(50'000'000, 'x');
  const std::string bomb = Gzip(large);
  const auto decoder = *ContentDecoder::For("gzip");
  size_t got = 0;
  EXPECT_TRUE(decoder
                  ->Feed(bomb,
                         [&](std::string_view piece) {
                           got += piece.size();
                           return got < 100'000;
                         })
                  .ok());
  EXPECT_LT(got, 200'000U);
}

TEST(ByteBudgetTest, HoldsAreGivenBack) {
  ByteBudget budget(100, "x", "x", "x", nullptr);
  {
    ByteHold first(budget, "a");
    EXPECT_TRUE(first.TryHold(60));
    ByteHold second(budget, "b");
    EXPECT_FALSE(second.TryHold(41));
    EXPECT_TRUE(second.TryHold(40));
    first.Set(10);
    EXPECT_TRUE(second.TryHold(90));
    ByteHold moved = std::move(second);
    EXPECT_EQ(budget.held(), 100U);
    second = std::move(moved);
  }
  EXPECT_EQ(budget.held(), 0U);
  EXPECT_FALSE(budget.TryAcquire("a", 0, 101));
}

}  // namespace
}  // namespace sluice::gateways
