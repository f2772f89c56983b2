#include "gateways/sync/accept.h"

#include "gateways/http/negotiation.h"

namespace sluice::gateways {

std::optional<FrameFormat> FormatFor(std::string_view accept) {
  if (accept.find_first_not_of(" \t") == std::string_view::npos) {
    return FrameFormat::kNdjson;
  }
  const std::optional<size_t> wanted =
      MostWanted({"application/x-ndjson", "text/event-stream"}, accept);
  if (!wanted.has_value()) {
    return std::nullopt;
  }
  return *wanted == 0 ? FrameFormat::kNdjson : FrameFormat::kSse;
}

}  // namespace sluice::gateways
