#include "clients/cpp/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <exception>
#include <mutex>

#include "absl/cleanup/cleanup.h"
#include "schemas/base/ascii.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

using Milliseconds = std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kTooLarge = 100;  // CURLE_TOO_LARGE, which came with 8.6

absl::Status Unavailable(std::string_view why) {
  return Error(absl::StatusCode::kUnavailable, "unavailable", why);
}

void InitialiseOnce() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

// scheme://host[:port] and nothing else, a port that can be one, an IPv6 address in brackets.
bool IsServer(const std::string& base) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url(curl_url(), &curl_url_cleanup);
  if (curl_url_set(url.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK) {
    return false;
  }
  const auto part = [&](CURLUPart which) -> std::optional<std::string> {
    char* text = nullptr;
    if (curl_url_get(url.get(), which, &text, 0) != CURLUE_OK) {
      return std::nullopt;
    }
    std::string copy(text);
    curl_free(text);
    return copy;
  };
  const auto scheme = part(CURLUPART_SCHEME);
  const auto host = part(CURLUPART_HOST);
  // The library takes a colon without a port.
  return (scheme == "http" || scheme == "https") && host.has_value() && !host->empty() &&
         part(CURLUPART_PORT) != "0" && !base.ends_with(':');
}

struct Headers {
  curl_slist* list = nullptr;

  ~Headers() { curl_slist_free_all(list); }
  // False for a line that would be two: what follows a line break would be the caller's header.
  bool Add(const std::string& line) {
    if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
      return false;
    }
    curl_slist* const longer = curl_slist_append(list, line.c_str());
    list = longer == nullptr ? list : longer;
    return longer != nullptr;
  }
};

}  // namespace

void HeadLimit::Begin(Milliseconds head_max) {
  bytes_ = 0;
  in_head_ = true;
  head_max_ = head_max;
  deadline_ = Clock::now() + head_max;
  exceeded_.clear();
}

void HeadLimit::HeadDone() {
  in_head_ = false;
  bytes_ = 0;
}

std::string HeadLimit::TooMuch() {
  return fmt::format("more than {} KiB came that are no part of a body", kBytesMax >> 10);
}

bool HeadLimit::Take(size_t bytes) {
  bytes_ += bytes;
  if (bytes_ > kBytesMax) {
    exceeded_ = TooMuch();
  } else if (in_head_ && Clock::now() > deadline_) {
    exceeded_ = fmt::format("the head of the answer was not whole after {} s",
                            std::chrono::duration_cast<std::chrono::seconds>(head_max_).count());
  }
  return exceeded_.empty();
}

std::string_view HttpHead::Header(std::string_view lower_name) const {
  const auto found = std::find_if(headers.begin(), headers.end(),
                                  [&](const auto& header) { return header.first == lower_name; });
  return found == headers.end() ? std::string_view() : found->second;
}

struct HttpClient::Curl {
  // A multi handle, though there is one request at a time: it can be woken by another thread, and
  // its waits end to the millisecond.
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi{curl_multi_init(),
                                                                    &curl_multi_cleanup};
};

// One request and its answer, as libcurl's callbacks see them.
struct HttpClient::Exchange {
  const OnHead& on_head;
  const OnBody& on_body;
  const Milliseconds silence_max;
  HeadLimit limit{};
  HttpHead head{};
  std::exception_ptr thrown{};
  bool head_is_whole = false;
  bool is_sent = false;
  Clock::time_point last_sign{};  // of the server
  CURL* easy = nullptr;

  // "HTTP/1.1 200 OK", header lines and the empty line, each with its end. Answers of 1xx come
  // before the one that counts.
  bool TakeHeadLine(std::string_view line) {
    if (!limit.Take(line.size())) {
      return false;
    }
    line = TrimBlanks(line, " \t\r\n");
    if (line.starts_with("HTTP/")) {
      head.headers.clear();
      return true;
    }
    if (!line.empty()) {
      const size_t colon = std::min(line.find(':'), line.size());
      head.headers.emplace_back(ToLower(line.substr(0, colon)),
                                TrimBlanks(line.substr(std::min(colon + 1, line.size()))));
      return true;
    }
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (head_is_whole || status < 200) {
      return true;  // trailers after the body, or an answer before the one that counts
    }
    head.status = static_cast<int>(status);
    head_is_whole = true;
    limit.HeadDone();
    return on_head(head);
  }

