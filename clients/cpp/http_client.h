#pragma once

#include <httplib.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

// The HTTP library's client with what it lacks: bounds to what an answer has beside its body. The
// library keeps lines of any length and any number of them.
namespace sluice::client {

// Counts what is read of an answer and is no body: the status line, header lines, the sizes of
// chunks. Used by the thread that sends the request.
class HeadLimit {
 public:
  static constexpr size_t kBytesMax = 64 << 10;

  // A request begins; its answer's head has to be whole within `head_max`.
  void Begin(std::chrono::milliseconds head_max);
  // The head is whole.
  void HeadDone();
  // A part of the body was handed on, so that none of what was read is kept.
  void BodyCame() { bytes_ = 0; }
  // False once there is too much, or the head takes too long: nothing more is to be read.
  [[nodiscard]] bool Take(size_t bytes);
  // Why nothing more was read; empty where that was not the reason.
  const std::string& exceeded() const { return exceeded_; }

 private:
  size_t bytes_ = 0;  // since the request, its head, or the last part of the body
  bool in_head_ = true;
  std::chrono::milliseconds head_max_{0};
  std::chrono::steady_clock::time_point deadline_;
  std::string exceeded_;
};

// A client for one server, as httplib::Client is. One request at a time; stop() from any thread.
struct HttpClient {
  HeadLimit limit;
  std::unique_ptr<httplib::ClientImpl> http;
};

// For `base`, scheme://host[:port], http or https. nullptr where the library can't use it.
[[nodiscard]] std::shared_ptr<HttpClient> MakeHttpClient(const std::string& base);

}  // namespace sluice::client
