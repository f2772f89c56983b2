#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gateways/percent.h"

// What both listeners know of requests and answers. gateways/docs/http.md has the rules and limits.
namespace sluice::gateways {

// A request's line and headers, checked by ParseHead: no two readers can take it differently.
struct HttpHead {
  std::string method;
  std::string path;   // up to '?', as sent: cut it at '/' before decoding a part
  std::string query;  // after '?', as sent
  std::vector<std::pair<std::string, std::string>> headers;  // names as sent, values trimmed
  std::string request_id;  // the caller's where it is plain, otherwise made here

  bool http11 = true;
  bool keep_alive = true;
  bool chunked = false;  // Transfer-Encoding
  bool expects_continue = false;
  std::optional<uint64_t> content_length;

  [[nodiscard]] bool head_only() const { return method == "HEAD"; }
  [[nodiscard]] bool has_body() const { return chunked || content_length.value_or(0) > 0; }
  // The first value of a header, whatever the case of its name; empty where there is none.
  [[nodiscard]] std::string_view Header(std::string_view name) const;
  // The values of all headers of that name as one list, as RFC 9110, section 5.3, has it: for those
  // that are lists, such as Accept and If-Match.
  [[nodiscard]] std::string HeaderList(std::string_view name) const;
  // The first value of a query parameter, decoded; nullopt where there is none.
  [[nodiscard]] std::optional<std::string> Query(std::string_view name) const;
};

// What the access log says of a request beside its path.
struct AccessNote {
  std::string subject{};  // empty where nobody was recognised
  std::string code{};     // of the problem; empty for none
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
  AccessNote note{};
  std::shared_ptr<void> held{};  // let go when the answer has been sent
};

// `status` as RFC 9457 answer.
[[nodiscard]] HttpResponse ProblemResponse(const absl::Status& status);

// What /readyz may say of an error: its code and the partitions that its message names, never its
// words: those may hold a path, an organisation or a user.
[[nodiscard]] std::string PublicReason(const absl::Status& status);

// Organisations of a partition that cannot be served at the moment, for one and the same reason.
struct TroubledOrgs {
  std::string code;
  int32_t partition = 0;
  size_t count = 0;
};
// What /healthz says, and /readyz of a process that is ready; its other organisations are served.
// `troubled` may be empty.
[[nodiscard]] HttpResponse HealthResponse();
[[nodiscard]] HttpResponse ReadyResponse(
    const std::function<std::vector<TroubledOrgs>()>& troubled);
// ... and of one that is not: code "not_ready".
[[nodiscard]] HttpResponse NotReadyResponse(std::string_view why);

}  // namespace sluice::gateways
