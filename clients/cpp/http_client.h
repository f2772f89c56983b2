#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// HTTP as the puller needs it, by libcurl: answers that are read as they come, bounded in all that
// is no body, and ended from another thread.
namespace sluice::client {

// Counts what is read of an answer and is no body: the status line, header lines, the sizes of
// chunks and what stands beside them. Used by the thread that sends the request.
class HeadLimit {
 public:
  static constexpr size_t kBytesMax = 64 << 10;

  // A request was sent; its answer's head has to be whole within `head_max`.
  void Begin(std::chrono::milliseconds head_max);
  // The head is whole.
  void HeadDone();
  // A part of the body was handed on, so that none of what was read is kept.
  void BodyCame() { bytes_ = 0; }
  // False once there is too much, or the head takes too long: nothing more is to be read.
  [[nodiscard]] bool Take(size_t bytes);
  // When a head that is not whole has taken too long; nullopt where none is awaited.
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> deadline() const {
    return in_head_ ? std::optional(deadline_) : std::nullopt;
  }
  // What is said where kBytesMax is passed.
  static std::string TooMuch();
  // Why nothing more was read; empty where that was not the reason.
  const std::string& exceeded() const { return exceeded_; }

 private:
  size_t bytes_ = 0;  // since the request, its head, or the last part of the body
  bool in_head_ = true;
  std::chrono::milliseconds head_max_{0};
  std::chrono::steady_clock::time_point deadline_;
  std::string exceeded_;
};

struct HttpRequest {
  std::string path;
  std::vector<std::string> headers;  // "Name: value"
  std::string body;                  // empty: a GET, otherwise a POST
};

struct HttpHead {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case

  // Of the first header of that name; empty where there is none.
  [[nodiscard]] std::string_view Header(std::string_view lower_name) const;
};

struct HttpClientOptions {
  std::string ca_file;  // whom to trust with https; empty: the system's authorities
  std::chrono::milliseconds connect_max{20'000};  // for name, connection and TLS together
  // Between two parts of what is sent and answered, and until the whole head has come.
  std::chrono::milliseconds silence_max{60'000};
};

// A client for one server. Each request has a connection of its own: one that has slept on a
// phone's network is often dead, and only a time-out tells. One request at a time; Cancel() from
// any thread.
class HttpClient {
 public:
  // For `base`, scheme://host[:port], http or https. nullptr where that is no such URL.
  static std::shared_ptr<HttpClient> Make(const std::string& base,
                                          const HttpClientOptions& options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Both return false where no more is to come; what the request then comes to is kUnavailable.
  using OnHead = std::function<bool(const HttpHead&)>;
  using OnBody = std::function<bool(std::string_view)>;
  // Calls `on_head` once, as soon as the answer's head is whole, then `on_body` with the parts of
  // its body. OK where the answer came to its end, whatever its status; kUnavailable with the
  // reason where it did not. Redirects are answers. What the two throw is thrown on.
  [[nodiscard]] absl::Status Send(const HttpRequest& request, const OnHead& on_head,
                                  const OnBody& on_body);
  // Ends what runs soon, and all that follows at once.
  void Cancel();

 private:
  struct Exchange;
  struct Curl;

  HttpClient(std::string base, const HttpClientOptions& options);
  // libcurl's result, or why the request was ended.
  absl::StatusOr<int> Run(Exchange& exchange);

  const std::string base_;
  const HttpClientOptions options_;
  std::atomic<bool> cancelled_ = false;
  const std::unique_ptr<Curl> curl_;
};

}  // namespace sluice::client
