#include "gateways/admin/http_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <netinet/tcp.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gateways/admin/connection_threads.h"
#include "gateways/admin/socket_stream.h"
#include "gateways/problem.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kPathBytesMax = 1024;  // our longest paths are half of it; also bounds std::regex
constexpr int kBacklog = 1024;

// What is known of the request that this thread serves.
struct Exchange {
  bool parsed = false;  // otherwise the connection can't be understood any further
  bool close = false;   // part of the body is unread
};
thread_local Exchange exchange;

class LibRequest final : public HttpRequest {
 public:
  LibRequest(const httplib::Request& request, const httplib::Response& response,
             const httplib::ContentReader* reader, size_t body_bytes_max,
             const std::atomic<bool>& stopping)
      : request_(request),
        response_(response),
        reader_(reader),
        body_bytes_max_(body_bytes_max),
        stopping_(stopping) {
    exchange.close = HasBody();
  }

  std::string_view method() const override { return request_.method; }
  std::string_view path() const override { return request_.path; }
  std::string Header(const char* name) const override { return request_.get_header_value(name); }
  std::optional<std::string> Query(const char* name) const override {
    const auto found = request_.params.find(name);
    return found == request_.params.end() ? std::nullopt : std::make_optional(found->second);
  }
  bool stopping() const override { return stopping_.load(std::memory_order_relaxed); }
  absl::Status ReadBody(absl::FunctionRef<bool(std::string_view)> sink) override;
  // Reads and drops a small body that the handler did not want, so that the connection can stay.
  void DropSmallBody();

 private:
  bool HasBody() const {
    return request_.has_header("Transfer-Encoding") ||
           (request_.has_header("Content-Length") && Header("Content-Length") != "0");
  }
  // One way to tell the body's length, and a number: what proxies and we could read differently is
  // not taken.
  absl::Status CheckFraming() const;

  const httplib::Request& request_;
  const httplib::Response& response_;
  const httplib::ContentReader* reader_;
  const size_t body_bytes_max_;
  const std::atomic<bool>& stopping_;
  bool touched_ = false;
};

void LibRequest::DropSmallBody() {
  constexpr size_t kSmall = 64 << 10;
  const std::string length = Header("Content-Length");
  if (!touched_ && exchange.close && reader_ != nullptr && !length.empty() && length.size() <= 5 &&
      CheckFraming().ok() && std::stoull(length) <= kSmall) {
    (void)ReadBody([](std::string_view) { return true; });
  }
}

absl::Status LibRequest::CheckFraming() const {
  const std::string length = Header("Content-Length");
  const std::string coding = Header("Transfer-Encoding");
  const bool number = length.size() <= 18 &&
                      std::ranges::all_of(length, [](char c) { return c >= '0' && c <= '9'; });
  if (request_.get_header_value_count("Content-Length") > 1 ||
      request_.get_header_value_count("Transfer-Encoding") > 1 ||
      (!length.empty() && !coding.empty()) || !number || (!coding.empty() && coding != "chunked")) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 "the request needs one Content-Length, or Transfer-Encoding: chunked");
  }
  if (Header("Content-Type").starts_with("multipart/")) {
    return Error(absl::StatusCode::kInvalidArgument, "unsupported_media_type",
                 "multipart bodies are not taken; send the JSON itself");
  }
  if (!length.empty() && std::stoull(length) > body_bytes_max_ &&
      Header("Content-Encoding").empty()) {
    return Error(
        absl::StatusCode::kInvalidArgument, "too_large",
        fmt::format("the body has {} bytes, at most {} are taken", length, body_bytes_max_));
  }
  return absl::OkStatus();
}

absl::Status LibRequest::ReadBody(absl::FunctionRef<bool(std::string_view)> sink) {
  if (!HasBody()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckFraming());
  if (reader_ == nullptr) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 fmt::format("a {} request has no body", request_.method));
  }
  touched_ = true;
  size_t total = 0;
  bool ended = false;
  const bool whole = (*reader_)([&](const char* data, size_t size) {
    total += size;
    ended = total > body_bytes_max_ || !sink(std::string_view(data, size));
    return !ended;
  });
  exchange.close = !whole;
  if (whole || (ended && total <= body_bytes_max_)) {
    return absl::OkStatus();
  }
  if (ended) {
    return Error(absl::StatusCode::kInvalidArgument, "too_large",
                 fmt::format("the body has more than {} bytes", body_bytes_max_));
  }
  if (response_.status == 415) {
    return Error(absl::StatusCode::kInvalidArgument, "unsupported_media_type",
                 "Content-Encoding is gzip, deflate, br or none");
  }
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
               "the body ended before its announced length, or its encoding is damaged");
}

void WriteProblem(const absl::Status& status, httplib::Response& response) {
  response.status = HttpStatusOf(status);
  response.set_content(ProblemJson(status), kProblemContentType);
}

