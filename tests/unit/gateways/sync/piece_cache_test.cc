#include "gateways/sync/piece_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace sluice::gateways {
namespace {

constexpr size_t kBytesMax = size_t{64} << 10;

class PieceCacheTest : public ::testing::Test {
 protected:
  static PieceKey Key(int64_t number) { return {.from = {Offset(number), 0}}; }
  static Piece Of(std::string ops) {
    return {.ops = std::make_shared<const std::string>(std::move(ops)), .count = 1, .passed = 7};
  }
  void Keep(int64_t number, size_t bytes) {
    for (int i = 0; i < 2; ++i) {
      pieces_.Keep(Key(number), Of(std::string(bytes, static_cast<char>('a' + number % 26))));
    }
  }
  bool Has(int64_t number) { return pieces_.Find(Key(number)).has_value(); }

  size_t bytes_ = 0;
  size_t evicted_ = 0;
  std::atomic<size_t> hits_ = 0;
  std::atomic<size_t> misses_ = 0;
  PieceCache pieces_{{.bytes_max = kBytesMax,
                      .on_find = [this](bool hit) { ++(hit ? hits_ : misses_); },
                      .on_change =
                          [this](size_t bytes, size_t evicted) {
                            bytes_ = bytes;
                            evicted_ += evicted;
                          }}};
};

// Most are one session's alone.
TEST_F(PieceCacheTest, APieceIsKeptOnceItWasMadeTwice) {
  EXPECT_FALSE(Has(1));
  pieces_.Keep(Key(1), Of("a"));
  EXPECT_FALSE(Has(1));
  pieces_.Keep(Key(1), Of("a"));
  const std::optional<Piece> found = pieces_.Find(Key(1));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(*found->ops, "a");
  EXPECT_EQ(found->count, 1U);
  EXPECT_EQ(found->passed, 0U);  // nothing was read for it now
  EXPECT_EQ(hits_, 1U);
  EXPECT_EQ(misses_, 2U);
}

TEST_F(PieceCacheTest, TheLeastRecentlyUsedMakeRoom) {
  for (int64_t i = 0; i < 10; ++i) {
    Keep(i, 5'000);
  }
  EXPECT_EQ(evicted_, 0U);
  EXPECT_TRUE(Has(0));
  const std::shared_ptr<const std::string> held = pieces_.Find(Key(1))->ops;
  for (int64_t i = 2; i < 10; ++i) {
    EXPECT_TRUE(Has(i));
  }
  EXPECT_TRUE(Has(0));
  for (int64_t i = 10; i < 20; ++i) {
    Keep(i, 5'000);
    EXPECT_TRUE(Has(0));  // used again and again
    EXPECT_TRUE(Has(i));
    EXPECT_LE(bytes_, kBytesMax);
  }
  EXPECT_FALSE(Has(1));
  EXPECT_EQ(*held, std::string(5'000, 'b'));  // who has it keeps it
  EXPECT_GE(evicted_, 8U);
}

TEST_F(PieceCacheTest, WhatWouldTakeAnEighthIsNotKept) {
  Keep(1, kBytesMax / 8);
  EXPECT_FALSE(Has(1));
  Keep(2, kBytesMax / 8 - 1'000);
  EXPECT_TRUE(Has(2));
}

// Small ones are not free.
TEST_F(PieceCacheTest, VeryManySmallOnesAreBounded) {
  for (int64_t i = 0; i < 10'000; ++i) {
    Keep(i, 0);
  }
  EXPECT_GT(evicted_, 9'800U);
}

// Sessions that make the same at once, and use it while others push it out.
TEST_F(PieceCacheTest, ManyMakersAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<bool> wrong = false;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 5'000; ++i) {
        const int64_t number = (i + thread) % 23;
        const std::string text(4'000, static_cast<char>('a' + number));
        if (const std::optional<Piece> found = pieces_.Find(Key(number)); found.has_value()) {
          wrong = wrong || *found->ops != text;
        } else {
          pieces_.Keep(Key(number), Of(text));
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_FALSE(wrong);
  EXPECT_GT(hits_, 0U);
  EXPECT_LE(bytes_, kBytesMax);
}

}  // namespace
}  // namespace sluice::gateways
