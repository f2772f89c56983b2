#include "gateways/sync/accept.h"

#include <algorithm>

#include "gateways/http/negotiation.h"

namespace sluice::gateways {

std::optional<FrameFormat> FormatFor(std::string_view accept) {
  if (accept.find_first_not_of(" \t") == std::string_view::npos) {
    return FrameFormat::kNdjson;
  }
  const int ndjson = WeightOf("application/x-ndjson", accept);
  const int sse = WeightOf("text/event-stream", accept);
  if (std::max(ndjson, sse) == 0) {
    return std::nullopt;
  }
  return sse > ndjson ? FrameFormat::kSse : FrameFormat::kNdjson;
}

}  // namespace sluice::gateways
