#include "gateways/http/content_coding.h"

#include <brotli/encode.h>
#include <gtest/gtest.h>

#include <functional>

#include "gateways/http/byte_budget.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

bool Always(size_t) { return true; }

absl::StatusOr<std::string> Decode(const std::string& encoding, const std::string& text,
                                   size_t piece) {
  ASSIGN_OR_RETURN(const auto decoder, ContentDecoder::For(encoding, Always));
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

std::string Brotli(const std::string& text, int window = BROTLI_DEFAULT_WINDOW) {
  std::string out(text.size() + 1024, '\0');
  size_t size = out.size();
  EXPECT_TRUE(BrotliEncoderCompress(5, window, BROTLI_MODE_GENERIC, text.size(),
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
  EXPECT_EQ(ErrorCode(ContentDecoder::For("zstd", Always).status()), "unsupported_media_type");
}

TEST(ContentCodingTest, ASinkThatHasEnoughEndsABomb) {
  std::string large;
  large.resize(50'000'000, 'x');
  const std::string bomb = Gzip(large);
  const auto decoder = *ContentDecoder::For("gzip", Always);
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

// A few bytes say that a window of 16 MiB is needed, and keep it for as long as no more come.
TEST(ContentCodingTest, MemoryIsAskedForBeforeItIsTaken) {
  const std::string blanks(size_t{40} << 20, ' ');
  const std::string bomb = Brotli(blanks, BROTLI_MAX_WINDOW_BITS);
  ASSERT_LT(bomb.size(), 100U);
  const auto drop = [](std::string_view) { return true; };
  for (const std::string& encoding : {std::string("br"), std::string("gzip")}) {
    ByteBudget budget(size_t{64} << 20, "x", "x", "x", nullptr);
    const std::string cut = encoding == "br" ? bomb.substr(0, bomb.size() - 2)
                                             : Gzip(blanks).substr(0, size_t{10} << 10);
    {
      const auto decoder =
          *ContentDecoder::For(encoding, HoldBy(budget, {.name = "a", .caller = {}}));
      EXPECT_TRUE(decoder->Feed(cut, drop).ok());
      EXPECT_GT(budget.held(), encoding == "br" ? size_t{16} << 20 : size_t{32} << 10);
    }
    EXPECT_EQ(budget.held(), 0U);
    ByteBudget small(size_t{16} << 10, "x", "x", "x", nullptr);
    const auto decoder = *ContentDecoder::For(encoding, HoldBy(small, {.name = "a", .caller = {}}));
    EXPECT_EQ(ErrorCode(decoder->Feed(cut, drop)), "too_busy");
  }
}

TEST(ByteBudgetTest, HoldsAreGivenBack) {
  ByteBudget budget(100, "x", "x", "x", nullptr);
  {
    ByteHold first(budget, {.name = "a", .caller = {}});
    EXPECT_TRUE(first.TryHold(60));
    ByteHold second(budget, {.name = "b", .caller = {}});
    EXPECT_FALSE(second.TryHold(41));
    EXPECT_TRUE(second.TryHold(40));
    first.Set(10);
    EXPECT_TRUE(second.TryHold(90));
    ByteHold moved = std::move(second);
    EXPECT_EQ(budget.held(), 100U);
    second = std::move(moved);
  }
  EXPECT_EQ(budget.held(), 0U);
  EXPECT_FALSE(budget.TryAcquire({.name = "a", .caller = {}}, 0, 101));
}

}  // namespace
}  // namespace sluice::gateways