  // The frames between a callback and Send() are libcurl's: an exception that passed them would
  // leave its handles as they are amid a callback, of no use ever after.
  template <typename Call>
  size_t Guarded(size_t size, const Call& call) {
    try {
      return call() ? size : 0;
    } catch (...) {
      thrown = std::current_exception();
      return 0;
    }
  }

  static size_t OnHeadLine(char* bytes, size_t, size_t size, void* self) {
    auto* const exchange = static_cast<Exchange*>(self);
    return exchange->Guarded(size, [&] { return exchange->TakeHeadLine({bytes, size}); });
  }

  static size_t OnBodyPart(char* bytes, size_t, size_t size, void* self) {
    auto* const exchange = static_cast<Exchange*>(self);
    return exchange->Guarded(size, [&] {
      exchange->limit.BodyCame();
      const bool goes_on = exchange->head_is_whole && exchange->on_body({bytes, size});
      exchange->last_sign = Clock::now();  // what was done with it meanwhile is no silence
      return goes_on;
    });
  }

  // Whoever starts another program while a client runs does not pass the connection on.
  static curl_socket_t OpenSocket(void*, curlsocktype, curl_sockaddr* address) {
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  }

  // The only place where libcurl shows what it reads between the parts of a chunked body: it skips
  // what stands beside a chunk's size, however long, and a server that never ends it would be read
  // for ever.
  static int OnTraffic(CURL*, curl_infotype type, char*, size_t size, void* self) {
    auto* const exchange = static_cast<Exchange*>(self);
    if (type == CURLINFO_HEADER_OUT && !exchange->is_sent) {
      exchange->is_sent = true;
      exchange->limit.Begin(exchange->silence_max);
    }
    if (type == CURLINFO_DATA_IN) {
      exchange->Guarded(0,
                        [&] { return exchange->limit.Take(size); });  // Send() sees what it found
    }
    if (type != CURLINFO_TEXT) {
      exchange->last_sign = Clock::now();
    }
    return 0;
  }

  // Until the silence is over that the server may keep, or the time for the head; `most` before the
  // request is sent, of which libcurl's own limit for the connection takes care.
  Milliseconds Patience(Milliseconds most) const {
    if (!is_sent) {
      return most;
    }
    const auto silent = last_sign + silence_max;
    const auto until = std::min(silent, limit.deadline().value_or(silent));
    return std::clamp(std::chrono::ceil<Milliseconds>(until - Clock::now()), Milliseconds(0), most);
  }
};

std::shared_ptr<HttpClient> HttpClient::Make(const std::string& base,
                                             const HttpClientOptions& options) {
  InitialiseOnce();
  return IsServer(base) ? std::shared_ptr<HttpClient>(new HttpClient(base, options)) : nullptr;
}

HttpClient::HttpClient(std::string base, const HttpClientOptions& options)
    : base_(std::move(base)), options_(options), curl_(std::make_unique<Curl>()) {}

HttpClient::~HttpClient() = default;

