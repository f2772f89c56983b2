#include <absl/strings/escaping.h>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateways/sync/cursor.h"
#include "gateways/sync/sync_request.h"

// What clients hand in: cursors, request targets and stream bodies. Nothing may crash, and a cursor
// that is accepted is one that we would have written.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::gateways;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const CursorCodec codec("log", "secret");
  for (const std::string& text :
       {std::string(input), absl::WebSafeBase64Escape(absl::string_view(input.data(), size))}) {
    const auto cursor = codec.Decode("org", text);
    if (cursor.ok() && codec.Encode("org", *cursor) != text) {
      std::abort();
    }
  }
  const Target target = ParseTarget(input);
  if (ParseTarget(FreshStart(target)).route != target.route) {
    std::abort();
  }
  (void)ParseDeltaRequest(input);
  (void)ParseStreamRequest(input);
  return 0;
}
