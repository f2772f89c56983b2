#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/http/http_types.h"

namespace sluice::gateways {

// Undoes a body's Content-Encoding, piece by piece; memory does not grow with the body. Used by
// one thread at a time.
class ContentDecoder {
 public:
  // False ends the decoding: what follows is not wanted.
  using Sink = absl::FunctionRef<bool(std::string_view)>;

  // Asked before a decoder takes memory, and told when it gives some back: may it hold so many
  // bytes in all? A few bytes of a body decide on up to 24 MiB of it.
  using MayHold = std::function<bool(size_t bytes)>;

  // For "", identity, gzip, x-gzip, deflate and br. Code "unsupported_media_type" for all others,
  // kUnavailable "too_busy" where there is no memory. `may_hold` is kept.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ContentDecoder>> For(
      std::string_view encoding, MayHold may_hold);

  virtual ~ContentDecoder() = default;
  // kInvalidArgument, code "invalid_argument", where the bytes are damaged; kUnavailable "too_busy"
  // where it may hold no more memory.
  [[nodiscard]] virtual absl::Status Feed(std::string_view bytes, Sink sink) = 0;
  // The body has ended. kInvalidArgument where its encoding has not.
  [[nodiscard]] virtual absl::Status Finish() = 0;
};

// `text` as gzip, at the speed that suits an answer.
[[nodiscard]] std::string Gzip(std::string_view text);

// An answer that is large enough to gain from it: as gzip, where the request with `head` takes that
// as gladly as none, and with Vary in any case.
void Compress(const HttpHead& head, HttpResponse& response);

}  // namespace sluice::gateways