absl::Status HttpClient::Send(const HttpRequest& request, const OnHead& on_head,
                              const OnBody& on_body) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  CURLM* const multi = curl_->multi.get();
  // Without what wakes a wait Cancel() would be seen when it is over. One wait ends early by this.
  if (easy == nullptr || multi == nullptr || curl_multi_wakeup(multi) != CURLM_OK) {
    return Unavailable("libcurl has no handle to give");
  }
  Exchange exchange{.on_head = on_head, .on_body = on_body, .silence_max = options_.silence_max};
  exchange.easy = easy.get();
  char reason[CURL_ERROR_SIZE] = "";
  Headers headers;
  // A server need not be asked whether it takes the body.
  bool is_set = headers.Add("Expect:");
  for (const std::string& line : request.headers) {
    is_set = headers.Add(line) && is_set;
  }
  const auto set = [&](CURLoption option, auto value) {
    is_set = curl_easy_setopt(easy.get(), option, value) == CURLE_OK && is_set;
  };
  const std::string url = base_ + request.path;
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_PROXY, "");  // the environment's variables are not asked
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_FORBID_REUSE, 1L);
  set(CURLOPT_DNS_CACHE_TIMEOUT, 0L);  // a network that changes has other addresses for a name
  set(CURLOPT_QUICK_EXIT, 1L);         // a resolver that hangs is left to itself
  set(CURLOPT_OPENSOCKETFUNCTION, &Exchange::OpenSocket);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_max.count()));
  set(CURLOPT_HTTPHEADER, headers.list);
  set(CURLOPT_ERRORBUFFER, reason);
  set(CURLOPT_HEADERFUNCTION, &Exchange::OnHeadLine);
  set(CURLOPT_HEADERDATA, &exchange);
  set(CURLOPT_WRITEFUNCTION, &Exchange::OnBodyPart);
  set(CURLOPT_WRITEDATA, &exchange);
  set(CURLOPT_DEBUGFUNCTION, &Exchange::OnTraffic);
  set(CURLOPT_DEBUGDATA, &exchange);
  set(CURLOPT_VERBOSE, 1L);
  if (!options_.ca_file.empty()) {
    set(CURLOPT_CAINFO, options_.ca_file.c_str());
    set(CURLOPT_CAPATH, nullptr);  // nobody else
  }
  if (!request.body.empty()) {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.data());
  }
  if (!is_set) {
    return Unavailable("libcurl does not take the request");
  }
  const absl::StatusOr<int> result = Run(exchange);
  if (exchange.thrown != nullptr) {
    std::rethrow_exception(exchange.thrown);
  }
  RETURN_IF_ERROR(result.status());
  if (*result == CURLE_OK) {
    return exchange.head_is_whole
               ? absl::OkStatus()
               : Unavailable("the connection ended before the head of the answer was whole");
  }
  if (*result == CURLE_WRITE_ERROR) {
    return Unavailable("no more of the answer was wanted");
  }
  // Of a line without an end it keeps no more than 100 KiB, and then says that memory is short.
  if (!exchange.head_is_whole && exchange.is_sent &&
      (*result == CURLE_OUT_OF_MEMORY || *result == kTooLarge)) {
    return Unavailable(HeadLimit::TooMuch());
  }
  return Unavailable(*reason != 0
                         ? PrintableMessage(reason, CURL_ERROR_SIZE)
                         : std::string(curl_easy_strerror(static_cast<CURLcode>(*result))));
}

absl::StatusOr<int> HttpClient::Run(Exchange& exchange) {
  CURLM* const multi = curl_->multi.get();
  if (curl_multi_add_handle(multi, exchange.easy) != CURLM_OK) {
    return Unavailable("libcurl does not take the request");
  }
  const auto removed = absl::MakeCleanup([&] { curl_multi_remove_handle(multi, exchange.easy); });
  int result = CURLE_OK;
  for (int running = 1; running > 0;) {
    if (cancelled_) {
      return Unavailable("the pull was cancelled");
    }
    if (curl_multi_perform(multi, &running) != CURLM_OK) {
      return Unavailable("libcurl failed");
    }
    int left = 0;
    for (const CURLMsg* message = nullptr; (message = curl_multi_info_read(multi, &left));) {
      result = message->msg == CURLMSG_DONE ? message->data.result : result;
    }
    // Also where no line of the head was whole since the last look.
    if (running > 0 && exchange.is_sent) {
      (void)exchange.limit.Take(0);
    }
    if (!exchange.limit.exceeded().empty()) {
      return Unavailable(exchange.limit.exceeded());
    }
    if (running > 0) {
      const Milliseconds patience = exchange.Patience(std::chrono::minutes(1));
      if (patience == Milliseconds(0)) {
        return Unavailable(fmt::format("nothing came for {} ms", options_.silence_max.count()));
      }
      if (curl_multi_poll(multi, nullptr, 0, static_cast<int>(patience.count()), nullptr) !=
          CURLM_OK) {
        return Unavailable("libcurl failed");
      }
    }
  }
  return result;
}

void HttpClient::Cancel() {
  cancelled_ = true;
  if (curl_->multi != nullptr) {
    curl_multi_wakeup(curl_->multi.get());
  }
}

}  // namespace sluice::client
