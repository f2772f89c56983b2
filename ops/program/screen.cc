#include "ops/program/screen.h"

#include <spdlog/sinks/base_sink.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "schemas/base/printable.h"

namespace sluice::ops {
namespace {

constexpr size_t kUsualColumns = 80;
constexpr std::string_view kClearLine = "\r\033[K";

class ScreenSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit ScreenSink(std::shared_ptr<Screen> screen) : screen_(std::move(screen)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    std::string_view line(text.data(), text.size());
    line.remove_suffix(line.ends_with('\n') ? 1 : 0);
    screen_->Say(line);
  }
  void flush_() override {}

  std::shared_ptr<Screen> screen_;
};

}  // namespace

Screen::Screen() : Screen(stderr, isatty(STDERR_FILENO) == 1) {}

Screen::Screen(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}

Screen::~Screen() { Draw(""); }

// Each call is one write, so that other processes on the terminal do not come in between.
void Screen::Say(std::string_view message) {
  const std::lock_guard lock(mutex_);
  std::string text(drawn_.empty() ? "" : kClearLine);
  text += Printable(message);
  text += '\n';
  text += drawn_;
  std::fwrite(text.data(), 1, text.size(), out_);
  std::fflush(out_);
}

void Screen::Draw(std::string line) {
  const std::lock_guard lock(mutex_);
  if (!terminal_ || (line.empty() && drawn_.empty())) {
    return;
  }
  drawn_ = std::move(line);
  std::string text(kClearLine);
  text += drawn_;
  std::fwrite(text.data(), 1, text.size(), out_);
  std::fflush(out_);
}

size_t Screen::columns() const {
  winsize size{};
  if (ioctl(fileno(out_), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return kUsualColumns;
  }
  return size.ws_col;
}

std::shared_ptr<spdlog::sinks::sink> LogTo(std::shared_ptr<Screen> screen) {
  return std::make_shared<ScreenSink>(std::move(screen));
}

}  // namespace sluice::ops