// httplib says it by itself where the request asked for it.
void SayClose(const httplib::Request& request, httplib::Response& response) {
  if (request.get_header_value("Connection") != "close") {
    response.set_header("Connection", "close");
  }
}

// Answers that httplib gives by itself have no body.
absl::Status LibraryError(int http_status) {
  switch (http_status) {
    case 413:
      return Error(absl::StatusCode::kInvalidArgument, "too_large", "the body is too large");
    case 415:
      return Error(absl::StatusCode::kInvalidArgument, "unsupported_media_type",
                   "the body's encoding is not known");
    case 500:
      return absl::InternalError("a handler failed");
    default:
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                   "the request line or a header can't be understood or is too long");
  }
}

// httplib would honour these on every answer: ranges cut JSON in pieces, and Brotli at its slowest
// setting costs more than any answer is worth.
void DropUnwanted(httplib::Request& request) {
  request.ranges.clear();
  const bool gzip = request.get_header_value("Accept-Encoding").find("gzip") != std::string::npos;
  request.headers.erase("Accept-Encoding");
  if (gzip) {
    request.headers.emplace("Accept-Encoding", "gzip");
  }
}

}  // namespace

absl::StatusOr<std::string> HttpRequest::ReadWholeBody(size_t bytes_max) {
  std::string body;
  RETURN_IF_ERROR(ReadBody([&](std::string_view piece) {
    body.append(piece.substr(0, bytes_max + 1 - body.size()));
    return body.size() <= bytes_max;
  }));
  if (body.size() > bytes_max) {
    return Error(absl::StatusCode::kInvalidArgument, "too_large",
                 fmt::format("the body has more than {} bytes", bytes_max));
  }
  return body;
}

struct HttpServer::Impl final : public httplib::Server {
  Impl(HttpServerOptions the_options, HttpServer::Handler the_handler);
  bool process_and_close_socket(socket_t fd) override;
  void Serve(const httplib::Request& request, httplib::Response& response,
             const httplib::ContentReader* reader);
  void ServeConnection(int fd);
  void Refuse(int fd);
  HandlerResponse Route(const httplib::Request& request, httplib::Response& response);
  int listen_fd() const { return svr_sock_; }

  const HttpServerOptions options;
  const HttpServer::Handler serve;
  std::atomic<bool> stopping = false;
  std::thread listener;
  prometheus::Gauge* connections = nullptr;
  prometheus::Counter* refused = nullptr;

  absl::Mutex mutex;
  std::map<int, bool> open ABSL_GUARDED_BY(mutex);  // descriptor -> a request is under way
};

HttpServer::Impl::Impl(HttpServerOptions the_options, HttpServer::Handler the_handler)
    : options(std::move(the_options)), serve(std::move(the_handler)) {
  if (options.registry != nullptr) {
    connections = &prometheus::BuildGauge()
                       .Name("sluice_admin_connections")
                       .Help("Open connections of the admin listener")
                       .Register(*options.registry)
                       .Add({});
    prometheus::BuildGauge()
        .Name("sluice_admin_connections_limit")
        .Help("Connections that the admin listener serves at once")
        .Register(*options.registry)
        .Add({})
        .Set(static_cast<double>(options.connections_max));
    refused = &prometheus::BuildCounter()
                   .Name("sluice_admin_connections_refused_total")
                   .Help("Connections turned away because the limit was reached")
                   .Register(*options.registry)
                   .Add({});
  }
  new_task_queue = [this] { return new ConnectionThreads(options.connections_max); };
  set_payload_max_length(std::numeric_limits<size_t>::max());  // ReadBody counts
  // Not httplib's SO_REUSEPORT, with which a second process would share the port unnoticed.
  set_socket_options([](socket_t fd) {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return Route(request, response);
  });
  const auto with_body = [this](const httplib::Request& request, httplib::Response& response,
                                const httplib::ContentReader& reader) {
    Serve(request, response, &reader);
  };
  const std::string anything = "[\\s\\S]*";
  Post(anything, with_body);
  Put(anything, with_body);
  Patch(anything, with_body);
  Delete(anything, with_body);
  set_error_handler([](const httplib::Request& request, httplib::Response& response) {
    if (response.body.empty() && request.method != "HEAD") {
      WriteProblem(LibraryError(response.status), response);
    }
    if (!exchange.parsed) {
      SayClose(request, response);
    }
  });
  set_exception_handler(
      [](const httplib::Request& request, httplib::Response& response, std::exception_ptr) {
        spdlog::error("http_handler_failed method={}", request.method);
        WriteProblem(absl::InternalError("exception"), response);
      });
}

