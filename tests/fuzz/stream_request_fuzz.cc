#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "gateways/sync/history_mark.h"
#include "gateways/sync/sync_request.h"

// The bodies of `stream` and `delta`. Nothing may crash, what is accepted is what the header says,
// because it goes into frames as it is, and no message shows what was not checked.

namespace {

using namespace sluice::gateways;

void Require(bool ok) {
  if (!ok) {
    std::abort();
  }
}

bool IsWord(std::string_view text, std::string_view others) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  for (const char c : text) {
    if (kLetters.find(c) == std::string_view::npos && others.find(c) == std::string_view::npos) {
      return false;
    }
  }
  return !text.empty() && text.size() <= 64;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (const auto request = ParseStreamRequest(input); request.ok()) {
    std::set<std::string> buckets;
    for (const StreamRequest::Have& have : request->have) {
      Require(IsWord(have.bucket, "_-") && have.after.value() >= 0);
      Require(buckets.insert(have.bucket).second);
    }
    Require(buckets.size() <= kHaveMax);
    Require(request->history.empty() || IsWord(request->history, "._-"));
    if (const auto mark = HistoryMark::Parse(request->history); mark.has_value()) {
      Require(mark->Text() == request->history);
    }
  }
  if (const auto request = ParseDeltaBody(input); request.ok()) {
    Require(request->limit >= 1 && request->limit <= kDeltaLimitMax);
    Require(request->wait.count() >= 0 && request->wait <= kDeltaWaitMax);
  }
  return 0;
}
