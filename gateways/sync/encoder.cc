#include "gateways/sync/encoder.h"

#include "gateways/sync/json_encoder.h"

namespace sluice::gateways {

const FrameEncoder& EncoderFor(FrameFormat format) {
  switch (format) {
    case FrameFormat::kSse:
      return JsonFrames::Sse();
    case FrameFormat::kNdjson:
      break;
  }
  return JsonFrames::Ndjson();
}

}  // namespace sluice::gateways
