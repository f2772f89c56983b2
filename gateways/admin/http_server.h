#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace prometheus {
class Registry;
}

// HTTP/1.1 as the admin gateway needs it. cpp-httplib parses and writes messages; connections,
// threads and their limits are ours. The library's header appears in http_server.cc and
// socket_stream.h alone.
namespace sluice::gateways {

// A request, valid while its handler runs, on the handler's thread.
class HttpRequest {
 public:
  virtual ~HttpRequest() = default;
  virtual std::string_view method() const = 0;
  virtual std::string_view path() const = 0;               // percent-decoded, without the query
  virtual std::string Header(const char* name) const = 0;  // the first value, or empty
  virtual std::optional<std::string> Query(const char* name) const = 0;
  // Hands the body to `sink` piece by piece, decompressed, as it arrives; false from the sink ends
  // reading. Code "too_large" past the server's limit, "invalid_argument" for a body that ended
  // early or can't be understood, "unsupported_media_type" for multipart forms.
  virtual absl::Status ReadBody(absl::FunctionRef<bool(std::string_view)> sink) = 0;
  // The whole body, at most `bytes_max`; code "too_large" past it.
  [[nodiscard]] absl::StatusOr<std::string> ReadWholeBody(size_t bytes_max);
  // The server stops: what only waits shall end.
  virtual bool stopping() const = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;                                     // 0: a free one
  size_t connections_max = 512;                     // a thread each; more get 503 and are closed
  size_t body_bytes_max = size_t{1} << 30;          // after decompression
  std::chrono::milliseconds idle_timeout{60'000};   // a connection without a request
  std::chrono::milliseconds read_timeout{30'000};   // silence in the middle of a request
  std::chrono::milliseconds write_timeout{30'000};  // a client that does not take its answer
  std::chrono::milliseconds stop_grace{10'000};     // for requests under way when stopping
  std::shared_ptr<prometheus::Registry> registry;
};

class HttpServer {
 public:
  // Called on many threads at once.
  using Handler = std::function<void(HttpRequest&, HttpResponse&)>;

  HttpServer(HttpServerOptions options, Handler handler);
  ~HttpServer();

  // Binds and serves. Returns the port. kUnavailable, code "address_in_use", where it can't listen.
  [[nodiscard]] absl::StatusOr<int> Start();
  // Takes no more requests, finishes those under way within the grace, then cuts them.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
