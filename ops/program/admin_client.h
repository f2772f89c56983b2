#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "ops/program/command.h"

namespace sluice::ops {

// The admin endpoint as the commands use it. Not thread-safe.
class AdminClient {
 public:
  // Signs a token with the development key where `connection` has none.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AdminClient>> Create(
      const Connection& connection);
  ~AdminClient();

  struct Request {
    std::string method = "GET";
    std::string path{};
    std::string body{};
    std::string content_type = "application/json";
    std::vector<std::pair<std::string, std::string>> headers{};
  };
  struct Response {
    int status = 0;
    std::string body;
    std::string etag;
  };

  // A problem document becomes an error with its code and detail, kUnavailable or
  // kResourceExhausted where it is worth to ask again; a server that does not answer kUnavailable
  // with what to do.
  [[nodiscard]] absl::StatusOr<Response> Send(const Request& request);
  // Whether anything was ever answered, errors too.
  [[nodiscard]] bool was_answered() const;
  // How long the server asked to wait, in an error that was its last answer; 0 where it did not.
  [[nodiscard]] std::chrono::seconds retry_after() const;

 private:
  struct Impl;
  explicit AdminClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// `text` as one segment of a path: everything but unreserved characters percent-encoded.
[[nodiscard]] std::string PathSegment(std::string_view text);

}  // namespace sluice::ops
