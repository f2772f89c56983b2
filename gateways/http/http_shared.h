#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string_view>

#include "gateways/http/byte_budget.h"

namespace sluice::gateways {

struct HttpLimits {
  size_t head_bytes_max = size_t{32} << 10;
  std::string_view large_head_code = "invalid_argument";  // of the answer to a head past it
  std::chrono::milliseconds idle_timeout{60'000};         // until a request's first byte
  std::chrono::milliseconds head_timeout{10'000};         // from it to the head's last
  std::chrono::milliseconds body_timeout{30'000};         // silence in the middle of a body
  size_t body_rate_min = size_t{4} << 10;  // bytes a second; closed when body_timeout behind
  std::chrono::milliseconds write_timeout{30'000};    // for 64 KiB to be taken by the client
  std::chrono::milliseconds stranger_timeout{5'000};  // for a whole answer to nobody known
};

// What the connections of one listener share.
struct HttpShared {
  HttpLimits limits;
  ByteBudget& request_bytes;
  ByteBudget& answer_bytes;
  std::function<void(size_t)> on_sent;  // bytes given to a socket; may be empty
  std::atomic<bool> stopping{false};
};

}  // namespace sluice::gateways