httplib::Server::HandlerResponse HttpServer::Impl::Route(const httplib::Request& request,
                                                         httplib::Response& response) {
  exchange.parsed = true;
  if (request.path.size() > kPathBytesMax) {
    exchange.close = true;
    SayClose(request, response);
    WriteProblem(LibraryError(400), response);
    return HandlerResponse::Handled;
  }
  const bool may_have_body = request.method == "POST" || request.method == "PUT" ||
                             request.method == "PATCH" || request.method == "DELETE";
  if (may_have_body) {
    return HandlerResponse::Unhandled;  // comes back through the handlers with a reader
  }
  Serve(request, response, nullptr);
  return HandlerResponse::Handled;
}

void HttpServer::Impl::Serve(const httplib::Request& request, httplib::Response& response,
                             const httplib::ContentReader* reader) {
  LibRequest the_request(request, response, reader, options.body_bytes_max, stopping);
  HttpResponse answer;
  serve(the_request, answer);
  the_request.DropSmallBody();
  response.status = answer.status;
  for (auto& [name, value] : answer.headers) {
    response.set_header(name, value);
  }
  if (exchange.close) {
    SayClose(request, response);
  }
  if (answer.status != 204 && answer.status != 304) {
    response.body = std::move(answer.body);
    response.set_header("Content-Type", answer.content_type);
  }
}

void HttpServer::Impl::Refuse(int fd) {
  const absl::Status status = Error(
      absl::StatusCode::kUnavailable, "unavailable",
      fmt::format("{} connections are open, and no more are served", options.connections_max));
  const std::string body = ProblemJson(status);
  const std::string answer = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
      "Retry-After: {}\r\nConnection: close\r\n\r\n{}",
      kProblemContentType, body.size(), RetryAfterSeconds(status).value_or(1), body);
  // Never waits: this is the accepting thread.
  (void)::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (refused != nullptr) {
    refused->Increment();
  }
}

void HttpServer::Impl::ServeConnection(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const auto stream =
      std::make_unique<SocketStream>(fd, options.read_timeout, options.write_timeout);
  while (!stopping && stream->WaitForData(options.idle_timeout)) {
    {
      absl::MutexLock lock(&mutex);
      open[fd] = true;
    }
    exchange = Exchange();
    bool closed = false;
    const bool answered = process_request(*stream, stopping, closed, DropUnwanted);
    const bool sent = stream->Flush();
    {
      absl::MutexLock lock(&mutex);
      open[fd] = false;
    }
    if (answered && sent && (exchange.close || !exchange.parsed)) {
      stream->Linger();
      return;
    }
    if (!answered || !sent || closed) {
      return;
    }
  }
}

bool HttpServer::Impl::process_and_close_socket(socket_t fd) {
  if (ConnectionThreads::Refusing()) {
    Refuse(fd);
  } else {
    {
      absl::MutexLock lock(&mutex);
      open[fd] = false;
    }
    if (connections != nullptr) {
      connections->Increment();
    }
    ServeConnection(fd);
    if (connections != nullptr) {
      connections->Decrement();
    }
    absl::MutexLock lock(&mutex);
    open.erase(fd);
  }
  ::shutdown(fd, SHUT_RDWR);
  ::close(fd);
  return true;
}

HttpServer::HttpServer(HttpServerOptions options, Handler handler)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler))) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<int> HttpServer::Start() {
  int port = impl_->options.port;
  const bool bound = port == 0 ? (port = impl_->bind_to_any_port(impl_->options.host)) > 0
                               : impl_->bind_to_port(impl_->options.host, port);
  if (!bound) {
    return Error(absl::StatusCode::kUnavailable, "address_in_use",
                 fmt::format("can't listen on {}:{} ({}); is another process there? Choose another "
                             "address or port 0",
                             impl_->options.host, impl_->options.port, std::strerror(errno)));
  }
  // httplib's backlog is 5: clients that connect together would wait for a second SYN.
  ::listen(impl_->listen_fd(), kBacklog);
  impl_->listener = std::thread([this] { impl_->listen_after_bind(); });
  while (!impl_->is_running()) {
    std::this_thread::yield();
  }
  return port;
}

void HttpServer::Stop() {
  if (!impl_->listener.joinable()) {
    return;
  }
  impl_->stopping = true;
  impl_->stop();
  const auto deadline = std::chrono::steady_clock::now() + impl_->options.stop_grace;
  bool cut = false;
  while (true) {
    absl::MutexLock lock(&impl_->mutex);
    for (const auto& [fd, busy] : impl_->open) {
      if (!busy || cut) {
        ::shutdown(fd, cut ? SHUT_RDWR : SHUT_RD);
      }
    }
    const auto all_closed = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return impl_->open.empty(); };
    if (impl_->mutex.AwaitWithTimeout(absl::Condition(&all_closed), absl::Milliseconds(50)) ||
        cut) {
      break;
    }
    cut = std::chrono::steady_clock::now() >= deadline;
  }
  impl_->listener.join();
}

}  // namespace sluice::gateways
