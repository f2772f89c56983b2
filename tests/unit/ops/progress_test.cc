#include "ops/program/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>

#include "schemas/base/printable.h"

namespace sluice::ops {
namespace {

using ::testing::HasSubstr;

TEST(ProgressLineTest, FitsTheTerminal) {
  for (const size_t columns : {10, 20, 40, 79, 80, 81, 200}) {
    for (const char* note : {"", "1234567 rows", "999999999 of 999999999 rows, 1023.9 GiB",
                             "a-name-of-an-organisation-that-has-as-many-letters-as-a-label-may"}) {
      for (const double share : {-1.0, 0.0, 0.333, 1.0, 7.0}) {
        const std::string line =
            ProgressLine("ingest", share, note, std::chrono::hours(90), columns);
        EXPECT_LT(DisplayWidth(line), columns) << line;
      }
    }
  }
}

TEST(ProgressLineTest, ShowsBarShareNoteAndTime) {
  EXPECT_EQ(ProgressLine("ingest", 0.5, "5 rows", std::chrono::seconds(12), 80),
            "ingest  [===============               ]  50%  5 rows  12 s left");
  EXPECT_EQ(ProgressLine("ingest", -1, "5 rows", std::chrono::seconds(12), 80), "ingest  5 rows");
  EXPECT_THAT(ProgressLine("v", 0.5, "", std::chrono::minutes(5), 80), HasSubstr("5 min left"));
  EXPECT_THAT(ProgressLine("v", 0.5, "", std::chrono::hours(5), 80), HasSubstr("5 h left"));
}

TEST(ProgressLineTest, ANoteMovesNoCursor) {
  EXPECT_EQ(ProgressLine("v", -1, "a\033[2J", std::chrono::seconds(0), 80), "v  a\\u001b[2J");
}

class ScreenTest : public ::testing::Test {
 protected:
  std::string Written() {
    std::fflush(file_.get());
    std::rewind(file_.get());
    std::string text(4096, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file_.get()));
    return text;
  }
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_{std::tmpfile()};
};

TEST_F(ScreenTest, AMessageStandsAboveTheBarAndTheBarAfterIt) {
  Screen screen(file_.get(), true);
  EXPECT_EQ(screen.columns(), 80);
  screen.Draw("50%");
  screen.Say("line 7 is refused\033[31m");
  screen.Draw("");
  EXPECT_EQ(Written(), "\r\033[K50%\r\033[Kline 7 is refused\\u001b[31m\n50%\r\033[K");
}

TEST_F(ScreenTest, WithoutATerminalOnlyMessagesAreWritten) {
  Screen screen(file_.get(), false);
  screen.Draw("50%");
  screen.Say("done");
  EXPECT_EQ(Written(), "done\n");
}

TEST_F(ScreenTest, AnEntryOfTheLogIsOneLineWhateverItSays) {
  const auto screen = std::make_shared<Screen>(file_.get(), true);
  spdlog::logger logger("test", LogTo(screen));
  logger.set_pattern("level=%l %v");
  screen->Draw("50%");
  logger.warn("odd name=\"a\nlevel=error forged\"");
  EXPECT_EQ(Written(),
            "\r\033[K50%\r\033[Klevel=warning odd name=\"a\\u000alevel=error forged\"\n50%");
}

}  // namespace
}  // namespace sluice::ops
